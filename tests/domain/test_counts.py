from __future__ import annotations

import pytest

from zsretrieve.domain.counts import count_of
from zsretrieve.domain.errors import UsageError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5e9", 5 * 10**9),
        ("10M", 10**7),
        ("200k", 200_000),
        ("1.5M", 1_500_000),
        ("7", 7),
        ("10,000,000", 10**7),
        ("0.3G", 3 * 10**8),
    ],
)
def test_counts(text: str, number: int) -> None:
    assert count_of(text, "vectors") == number


@pytest.mark.parametrize(
    "text",
    ["", "many", "0,001", "1,000k", "5e", "10MB", "-3", "0", "1e40", "1e9999", "1e99999", "1.5", "0.0001k", "\u0663"],
)
def test_other_counts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="vectors cannot be"):
        count_of(text, "vectors")
