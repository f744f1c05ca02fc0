"""How an approximate index is made within an amount of memory."""

from __future__ import annotations

import pytest

from zsretrieve.domain.byte_sizes import bytes_of, shown_bytes
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_names import parsed
from zsretrieve.domain.kind_sizes import bytes_per_vector, index_bytes
from zsretrieve.domain.kinds import Covered, Part
from zsretrieve.domain.making import gaps, least_memory, most_taken, split, steps

KIND, DIM, COUNT = "IVF2048,PQ256x4fsr", 512, 1_000_000


@pytest.mark.parametrize(
    ("text", "count"),
    [("8GB", 8_000_000_000), ("1.5 gb", 1_500_000_000), ("2GiB", 2**31), ("512M", 512_000_000), ("2e9", 2_000_000_000),
     ("70000", 70_000), (7, 7), (" 1TB ", 10**12)],
)  # fmt: skip
def test_amounts_of_memory(text: str | int, count: int) -> None:
    assert bytes_of(text) == count


@pytest.mark.parametrize("text", ["", "GB", "8 apples", "-1GB", "0", "1e99", "nan", "٣GB", -5])
def test_what_is_not_an_amount_of_memory(text: str | int) -> None:
    with pytest.raises(UsageError, match="is not an amount of memory"):
        bytes_of(text)


def test_amounts_are_shown_in_their_unit() -> None:
    assert [shown_bytes(n) for n in (1234, 2_500_000, 8e9, 3e12)] == ["1.23 kB", "2.5 MB", "8 GB", "3 TB"]
    assert [shown_bytes(n) for n in (8, 999_600, 999.4e9, 1.2345e19)] == ["8 bytes", "1 MB", "999 GB", "12,345 PB"]


def test_without_a_limit_there_is_one_part() -> None:
    made = steps(KIND, DIM, COUNT)
    assert (made.sample, made.part) == (204_800, COUNT)
    assert steps("SQ8", DIM, 1000).sample == 1000


@pytest.mark.parametrize("memory", [700_000_000, 1_000_000_000, 4_000_000_000])
def test_sample_and_part_fit_the_memory(memory: int) -> None:
    taken = 100_000_000
    made = steps(KIND, DIM, COUNT, memory, taken)
    shared = index_bytes(KIND, DIM, 0)
    assert 2048 * 39 <= made.sample <= 204_800
    assert taken + shared + made.sample * 2 * DIM * 4 <= memory
    assert taken + shared + made.part * 2 * bytes_per_vector(KIND, DIM) <= memory
    assert COUNT / made.part <= 64


def test_parts_are_of_one_size() -> None:
    kind = "IVF512,SQ8"
    one = steps(kind, DIM, COUNT, 800_000_000)
    assert one.part * 2 >= COUNT > one.part
    assert steps(kind, DIM, 2 * COUNT, 1_100_000_000).part * 3 >= 2 * COUNT


@pytest.mark.parametrize(
    ("kind", "memory", "said"),
    [
        (KIND, 100_000_000, rf"the index {KIND} of 1,000,000 images takes 14\d MB, and the memory is 100 MB"),
        ("IVF16384,PQ256x4fsr", 10**9, r"making .* of 1,000,000 images needs \S+ GB of memory, and there are 1 GB"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_numbers(kind: str, memory: int, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        steps(kind, DIM, COUNT, memory)
    assert "`memory`" in str(caught.value.hint)


def test_the_least_that_is_named_is_enough() -> None:
    kind = "IVF16384,PQ256x4fsr"
    with pytest.raises(UsageError) as caught:
        steps(kind, DIM, COUNT, 1_000_000_000)
    named = caught.value.message.split("needs ")[1].split(" of memory")[0]
    assert steps(kind, DIM, COUNT, int(bytes_of(named) * 1.01)).sample >= 16384 * 39


@pytest.mark.parametrize("kind", [KIND, "SQ8", "RR512,IVF1024,RaBitQfs", "HNSW32"])
@pytest.mark.parametrize("count", [1, 63, 300_000, COUNT])
def test_the_least_memory_is_the_least(kind: str, count: int) -> None:
    count = max(count, parsed(kind, DIM).least)
    for taken in (None, 10**8):
        least = least_memory(kind, DIM, count, taken)
        made = steps(kind, DIM, count, least, most_taken(least) if taken is None else taken)
        assert made.sample >= parsed(kind, DIM).least
        assert 0 < made.part <= count <= 64 * made.part
        with pytest.raises(UsageError):
            steps(kind, DIM, count, least - 3, most_taken(least - 3) if taken is None else taken)


def test_segments_are_split_over_parts() -> None:
    covers = [Covered("a", 10), Covered("b", 3), Covered("c", 4)]
    assert split(covers, 6) == [
        (Covered("a", 6),), (Covered("a", 4, 6), Covered("b", 2)), (Covered("b", 1, 2), Covered("c", 4))
    ]  # fmt: skip
    assert split(covers, 17) == [tuple(covers)]
    assert split([], 5) == []


def test_gaps_are_what_no_part_holds() -> None:
    parts = [Part("x", (Covered("a", 3, 2), Covered("gone", 9))), Part("y", (Covered("a", 2, 8), Covered("b", 4)))]
    assert gaps({"a": 12, "b": 4, "c": 5}, parts) == [
        Covered("a", 2), Covered("a", 3, 5), Covered("a", 2, 10), Covered("c", 5)
    ]  # fmt: skip
    assert gaps({"a": 3}, []) == [Covered("a", 3)]
