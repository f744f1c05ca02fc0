"""The names of index kinds: those that galleries may have, and those that would end the process or ignore filters."""

from __future__ import annotations

import pytest

from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_choice import automatic
from zsretrieve.domain.kind_names import parsed

DIM = 64


@pytest.mark.parametrize(
    ("kind", "least", "is_coarse"),
    [
        ("SQfp16", 1, False), ("SQbf16", 1, False), ("SQ8", 1, False), ("SQ6", 1, False), ("SQ4", 1, False),
        ("HNSW4", 1, False), ("HNSW32,Flat", 1, False), ("HNSW32,SQ8", 1, False), ("RaBitQ", 1, True),
        ("RaBitQ4", 1, False), ("IVF16,Flat", 624, False), ("IVF16_HNSW4,SQ8", 624, False), ("IVF4,PQ8", 256, False),
        ("IVF1,PQ16x6", 64, False), ("IVF1,PQ16x4fs", 39, False), ("IVF16,PQ32x4fsr", 624, False),
        ("IVF16,PQ8x4fsr", 624, True), ("IVF16,RaBitQfs", 624, True), ("IVF16,RaBitQfs9", 624, False),
        ("RR64,IVF16,RaBitQfs", 624, True), ("PCA32,IVF16,SQ8", 624, False), ("PCA32,Flat", 1, False),
        ("PCA4,SQ8", 1, True), ("OPQ8,IVF1,PQ8x4fsr", 256, True), ("OPQ8_32,IVF16,PQ8", 624, False),
        ("RR32,HNSW16", 1, False),
    ],
)  # fmt: skip
def test_what_names_say(kind: str, least: int, is_coarse: bool) -> None:
    name = parsed(kind, DIM)
    assert (name.least, name.is_coarse) == (least, is_coarse)


@pytest.mark.parametrize(
    "kind",
    [
        "", "nonsense", "IVF0,Flat", "IVF1k,Flat", "IVF1M,Flat", "IVF16", "IVF16,", "IVF-1,Flat", "IVF99999999,Flat",
        "HNSW0", "HNSW1", "HNSW3", "HNSW9999", "IVF16_HNSW0,Flat", "IVF16_HNSW,Flat", "HNSW32,SQ0", "SQ0", "SQ5",
        "RR0,SQ8", "PCA0,SQ8", "OPQ0,IVF16,PQ8", "IVF16,PQ0", "IVF16,PQ8x0", "IVF16,PQ8x3", "IVF16,PQ8x12",
        "IVF16,PQ8x8fs", "IVF16,RaBitQ0", "RaBitQ10", "RaBitQfs", "PQ16x4fs", "PQ16", "HNSW32,PQ8", "NSG32",
        "IVF16,RQ4x4", "IVF16,LSQ4x4", "IVF16,PRQ2x2x4", "IVF16,PQ16x4fsr,RFlat", "IDMap,Flat", "IVF16,Flat,IDMap2",
        "L2norm,SQ8", "PCAW8,SQ8", "IVF16, Flat", "SQ\u0668",
    ],
)  # fmt: skip
def test_other_names_are_refused_with_those_that_are_supported(kind: str) -> None:
    with pytest.raises(UsageError, match="is not supported") as caught:
        parsed(kind, DIM)
    assert "IVFn" in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["IVF16,PQ7x4fsr", "OPQ7,IVF16,PQ8", "RR65,SQ8", "PCA65,SQ8", "PCA30,IVF16,PQ8"])
def test_what_does_not_fit_the_dimensions_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="does not fit vectors of 64 dimensions"):
        parsed(kind, DIM)


@pytest.mark.parametrize("dim", [512, 77])
def test_what_auto_chooses_is_supported(dim: int) -> None:
    assert parsed(automatic(1_000_000, dim).kind, dim).least <= 1_000_000
