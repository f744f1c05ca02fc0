"""Numbers as people write them: 5e9, 10M."""

from __future__ import annotations

import re
from decimal import Decimal

from zsretrieve.domain.errors import UsageError

_GROUPED = re.compile(r"[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_FORM = re.compile(r"(\d+\.?\d*|\.\d+)(e\d{1,4})? ?([kmgt]?)", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def count_of(text: str, what: str) -> int:
    """A count such as ``5e9``, ``10M``, ``200k`` or ``10,000,000``. Raises UsageError, which names ``what``."""
    plain = text.strip()
    found = _FORM.fullmatch(plain.replace(",", "") if _GROUPED.fullmatch(plain) else plain)
    number = Decimal(0) if found is None else Decimal(f"{found[1]}{found[2] or ''}") * _UNITS[found[3].lower()]
    if not 1 <= number < 10**15 or number % 1:
        raise UsageError(f"{what} cannot be '{text}'", hint="Write a whole number from 1: 200,000, 200k, 1.5M or 5e9.")
    return int(number)
