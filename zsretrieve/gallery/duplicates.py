"""Images that are in a gallery more than once, as equal files or near vectors, and which of them to keep."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.duplicates import Duplicate, DuplicateGroup, DuplicateKind
from zsretrieve.domain.filters import selection
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.ranking import check_near, exact_scores
from zsretrieve.domain.records import Item
from zsretrieve.domain.settings import DUPLICATE_SCORE
from zsretrieve.domain.vectors import Rows, Scores
from zsretrieve.store.indexes import Gallery

# Enough queries for a quick matrix product, and few enough pairs to hold all of them in memory.
_QUERIES = 1024
_AMONG = 4096


def find_duplicates(
    gallery: Gallery,
    *,
    near: float | None = DUPLICATE_SCORE,
    where: str | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[DuplicateGroup, ...]:
    """See ``api.duplicates.find_duplicates``."""
    if near is not None:
        check_near(near)
    chosen = selection(gallery.items, where)
    rows = range(len(gallery.items)) if chosen is None else chosen.tolist()
    best_first = sorted(rows, key=lambda row: _worth(gallery.items[row], row))
    copies: dict[str, list[int]] = {}
    distinct = []
    for row in best_first:
        digest = gallery.items[row].digest
        if not digest or digest not in copies:
            distinct.append(row)
        if digest:
            copies.setdefault(digest, []).append(row)
    groups = [_group(gallery, DuplicateKind.EXACT, some) for some in sorted(copies.values(), key=min) if len(some) > 1]
    if near is not None:
        kept = {some[0] for some in copies.values() if len(some) > 1}
        alike = _near_groups(gallery, np.array(distinct, dtype=np.int64), kept, near, on_progress)
        groups += [_group(gallery, DuplicateKind.NEAR, some) for some in sorted(alike, key=min)]
    return tuple(groups)


def _worth(item: Item, row: int) -> tuple[int, int, int, int]:
    """The image to keep of several sorts first: most pixels, largest file, shortest path, first in the gallery."""
    return -item.width * item.height, -item.bytes, len(item.path), row


def _near_groups(
    gallery: Gallery, rows: NDArray[np.int64], kept: Collection[int], near: float, on_progress: OnProgress | None
) -> list[list[int]]:
    """Groups of rows that are near the first of their group, which is the earliest in ``rows`` that they are near.

    Those that are ``kept`` of equal files can only be the first: deleting the rest of every group must lose no image.

    The matrix of all pairs is compared one tile at a time: among a block of rows to find those that begin a group, then
    these with all later rows.
    """
    place_of = np.empty(len(gallery.items), dtype=np.int64)
    place_of[rows] = np.arange(len(rows))
    head = np.full(len(rows), -1)  # the place of the first of its group, for every place that has one
    may_join = ~np.isin(rows, list(kept))

    def gather(begin: NDArray[np.int64], among: NDArray[np.int64]) -> None:
        """Put those of ``among`` that have no group into the first group that they are near of those that begin one."""
        if not len(begin) or not len(among):
            return
        queries = gallery.index.stored(rows[begin])
        limits, _, found = gallery.index.range_search(queries, near, np.sort(rows[among]))
        for number, place in enumerate(begin):
            if head[place] in (-1, place):
                head[place] = place
                close = place_of[found[limits[number] : limits[number + 1]]]
                head[close[(head[close] < 0) & may_join[close]]] = place

    for start in range(0, len(rows), _QUERIES):
        end = min(start + _QUERIES, len(rows))
        block = start + np.flatnonzero(head[start:end] < 0)
        gather(block, block)
        begin = block[head[block] == block]
        for other in range(end, len(rows), _AMONG):
            gather(begin, other + np.flatnonzero(head[other : other + _AMONG] < 0))
        if on_progress is not None:
            on_progress(end, len(rows))
    groups: dict[int, list[int]] = {}
    for place, first in enumerate(head.tolist()):
        groups.setdefault(first, []).append(int(rows[place]))
    return [group for group in groups.values() if len(group) > 1]


def _group(gallery: Gallery, kind: DuplicateKind, rows: Sequence[int]) -> DuplicateGroup:
    """A group whose first row is the one to keep."""
    ordered = np.array([rows[0], *sorted(rows[1:])], dtype=np.int64)
    items = [gallery.items[row] for row in ordered]
    scores = _scores_to_first(gallery, ordered)
    duplicates = [
        Duplicate(item.id, gallery.path_of(item), float(score), item.digest)
        for item, score in zip(items, scores, strict=True)
    ]
    return DuplicateGroup(kind, float(scores.min()), items[0].id, tuple(duplicates))


def _scores_to_first(gallery: Gallery, rows: Rows) -> Scores:
    first = gallery.index.stored(rows[:1])
    parts = [rows[start : start + _AMONG] for start in range(0, len(rows), _AMONG)]
    return np.concatenate([exact_scores(first, gallery.index.stored(part)[None])[0] for part in parts])
