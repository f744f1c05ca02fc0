from __future__ import annotations

import pytest

from zsretrieve.domain.byte_sizes import bytes_of
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_choice import Demands, automatic
from zsretrieve.domain.kind_recall import Rung, reaches
from zsretrieve.domain.kind_sizes import index_bytes
from zsretrieve.domain.making import steps


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
        (None, 0.95, "IVF2048,PQ256x4fsr", " for images, wanted 0.95; 144 MB"),
        (700_000_000, 0.95, "IVF2048,PQ256x4fsr", "; 144 MB of 700 MB"),
        (520_000_000, 0.95, "SQ8", "; 512 MB of 520 MB"),
        (2_000_000_000, 0.986, "IVF2048,SQ8", "wanted 0.986; 524 MB of 2 GB"),
        (
            2_000_000_000,
            0.999,
            "SQ8",
            "0.999 for texts and 0.999 for images, wanted 0.999; 512 MB of 2 GB",
        ),
        (2_000_000_000, 0.9999, "Flat", "no approximate kind was measured to find 0.9999 for texts and for images"),
        (10, 1, "Flat", "a recall of 1 needs every image compared"),
    ],
)
def test_it_meets_what_is_demanded(memory: int | None, recall: float, kind: str, reason: str) -> None:
    choice = automatic(1_000_000, 512, Demands(memory, recall))
    assert choice.kind == kind
    assert reason in choice.reason
    assert memory is None or kind == "Flat" or index_bytes(kind, 512, 1_000_000) <= memory


@pytest.mark.parametrize(("dim", "recall"), [(512, 0.9), (512, 0.999), (256, 0.95), (1024, 0.95)])
def test_too_little_memory_is_refused_with_the_least(dim: int, recall: float) -> None:
    with pytest.raises(UsageError, match=r"the one that takes least is \S+, which needs ") as caught:
        automatic(1_000_000, dim, Demands(80_000_000, recall))
    assert "Flat" in str(caught.value.hint)
    least, named = caught.value.message.split("the one that takes least is ")[1].split(", which needs ")
    assert automatic(1_000_000, dim, Demands(bytes_of(named), recall)).kind == least


@pytest.mark.parametrize("taken", [None, 0, 150_000_000])
@pytest.mark.parametrize("dim", [77, 256, 768])
def test_what_is_chosen_can_be_made(dim: int, taken: int | None) -> None:
    refused = 0
    for memory in range(40_000_000, 1_500_000_000, 20_000_000):
        try:
            kind = automatic(1_000_000, dim, Demands(memory), taken=taken).kind
        except UsageError:
            refused += 1
        else:
            steps(kind, dim, 1_000_000, memory, memory // 4 if taken is None else taken)
    assert refused


@pytest.mark.parametrize(
    ("found", "wanted", "enough"),
    [(0.955, 0.95, True), (0.954, 0.95, False), (0.999, 0.996, True), (0.998, 0.996, False), (0.999, 0.9995, False),
     (1.0, 1.0, True)],
)  # fmt: skip
def test_to_reach_a_recall_takes_a_margin(found: float, wanted: float, enough: bool) -> None:
    assert reaches(found, wanted) is enough
    for rung in (Rung(found, 1.0, 10), Rung(1.0, found, 10)):
        assert rung.reaches(wanted) is enough


def test_a_gpu_compares_more_one_by_one() -> None:
    assert automatic(1_000_000, 512, on_gpu=True).kind == "Flat"
    assert automatic(10_000_000, 512, on_gpu=True).kind == "IVF8192,PQ256x4fsr"


@pytest.mark.parametrize("recall", [0, -0.5, 1.01, float("nan")])
def test_a_recall_is_a_share(recall: float) -> None:
    with pytest.raises(UsageError, match="recall must be above 0 and at most 1"):
        Demands(recall=recall)
