"""Names on the command line: braces for several files, ``file://`` for a path."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

from zsretrieve.domain.errors import SourceError
from zsretrieve.images.addresses import quoted

_MOST = 100_000
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
# An escaped character, or braces without braces in them.
_BRACES = re.compile(r"\\.|\{(?P<inner>(?:\\.|[^{}\\])*)\}", re.DOTALL)
_PIECE = re.compile(r"((?:\\.|[^,\\])*),", re.DOTALL)


def local(name: str) -> str:
    """A ``file://`` URL as a path; anything else as it is."""
    return name.removeprefix("file://") if name.startswith("file:///") else name


def expand(name: str) -> list[str]:
    r"""The names that a pattern stands for: ``train-{0000..0012}.tar``, ``{a,b}.zip``; a backslash escapes a character.

    A range is padded like its first number. Braces with neither a range nor a comma are literal.

    Raises
    ------
    SourceError
        If there are more than 100,000.
    """
    parts: list[list[str]] = []
    at = 0
    for match in _BRACES.finditer(name):
        options = _options(match["inner"]) if match["inner"] is not None else []
        if options:
            parts += [[_unquoted(name[at : match.start()])], options]
            at = match.end()
    if not parts:
        return [name]
    parts.append([_unquoted(name[at:])])
    if math.prod(map(len, parts)) > _MOST:
        raise SourceError(f"'{name}' stands for more than {_MOST:,} files", hint="Check the numbers in braces.")
    return ["".join(choice) for choice in itertools.product(*parts)]


def in_braces(folder: str, names: Sequence[str]) -> str:
    """A pattern that ``expand`` turns into these names in the folder."""
    return f"{quoted(folder).rstrip('/')}/{{{','.join(map(quoted, names))}}}"


def _options(inner: str) -> list[str]:
    """What the content of braces stands for; nothing if it is literal."""
    span = _RANGE.fullmatch(inner)
    if span is None:
        pieces = [_unquoted(piece) for piece in _PIECE.findall(f"{inner},")]
        return pieces if len(pieces) > 1 else []
    first, last = int(span[1]), int(span[2])
    if abs(last - first) >= _MOST:
        raise SourceError(f"'{{{inner}}}' stands for more than {_MOST:,} files", hint="Check the numbers in braces.")
    step = 1 if last >= first else -1
    return [str(number).zfill(len(span[1])) for number in range(first, last + step, step)]


def _unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL)
