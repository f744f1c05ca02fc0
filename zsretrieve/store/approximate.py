"""The approximate index of a gallery: made from its segments, and searched beside what it does not cover.

It is in one or several parts, and holds rows of the segments that there were when these were made, numbered through the
parts. Segments never change, so such a number always means the same vector; which of them are live is read from the
segments that there are now. A live row that no part holds came later, or was moved by a merge, and is compared exactly.
So removing, replacing and adding images need no change of the index.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.candidates import CandidateParts
from zsretrieve.domain.errors import IndexBusyError, IntegrityError, MissingRowsError, OptionalDependencyError
from zsretrieve.domain.kinds import Approximate, Effort, Part
from zsretrieve.domain.ports import CandidateIndex, IndexBackend, SearchIndex
from zsretrieve.domain.ranking import best_of, check_k
from zsretrieve.domain.records import Manifest
from zsretrieve.domain.vectors import Rows, Vectors, check_unit_rows
from zsretrieve.store import files
from zsretrieve.store.rows import LiveVectors

FILE = "approximate.faiss"
Flags = NDArray[np.bool_]
_log = logging.getLogger("zsretrieve")

# A search for more than the depth divided by this is exact. All others compare the same candidates, so that pages fit.
PER_HIT = 4
# A walk through a graph finds too little among a smaller share of its rows.
_LEAST_SHARE = 0.1
# Candidates of so many queries are in memory at once.
_QUERIES = 1024


class ApproximateSearch:
    """Searches a gallery by its approximate index: candidates from there, exact scores from the rows themselves.

    Parameters
    ----------
    made : Approximate
    exact : SearchIndex
        Over the live rows.
    row_of : int64 of shape (``made.rows``,)
        The live row of each row of the index; -1 for one that is not live.
    load : callable
        Opens the index, when it is first needed; None if a file of it is gone. Raises OptionalDependencyError without
        FAISS, and IntegrityError if one is damaged.
    """

    def __init__(
        self, made: Approximate, exact: SearchIndex, row_of: Rows, load: Callable[[], CandidateIndex | None]
    ) -> None:
        self.made = made
        self._exact = exact
        self._row_of = row_of
        self.load = load

    @property
    def covered(self) -> int:
        """How many live rows the index covers."""
        return int(np.count_nonzero(self._row_of >= 0))

    def search(
        self, queries: Vectors, k: int, among: Rows | None = None, effort: Effort | None = None
    ) -> tuple[Rows, Flags]:
        """Nearly the k best rows for each query, best first by their exact scores, ties to the lowest row.

        The answer for a smaller k is the beginning of that for a larger one, up to a quarter of the depth of the
        index; with a larger k all rows are compared.

        Parameters
        ----------
        queries : float32 of shape (n, dim), unit rows
        k : int
            From 1 to the number of rows searched.
        among : int64 of shape (m,), optional
            Search among these rows only, strictly ascending.
        effort : Effort, optional
            By default the index's own.

        Returns
        -------
        rows : int64 of shape (n, k)
        is_exact : bool of shape (n,)
            Whether all rows were compared, so that none is missing.

        Raises
        ------
        RankError
            As for ``SearchIndex.search``.
        ShapeError
            If the queries are not unit rows of this dimension.
        IntegrityError
            If the file of the index is damaged.
        """
        queries = check_unit_rows(queries, self._exact.dim, "queries")
        check_k(k, len(self._exact) if among is None else len(among))
        rows, is_exact = np.empty((len(queries), k), np.int64), np.empty(len(queries), np.bool_)
        for start in range(0, len(queries), _QUERIES):
            some = slice(start, start + _QUERIES)
            rows[some], is_exact[some] = self._search(queries[some], k, among, effort or self.made.effort)
        return rows, is_exact

    @functools.cached_property
    def index(self) -> CandidateIndex | None:
        """The index itself; None if FAISS is not installed, or a writer has replaced the file since the gallery was
        opened. Raises IntegrityError if it is damaged.
        """
        try:
            return self.load()
        except OptionalDependencyError as error:
            _log.warning(f"{error.message}, so images are compared one by one. {error.hint}")
            return None

    def places(self, queries: Vectors, wanted: Rows, own: Rows, effort: Effort) -> Rows:
        """The place of each wanted row among the candidates for its query: a search of that depth and more finds it.

        Parameters
        ----------
        queries : float32 of shape (n, dim), unit rows
        wanted : int64 of shape (n, k)
            Live rows.
        own : int64 of shape (n,)
            A live row to leave out of the candidates of each query, as if the index did not hold it; -1 for none.
        effort : Effort

        Returns
        -------
        int64 of shape (n, k)
            From 1 to the depth; 0 for a row that searches compare in any case; one more than the depth for a row that
            is not found.

        Raises
        ------
        IndexBusyError
            If a writer has replaced the index since the gallery was opened.
        OptionalDependencyError
            If FAISS is not installed.
        IntegrityError
            If a file of the index is damaged.
        """
        index = self.load() if self.index is None else self.index
        if index is None:
            raise IndexBusyError("the index was replaced since it was opened", hint="Run the command again.")
        selected, rest = self._asked(index, None)
        found = index.candidates(queries, effort.depth, effort, selected)[1]
        candidates = np.where(found >= 0, self._row_of[found], -1)
        shift = np.cumsum(candidates == own[:, None], axis=1)
        places = np.full(wanted.shape, effort.depth + 1, np.int64)
        for column, rows in enumerate(wanted.T):
            hits = candidates == rows[:, None]
            (inside,) = np.nonzero(hits.any(axis=1))
            place = hits[inside].argmax(axis=1)
            places[inside, column] = place + 1 - shift[inside, place]
        places[np.isin(wanted, rest)] = 0
        return places

    def _search(self, queries: Vectors, k: int, among: Rows | None, effort: Effort) -> tuple[Rows, Flags]:
        most = effort.depth // PER_HIT
        is_small = among is not None and len(among) <= effort.exact_below
        if is_small or k > most or self.index is None:
            return self._compared(queries, k, among)
        selected, rest = self._asked(self.index, among)
        if effort.depth >= (len(self._row_of) if selected is None else np.count_nonzero(selected)):
            return self._compared(queries, k, among)
        try:
            found = self.index.candidates(queries, effort.depth, effort, selected)[1]
        except MissingRowsError as error:
            if error.available is not None:
                error.available = self._without(np.delete(self._row_of, error.available))
            raise
        short = np.count_nonzero(found >= 0, axis=1) < most
        candidates = np.where(found >= 0, self._row_of[found], -1)
        if len(rest):
            later = self._exact.search(queries, min(k, len(rest)), rest)[1]
            candidates = np.hstack([candidates, later])
        rows = best_of(queries, candidates, k, fetch=self._exact.stored)
        if short.any():
            rows[short] = self._exact.search(queries[short], k, among)[1]
        return rows, short

    def _without(self, rows: Rows) -> Rows:
        """All rows of the gallery but some, in which -1 means none."""
        is_there = np.ones(len(self._exact), np.bool_)
        is_there[rows[rows >= 0]] = False
        return np.flatnonzero(is_there)

    def _compared(self, queries: Vectors, k: int, among: Rows | None) -> tuple[Rows, Flags]:
        """The answer of a comparison with all rows."""
        return self._exact.search(queries, k, among)[1], np.ones(len(queries), np.bool_)

    def _asked(self, index: CandidateIndex, among: Rows | None) -> tuple[Flags | None, Rows]:
        """Which rows of the index it is asked about (None: all), and the rows of the gallery to compare exactly."""
        selected, rest = self._selected(among)
        return self._fed(selected, rest) if index.starves and selected is not None else (selected, rest)

    def _fed(self, selected: Flags, rest: Rows) -> tuple[Flags, Rows]:
        """What ``_selected`` returns, without the parts in which too small a share is selected: their rows join the
        others, to be compared exactly.
        """
        selected, ends = selected.copy(), np.cumsum([part.rows for part in self.made.parts])
        starving = []
        for end, part in zip(ends, self.made.parts, strict=True):
            some = slice(end - part.rows, end)
            if np.count_nonzero(selected[some]) < _LEAST_SHARE * part.rows:
                starving.append(self._row_of[some][selected[some]])
                selected[some] = False
        return selected, np.sort(np.concatenate([rest, *starving]))

    def _selected(self, among: Rows | None) -> tuple[Flags | None, Rows]:
        """Which rows of the index to search (None: all), and the rows of the gallery that it does not cover."""
        if among is None:
            return self._live, self._uncovered
        places = self._place_of[among]
        inside = places >= 0
        selected = np.zeros(len(self._row_of), np.bool_)
        selected[places[inside]] = True
        return selected, among[~inside]

    @functools.cached_property
    def _live(self) -> Flags | None:
        """Which rows of the index are live; None if all are."""
        live: Flags = self._row_of >= 0
        return None if live.all() else live

    @functools.cached_property
    def _place_of(self) -> Rows:
        """The row of the index for each live row; -1 for one that it does not cover."""
        places = np.full(len(self._exact), -1, np.int64)
        live = np.flatnonzero(self._row_of >= 0)
        places[self._row_of[live]] = live
        return places

    @functools.cached_property
    def _uncovered(self) -> Rows:
        return np.flatnonzero(self._place_of < 0)


def opened(
    manifest: Manifest, vectors: LiveVectors, exact: SearchIndex, load: Callable[[Approximate], CandidateIndex | None]
) -> ApproximateSearch | None:
    """The search by the approximate index of an open gallery; None if it has none. ``load`` opens it when needed."""
    made = manifest.approximate
    if made is None:
        return None
    live = live_of(manifest, vectors)
    row_of = np.concatenate([rows_of(part, live) for part in made.parts])
    return ApproximateSearch(made, exact, row_of, functools.partial(load, made))


def load(folder: Path, parts: Sequence[Part], dim: int, backend: IndexBackend) -> CandidateIndex | None:
    """Open parts of an approximate index, one or more; None if a writer has replaced one. Raises as
    ``load_candidates`` does.
    """
    opened = [load_part(folder, part, dim, backend) for part in parts]
    there = [part for part in opened if part is not None]
    if len(there) < len(parts):
        return None
    return there[0] if len(there) == 1 else CandidateParts(there)


def load_part(folder: Path, part: Part, dim: int, backend: IndexBackend) -> CandidateIndex | None:
    """Open a part of an approximate index; None if a writer has replaced it. Raises as ``load_candidates`` does."""
    file = folder / part.file
    if not file.exists():
        return None
    try:
        index = backend.load_candidates(file)
    except IntegrityError:
        if file.exists():
            raise
        return None
    if (len(index), index.dim) != (part.rows, dim):
        raise files.damaged(folder, f"'{part.file}' does not hold {part.rows} rows of {dim} dimensions")
    return index


def live_of(manifest: Manifest, vectors: LiveVectors) -> dict[str, Rows]:
    """By the name of each segment the live rows that its rows are, -1 for one that is not live."""
    return dict(zip((segment.name for segment in manifest.segments), vectors.rows_of_parts(), strict=True))


def rows_of(part: Part, live: dict[str, Rows]) -> Rows:
    """The live row of each row of a part; -1 for one that is not live, or whose segment is gone."""
    gone = np.full(part.rows, -1, np.int64)
    rows = [live[one.name][one.start :] if one.name in live else gone for one in part.covers]
    return np.concatenate([some[: one.rows] for some, one in zip(rows, part.covers, strict=True)])
