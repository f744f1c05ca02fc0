"""A gallery of scenes on a small model of random weights, captions, and the model after a short training on them."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from kits.models import CONFIGS, write_config
from kits.training import QUICK

import zsretrieve as zs
from zsretrieve.demo.captions import random_caption
from zsretrieve.demo.scenes import Scene
from zsretrieve.domain.model_training import TrainedModel

# Towers of kinds that OpenVINO's graphs are built from directly, and few words: all of it takes no time.
_MODEL = CONFIGS["siglip-like"]["model_cfg"] | {"vision_cfg": CONFIGS["vit-quickgelu"]["model_cfg"]["vision_cfg"]}
_CONFIG = CONFIGS["siglip-like"] | {"model_cfg": _MODEL}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{write_config(_CONFIG, tmp_path_factory.mktemp('base') / 'model')}"


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, base: str) -> Path:
    folder = tmp_path_factory.mktemp("training") / "gallery"
    zs.build_gallery(scene_folder, folder, zs.Model(base, zs.Compute(device="cpu", precision="fp32")))
    return folder


@pytest.fixture(scope="session")
def captions(tmp_path_factory: pytest.TempPathFactory, drawn_scenes: list[Scene]) -> Path:
    """Two captions of every scene, by its path in the folder."""
    rng, file = random.Random(8), tmp_path_factory.mktemp("captions") / "captions.csv"
    with open(file, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(("image", "caption"))
        for number, scene in enumerate(drawn_scenes):
            writer.writerows((f"{scene.class_name}/{number:03}.png", random_caption(scene, rng)) for _ in range(2))
    return file


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, gallery: Path, captions: Path) -> TrainedModel:
    """The model with its text tower tuned for a moment."""
    out = tmp_path_factory.mktemp("trained") / "tuned"
    settings = zs.TrainingSettings(**QUICK, lr=1e-3)
    return zs.train_from_gallery(out, gallery, captions, settings=settings, report=out.with_suffix(".html"))
