"""Numbers and sizes as people write them: 5e9, 10M, 256GB."""

from __future__ import annotations

import re

from zsretrieve.domain.errors import UsageError

_FORM = re.compile(r"(\d+\.?\d*|\.\d+)(e\d+)? ?([a-z]*)", re.IGNORECASE | re.ASCII)
_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BYTES = {"": 1, "b": 1} | {
    f"{letter}{binary}b": base**power
    for power, letter in enumerate("kmgt", 1)
    for binary, base in (("", 1000), ("i", 1024))
}


def count_of(text: str, what: str) -> int:
    """A count such as ``5e9``, ``10M`` or ``200k``. Raises UsageError, which names ``what``."""
    return _read(text, what, _COUNTS, "Write it like 200000, 200k, 10M or 5e9.")


def bytes_of(text: str, what: str) -> int:
    """A size such as ``8GB`` (10^9 bytes each) or ``8GiB`` (2^30). Raises UsageError, which names ``what``."""
    return _read(text, what, _BYTES, "Write it like 500MB, 8GB or 8GiB.")


def in_bytes(size: float) -> str:
    """A size for people, in decimal units: ``1.3 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB" if size < 999.5 else f"{size:,.0f} TB"


def _read(text: str, what: str, units: dict[str, int], hint: str) -> int:
    found = _FORM.fullmatch(text.strip())
    unit = None if found is None else units.get(found[3].lower())
    if found is None or unit is None:
        raise UsageError(f"{what} cannot be '{text}'", hint=hint)
    number = float(f"{found[1]}{found[2] or ''}") * unit
    if not 1 <= number < 1e18:
        raise UsageError(f"{what} must be at least 1 and below 1e18, got '{text}'", hint=hint)
    return round(number)
