"""The rewritten picture tower against open_clip's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from kits.families import FAMILIES, write_family
from kits.models import write_config
from torch.nn import functional as F

from zsretrieve.domain.records import Preprocessing
from zsretrieve.encoders.openvino.fused_image_tower import PlainImageTower, image_tower

CLIP_SCALE = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
VISION = {"image_size": 64, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16}
KINDS: dict[str, dict[str, Any]] = {
    "class token": {},
    "layer scale": {"ls_init_value": 0.5},
    "mean of the patches": {"pool_type": "avg"},
    "norm after the pooling": {"final_ln_after_pool": True},
    "no norm before": {"no_ln_pre": True},
    "pixels left over": {"image_size": 70},
    "not square": {"image_size": [64, 96]},
    "one layer": {"layers": 1},
    "attention pooling": {"attentional_pool": True, "attn_pooler_heads": 2},
}
RECOGNISED = ("clip-vit", "coca")


def preprocessing(size: tuple[int, int]) -> Preprocessing:
    return Preprocessing(size, CLIP_SCALE["mean"], CLIP_SCALE["std"], "bicubic", "shortest", 0)


def features(tower: torch.nn.Module, pictures: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return F.normalize(tower.eval()(torch.from_numpy(pictures)), dim=-1).numpy()


def pictures_of(size: tuple[int, int]) -> np.ndarray:
    pictures = np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    pictures[0], pictures[1] = 0, 255
    return pictures


def check(model: Any, size: tuple[int, int]) -> None:
    tower, plain = image_tower(model, preprocessing(size)), PlainImageTower(model, preprocessing(size))
    assert not isinstance(tower, PlainImageTower)
    pictures = pictures_of(size)
    np.testing.assert_allclose(features(tower, pictures), features(plain, pictures), rtol=0, atol=2e-6)
    # A picture's vector is its own, whatever is beside it.
    np.testing.assert_allclose(features(tower, pictures)[2:3], features(tower, pictures[2:3]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_tower(tmp_path: Path, kind: str) -> None:
    model_cfg = FAMILIES["clip-vit"]["model_cfg"]
    folder = write_config({"model_cfg": {**model_cfg, "vision_cfg": {**VISION, **KINDS[kind]}}}, tmp_path / "model")
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    height, width = model.visual.image_size
    check(model, (height, width))


@pytest.mark.parametrize("name", FAMILIES)
def test_of_every_family_either_it_or_the_plain_tower(tmp_path: Path, name: str) -> None:
    model = open_clip.create_model(f"local-dir:{write_family(name, tmp_path / name)}").eval()
    if name in RECOGNISED:
        check(model, (64, 64))
    else:
        assert isinstance(image_tower(model, preprocessing((64, 64))), PlainImageTower)


def test_blocks_of_another_kind_run_as_they_are(tmp_path: Path) -> None:
    model_cfg = FAMILIES["clip-vit"]["model_cfg"]
    folder = write_config({"model_cfg": {**model_cfg, "vision_cfg": VISION | {"qk_norm": True}}}, tmp_path / "model")
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    assert isinstance(image_tower(model, preprocessing((64, 64))), PlainImageTower)


def test_stored_pixels_are_exact_in_bfloat16(tmp_path: Path) -> None:
    model = open_clip.create_model(f"local-dir:{write_family('clip-vit', tmp_path / 'model')}").eval()
    tower: Any = image_tower(model, preprocessing((64, 64)))
    centred = torch.arange(256.0)[:, None] - tower._patches._middle
    assert torch.equal(centred.to(torch.bfloat16).float(), centred)
