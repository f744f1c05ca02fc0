"""Galleries of vectors that are as hard to search as those of CLIP, and one of them tuned."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.calibrated import Calibrated, calibrated
from kits.tuning import QUERIES, N
from kits.vector_gallery import vector_gallery

import zsretrieve as zs
from zsretrieve.store.indexes import Gallery

LISTS = "IVF128,PQ32x4fsr"
COPIES = np.arange(N - 1000, N - 995)


@pytest.fixture(scope="session")
def data() -> Calibrated:
    """The first queries of each kind are for tuning, and as many others are fresh."""
    made = calibrated(N, 64, n_queries=2 * QUERIES)
    made.images[COPIES] = made.images[7]
    return made


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory, data: Calibrated) -> Path:
    return vector_gallery(tmp_path_factory.mktemp("tuning") / "gallery", data.images)


def tuned_as(kind: str, flat: Path, data: Calibrated) -> tuple[Path, zs.Tuned]:
    out = Path(shutil.copytree(flat, flat.with_name(kind)))
    zs.set_index_kind(out, kind)
    return out, zs.tune_index(out, 0.95, texts=data.texts[:QUERIES], n_queries=QUERIES)


@pytest.fixture(scope="session")
def tuned_lists(flat: Path, data: Calibrated) -> tuple[Path, zs.Tuned]:
    return tuned_as(LISTS, flat, data)


@pytest.fixture(scope="session")
def lists(tuned_lists: tuple[Path, zs.Tuned]) -> Path:
    return tuned_lists[0]


@pytest.fixture(scope="module", params=[LISTS, "HNSW32", "RR64,IVF128,RaBitQfs", "SQ4"])
def tuned(
    request: pytest.FixtureRequest, flat: Path, data: Calibrated, tuned_lists: tuple[Path, zs.Tuned]
) -> tuple[Gallery, zs.Tuned]:
    out, made = tuned_lists if request.param == LISTS else tuned_as(request.param, flat, data)
    return zs.open_gallery(out, device="cpu"), made


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A gallery that is tuned in no time."""
    out = vector_gallery(tmp_path / "small", calibrated(2000, 64, 5).images)
    zs.set_index_kind(out, "SQ8")
    return out


@pytest.fixture
def ivf(lists: Path, tmp_path: Path) -> Path:
    """A tuned gallery, to be changed."""
    return Path(shutil.copytree(lists, tmp_path / "gallery"))
