"""A gallery with an approximate index."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.calibrated import calibrated
from kits.candidates import DIM, KIND, N
from kits.vector_gallery import vector_gallery

import zsretrieve as zs


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    return calibrated(N, DIM, 20).images


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> Path:
    out = vector_gallery(tmp_path_factory.mktemp("approximate") / "gallery", vectors)
    zs.set_index_kind(out, KIND)
    return out


@pytest.fixture
def gallery(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "gallery"))
