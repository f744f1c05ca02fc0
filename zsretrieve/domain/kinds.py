"""Kinds of index, named by their FAISS factory strings, and what a manifest says of an approximate one."""

from __future__ import annotations

import math
from dataclasses import dataclass

FLAT, AUTO = "Flat", "auto"
# Comparing so many images takes a few hundredths of a second on two cores, which nobody notices.
FLAT_UP_TO = 200_000
# Of images that came later, an approximate index leaves this share to an exact search; beyond, it is made again.
MOST_UNCOVERED = 0.1


def spelt(kind: str) -> str:
    """The name of a kind, with ``Flat`` and ``auto`` in any case."""
    return {FLAT.lower(): FLAT, AUTO: AUTO}.get(kind.lower(), kind)


@dataclass(frozen=True)
class Effort:
    """How much an approximate index looks at for a query.

    ``depth`` candidates are compared exactly; ``probes`` of its lists are searched, None if it has none; ``ef`` is the
    length of the list that a walk through a graph keeps, None if it is not a graph. If a filter leaves at most
    ``exact_below`` images, all of these are compared instead.
    """

    depth: int
    probes: int | None = None
    ef: int | None = None
    exact_below: int = 20_000


@dataclass(frozen=True)
class Covered:
    """Rows of the segment ``name`` that a part of an approximate index holds: ``rows`` of them from ``start`` on."""

    name: str
    rows: int
    start: int = 0


@dataclass(frozen=True)
class Part:
    """A part of an approximate index: a file, relative to the index folder, and the rows in it, one after the other."""

    file: str
    covers: tuple[Covered, ...]

    @property
    def rows(self) -> int:
        """The rows it holds."""
        return sum(one.rows for one in self.covers)


@dataclass(frozen=True)
class Approximate:
    """An approximate index in a manifest.

    ``kind`` is the FAISS factory string. Its rows, also those that are not live, are numbered through its parts.
    """

    kind: str
    effort: Effort
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """The rows it holds."""
        return sum(part.rows for part in self.parts)

    @property
    def files(self) -> tuple[str, ...]:
        """The files of its parts."""
        return tuple(part.file for part in self.parts)

    @property
    def held(self) -> dict[str, int]:
        """How many rows it holds of each segment, by the segments' names."""
        held: dict[str, int] = {}
        for one in (one for part in self.parts for one in part.covers):
            held[one.name] = held.get(one.name, 0) + one.rows
        return held


def automatic(count: int, dim: int) -> str:
    """The kind for so many images: exact up to ``FLAT_UP_TO``, then inverted lists with product quantisation.

    Among kinds of at most a quarter of the vectors' bytes this one has the best recall for texts per millisecond; codes
    of one bit (RaBitQ) look as good for image queries, and lose the neighbours of texts.
    """
    if count <= FLAT_UP_TO:
        return FLAT
    lists = 2 ** round(math.log2(2 * math.sqrt(count)))
    return f"IVF{lists},PQ{dim // 2 if dim % 2 == 0 else dim}x4fsr"
