from __future__ import annotations

import pytest

from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_choice import Demands, automatic
from zsretrieve.domain.kind_sizes import index_bytes


@pytest.mark.parametrize(
    ("count", "dim", "kind"),
    [
        (0, 512, "Flat"),
        (200_000, 512, "Flat"),
        (200_001, 512, "IVF1024,PQ256x4fsr"),
        (1_000_000, 768, "IVF2048,PQ384x4fsr"),
        (10_000_000, 77, "IVF8192,PQ77x4fsr"),
    ],
)
def test_the_kind_follows_from_the_number_of_images(count: int, dim: int, kind: str) -> None:
    assert automatic(count, dim).kind == kind


@pytest.mark.parametrize(
    ("memory", "recall", "kind", "reason"),
    [
        (None, 0.95, "IVF2048,PQ256x4fsr", "recall of texts about 0.991, wanted 0.95; 1"),
        (200_000_000, 0.95, "IVF2048,PQ256x4fsr", " MB of 200 MB"),
        (100_000_000, 0.95, "IVF2048,PQ128x4fsr", "recall of texts about 0.95"),
        (2_000_000_000, 0.99, "IVF2048,PQ256x4fsr", "recall of texts about 0.991, wanted 0.99; 1"),
        (2_000_000_000, 0.992, "IVF2048,SQ8", "recall of texts about 0.993, wanted 0.992; 524 MB of 2 GB"),
        (2_000_000_000, 0.999, "SQ8", "recall of texts about 0.999, wanted 0.999; 512 MB of 2 GB"),
        (2_000_000_000, 0.9999, "Flat", "no approximate kind has a recall of texts of 0.9999"),
        (10, 1, "Flat", "a recall of 1 needs every image compared"),
    ],
)
def test_it_meets_what_is_demanded(memory: int | None, recall: float, kind: str, reason: str) -> None:
    choice = automatic(1_000_000, 512, Demands(memory, recall))
    assert choice.kind == kind
    assert reason in choice.reason
    assert memory is None or kind == "Flat" or index_bytes(kind, 512, 1_000_000) <= memory


@pytest.mark.parametrize(
    ("memory", "recall", "smallest"), [(50_000_000, 0.9, "IVF2048,PQ128x4fsr"), (10**8, 0.999, "SQ8")]
)
def test_too_little_memory_is_refused_with_the_least(memory: int, recall: float, smallest: str) -> None:
    with pytest.raises(UsageError, match=f"the smallest is {smallest} with ") as caught:
        automatic(1_000_000, 512, Demands(memory, recall))
    assert "Flat" in str(caught.value.hint)


def test_a_gpu_compares_more_one_by_one() -> None:
    assert automatic(1_000_000, 512, on_gpu=True).kind == "Flat"
    assert automatic(10_000_000, 512, on_gpu=True).kind == "IVF8192,PQ256x4fsr"


@pytest.mark.parametrize("recall", [0, -0.5, 1.01, float("nan")])
def test_a_recall_is_a_share(recall: float) -> None:
    with pytest.raises(UsageError, match="recall must be above 0 and at most 1"):
        Demands(recall=recall)
