"""Amounts of memory as people write them."""

from __future__ import annotations

import re

from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.wording import rounded_reaches, three_digits

_SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\d\d?)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def bytes_of(size: str | int) -> int:
    """A number of bytes from ``8GB``, ``512MiB`` or ``2e9``; 1 GB is 10^9 bytes, 1 GiB 2^30. Raises UsageError."""
    found = _SIZE.fullmatch(str(size).strip())
    count = 0.0 if found is None else float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()]
    if not 1 <= count < 2**63:
        raise UsageError(f"'{size}' is not an amount of memory", hint="Write it like 8GB, 512MB or 16GiB.")
    return int(count)


def shown_bytes(count: float) -> str:
    """A number of bytes for people: ``1.5 GB``."""
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if rounded_reaches(count, size):
            return f"{three_digits(count / size)} {unit}"
    return f"{count:.0f} bytes"
