"""Lists and counts in messages."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

# A quoted value, or a parameter as messages name it. A quote that does not end is quoted to the end, so that many of
# them do not take quadratic time.
_PARAMETER = re.compile(
    r"""(?<!\w)(?P<quote>['"]).*?(?:(?P=quote)(?!\w)|\Z)|`(?P<name>[a-z][a-z0-9_]*(?:=False)?)`""", re.DOTALL
)


def shorten(names: Sequence[str], most: int, quotes: str = "''") -> str:
    """At most ``most`` names, each in a pair of ``quotes``: ``'a', 'b' and 4 more``."""
    shown = ", ".join(f"{quotes[:1]}{name}{quotes[1:]}" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def apart(one: float, other: float, digits: int = 3) -> tuple[str, str]:
    """Two different numbers with as many decimals as it takes to see that they differ, at least ``digits``."""
    while digits < 17 and f"{one:.{digits}f}" == f"{other:.{digits}f}":
        digits += 1
    return f"{one:.{digits}f}", f"{other:.{digits}f}"


def three_digits(number: float) -> str:
    """A number with three digits, and never with an exponent where it is large: ``0.0123``, ``12.3``, ``57,870``."""
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"


def rounded_reaches(number: float, unit: float) -> bool:
    """Whether a number with three digits is at least one of a unit: 999,600 is 1 M."""
    return number >= 0.9995 * unit


def one_line(error: BaseException) -> str:
    """The message of another library's error, in one line of reasonable length; of the system's, the reason alone."""
    if type(error).__module__ == "builtins" and isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return " ".join(str(error).split())[:200] or type(error).__name__


def counted(n: int, one: str, many: str | None = None) -> str:
    """``1 image`` or ``3 images``; ``many`` is ``one`` with an s unless it is given."""
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def parameters(text: str) -> list[str]:
    """The parameters that a message names in backticks: ``force``, or ``exif=False`` for what is to be turned off."""
    return [found["name"] for found in _PARAMETER.finditer(text) if found["name"]]


def with_parameters(text: str, write: Callable[[str], str]) -> str:
    """A message with what ``write`` makes of the parameters in it; quoted values stay as they are."""
    return _PARAMETER.sub(lambda found: write(found["name"]) if found["name"] else found[0], text)
