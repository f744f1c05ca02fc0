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
    """A segment whose rows an approximate index holds."""

    name: str
    rows: int


@dataclass(frozen=True)
class Approximate:
    """An approximate index in a manifest.

    ``file`` is relative to the index folder and ``kind`` is the FAISS factory string. The index holds every row of the
    segments in ``covers``, one segment after the other, also rows that are not live.
    """

    file: str
    kind: str
    covers: tuple[Covered, ...]
    effort: Effort

    @property
    def rows(self) -> int:
        """The rows it holds."""
        return sum(one.rows for one in self.covers)


def automatic(count: int, dim: int) -> str:
    """The kind for so many images: exact up to ``FLAT_UP_TO``, then inverted lists with product quantisation.

    Among kinds of at most a quarter of the vectors' bytes this one has the best recall for texts per millisecond; codes
    of one bit (RaBitQ) look as good for image queries, and lose the neighbours of texts.
    """
    if count <= FLAT_UP_TO:
        return FLAT
    lists = 2 ** round(math.log2(2 * math.sqrt(count)))
    return f"IVF{lists},PQ{dim // 2 if dim % 2 == 0 else dim}x4fsr"
