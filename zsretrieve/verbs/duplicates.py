"""Pictures of a gallery that are there more than once, as equal files or as near vectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from zsretrieve.filters import selection
from zsretrieve.ranking import check_near, exact_scores
from zsretrieve.records import Duplicate, DuplicateGroup, DuplicateKind
from zsretrieve.store.indexes import Gallery
from zsretrieve.vectors import Rows, Scores
from zsretrieve.verbs.encode import OnProgress

DEFAULT_NEAR = 0.95

# Queries enough for the index's matrix product to be quick, and few enough pairs to hold them all, should all be near.
_QUERIES = 1024
_AMONG = 4096


def find_duplicates(
    gallery: Gallery,
    *,
    near: float | None = DEFAULT_NEAR,
    where: str | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[DuplicateGroup, ...]:
    """Groups of pictures that show the same; a picture is in one group at most.

    Two pictures belong together if the digests of their files are equal, or if their score is at least ``near``. What
    belongs together with the same picture belongs together (single linkage), so two of a near group may be further
    apart than ``near``. A group is exact if all its digests are equal. An unknown (empty) digest equals none.

    Parameters
    ----------
    gallery : Gallery
    near : float, optional
        From above 0 to 1; None looks at digests alone.
    where : str, optional
        Look only among the pictures that pass this filter, see ``zsretrieve.filters``.
    on_progress : callable, optional
        Called with (pictures compared, pictures in all).

    Returns
    -------
    tuple of DuplicateGroup, in the order of their first pictures

    Raises
    ------
    RankError
        If ``near`` is out of range.
    FilterError
        If the filter cannot be used, or nothing passes it.
    """
    if near is not None:
        check_near(near)
    chosen = selection(gallery.items, where)
    rows = np.arange(len(gallery.items), dtype=np.int64) if chosen is None else chosen
    first_of: dict[str, int] = {}
    same = np.arange(len(rows))
    for place, row in enumerate(rows):
        if digest := gallery.items[row].digest:
            same[place] = first_of.setdefault(digest, place)
    groups = _Components(same)
    if near is not None:
        _join_near(gallery, rows, np.flatnonzero(same == np.arange(len(rows))), near, groups, on_progress)
    return tuple(_group(gallery, rows[places]) for places in groups.of_several())


class _Components:
    """Connected components of places 0 to n - 1, each known by its lowest place."""

    def __init__(self, parents: NDArray[np.int64]) -> None:
        self._parents = parents.copy()

    def roots(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        found = self._parents[places]
        while not np.array_equal(found, higher := self._parents[found]):
            found = higher
        return found

    def join(self, places: NDArray[np.int64]) -> None:
        roots = self.roots(places)
        lowest = roots.min()
        self._parents[roots] = lowest
        self._parents[places] = lowest

    def of_several(self) -> Iterator[NDArray[np.int64]]:
        """Components of more than one place, by their lowest places; the places of each ascending."""
        roots = self.roots(np.arange(len(self._parents)))
        by = np.argsort(roots, kind="stable")
        starts = np.flatnonzero(np.diff(roots[by], prepend=-1))
        for start, end in zip(starts, np.append(starts, len(by))[1:], strict=True):
            if end - start > 1:
                yield by[start:end]


def _join_near(
    gallery: Gallery, rows: Rows, places: NDArray[np.int64], near: float, groups: _Components,
    on_progress: OnProgress | None,
) -> None:  # fmt: skip
    """Compare each of the places with itself and those behind it, a tile of the matrix of all pairs at a time."""
    place_of = np.empty(len(gallery.items), dtype=np.int64)
    place_of[rows] = np.arange(len(rows))
    for start in range(0, len(places), _QUERIES):
        asked = places[start : start + _QUERIES]
        queries = gallery.index.stored(rows[asked])
        for other in range(start, len(places), _AMONG):
            among = rows[places[other : other + _AMONG]]
            limits, _, found = gallery.index.range_search(queries, near, among)
            for number in np.flatnonzero(np.diff(limits)):
                close = place_of[found[limits[number] : limits[number + 1]]]
                groups.join(np.append(close, asked[number]))
        if on_progress is not None:
            on_progress(min(start + _QUERIES, len(places)), len(places))


def _group(gallery: Gallery, rows: Rows) -> DuplicateGroup:
    items = [gallery.items[row] for row in rows]
    scores = _scores_to_first(gallery, rows)
    equal = bool(items[0].digest) and len({item.digest for item in items}) == 1
    return DuplicateGroup(
        DuplicateKind.EXACT if equal else DuplicateKind.NEAR,
        tuple(
            Duplicate(item.id, gallery.path_of(item), item.digest, float(score))
            for item, score in zip(items, scores, strict=True)
        ),
        float(scores.min()),
    )


def _scores_to_first(gallery: Gallery, rows: Rows) -> Scores:
    first = gallery.index.stored(rows[:1])
    parts = [rows[start : start + _AMONG] for start in range(0, len(rows), _AMONG)]
    return np.concatenate([exact_scores(first, gallery.index.stored(part)[None])[0] for part in parts])
