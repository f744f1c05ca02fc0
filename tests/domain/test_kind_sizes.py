"""The bytes of index kinds, counted from their names, are those of the files that FAISS writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zsretrieve.backends import faiss_making
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_sizes import bytes_per_vector, index_bytes
from zsretrieve.domain.vectors import Vectors, unit_rows

DIM, COUNT = 64, 20_000

KINDS = (
    "Flat", "SQfp16", "SQbf16", "SQ8", "SQ6", "SQ4", "RaBitQ", "RaBitQ1", "RaBitQ2", "RaBitQ4", "RaBitQ9",
    "HNSW16", "HNSW8,SQ8", "HNSW4,Flat",
    "IVF64,Flat", "IVF64,SQ8", "IVF64,SQfp16", "IVF64_HNSW32,SQ8",
    "IVF64,PQ16x4", "IVF64,PQ16x5", "IVF32,PQ1",
    "IVF64,PQ32x4fs", "IVF64,PQ32x4fsr", "IVF8,PQ1x4fs", "IVF256,PQ16x4fsr",
    "IVF64,RaBitQ", "IVF64,RaBitQ3", "IVF64,RaBitQfs", "IVF64,RaBitQfs2", "IVF64,RaBitQfs9",
    "RR64,Flat", "RR50,IVF64,RaBitQfs", "RR50,IVF64,RaBitQ", "PCA30,SQ8", "PCA30,IVF64,PQ15x4fs", "PCA31,SQ4",
)  # fmt: skip


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return unit_rows(np.random.default_rng(0).standard_normal((COUNT, DIM)))


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_those_of_real_files(kind: str, vectors: Vectors, tmp_path: Path) -> None:
    file = tmp_path / "index"
    faiss_making.trained(kind, DIM, [vectors], len(vectors)).write([vectors], file)
    assert index_bytes(kind, DIM, COUNT) == pytest.approx(file.stat().st_size, rel=0.02)


def test_they_are_those_of_real_files_with_a_trained_rotation(vectors: Vectors, tmp_path: Path) -> None:
    kind, file = "OPQ8_32,IVF4,PQ8x4", tmp_path / "index"
    faiss_making.trained(kind, DIM, [vectors[:2000]], 2000).write([vectors[:2000]], file)
    assert index_bytes(kind, DIM, 2000) == pytest.approx(file.stat().st_size, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "dim", "expected"),
    [
        ("SQ8", 768, 768), ("IVF1024,PQ384x4fsr", 768, 200), ("RR768,IVF1024,RaBitQfs", 768, 112),
        ("IVF1024,PQ7x5", 77, 13), ("HNSW32", 512, 2048 + 256 + 12 + 128 / 31),
    ],
)  # fmt: skip
def test_what_one_more_vector_adds(kind: str, dim: int, expected: float) -> None:
    assert bytes_per_vector(kind, dim) == pytest.approx(expected)
    many, more = index_bytes(kind, dim, 10**9), index_bytes(kind, dim, 10**9 + 1000)
    assert more - many == pytest.approx(1000 * expected, abs=1)


def test_other_kinds_are_refused() -> None:
    with pytest.raises(UsageError, match="not supported"):
        index_bytes("NSG32", DIM, COUNT)
