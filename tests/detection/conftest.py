"""Both families of detectors, made small, and images of many shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.owl import KINDS, opened, write_owl
from PIL import Image

import zsretrieve as zs

SIZES = [(64, 64), (120, 60), (60, 120), (200, 31), (33, 90), (1, 1), (1, 50), (320, 240)]


@dataclass(frozen=True)
class Owl:
    """A small detector of a family in a folder."""

    family: str
    folder: Path

    @property
    def model(self) -> zs.DetectionModel:
        return zs.DetectionModel(f"local-dir:{self.folder}", zs.Compute("cpu", "fp32"))

    @cached_property
    def theirs(self) -> tuple[Any, Any]:
        """The model and the processor, as transformers opens them."""
        return opened(self.folder)


@pytest.fixture(scope="session", params=KINDS)
def owl(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Owl:
    return Owl(request.param, write_owl(request.param, tmp_path_factory.mktemp(request.param) / "model"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of coarse noise of many shapes."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(3)
    for number, size in enumerate(SIZES):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(root / f"{number}.png")
    return root
