from __future__ import annotations

import pytest

from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.magnitudes import bytes_of, count_of, in_bytes


@pytest.mark.parametrize(
    ("text", "number"),
    [("5e9", 5 * 10**9), ("10M", 10**7), ("200k", 200_000), ("1.5M", 1_500_000), ("7", 7), (" .5g ", 5 * 10**8)],
)
def test_counts(text: str, number: int) -> None:
    assert count_of(text, "vectors") == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("256GB", 256 * 10**9), ("8GiB", 8 * 2**30), ("500 mb", 5 * 10**8), ("1.5TB", 15 * 10**11), ("9", 9), ("9B", 9)],
)
def test_sizes(text: str, number: int) -> None:
    assert bytes_of(text, "the memory") == number


@pytest.mark.parametrize("text", ["", "many", "5e", "10MB", "-3", "0", "1e40", "1e9999", "5 5", "\u0663"])
def test_other_counts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="vectors"):
        count_of(text, "vectors")


@pytest.mark.parametrize("text", ["8G", "8 gigabytes", "GB", "0GB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the memory"):
        bytes_of(text, "the memory")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1300, "1.3 kB"), (256e9, "256 GB"), (999_999, "1 MB"), (2e16, "20,000 TB")],
)  # fmt: skip
def test_sizes_for_people(size: float, text: str) -> None:
    assert in_bytes(size) == text
