"""The indexes of a gallery, exact and approximate, whose rows are spread over shards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zsretrieve.cluster.shard import Held, HeldParts
from zsretrieve.domain.candidates import cut
from zsretrieve.domain.errors import MissingRowsError
from zsretrieve.domain.kinds import Approximate, Effort
from zsretrieve.domain.ranking import check_held, check_k, check_rows, check_threshold, order
from zsretrieve.domain.records import Segment
from zsretrieve.domain.vectors import Limits, Rows, Scores, Vectors, check_unit_rows
from zsretrieve.store.rows import LiveVectors

Flags = NDArray[np.bool_]

# A shard is asked for so many inner products at once, and for so many queries, so that each call ends in time.
_PRODUCTS, _QUERIES = 1 << 27, 256


class Holders(Protocol):
    """What holds the rows of one index, part by part."""

    @property
    def partial(self) -> bool:
        """Whether searches of a part of the rows are wanted where others are missing."""
        ...

    def ask(self, method: str, wanted: Mapping[int, Sequence[Any]]) -> Mapping[int, Any]:
        """What a method of ``Shard`` returns for the arguments after the key, by the numbers of shards.

        Those that do not answer in time are left out.
        """
        ...


class ShardedIndex:
    """SearchIndex port over rows that are split into ranges, each held by a shard.

    Scores are those of a single index bit by bit wherever these are computed as ``ranking.exact_scores`` says, and so
    are order and ties: the best k of all rows are among the best k of each range.

    Parameters
    ----------
    vectors : LiveVectors
        All rows, mapped from their files.
    cuts : int64 of shape (n_shards + 1,), ascending
        Shard i holds rows ``cuts[i]`` to ``cuts[i + 1]``.
    holders : Holders
    """

    factory = "Flat"
    device = "ray"

    def __init__(self, vectors: LiveVectors, cuts: Rows, holders: Holders) -> None:
        self.dim = vectors.dim
        self._vectors = vectors
        self._cuts = cuts
        self._holders = holders

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: Vectors, k: int, rows: Rows | None = None) -> tuple[Scores, Rows]:
        among = None if rows is None else check_rows(rows, len(self))
        check_k(k, len(self) if among is None else len(among))
        queries = check_unit_rows(queries, self.dim, "queries")
        scores, found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for some in self._blocks(len(queries)):
            lists = self._ask("search", (queries[some], k), among)
            merged = (
                np.hstack([scores for scores, _ in lists.values()]),
                np.hstack([found + self._cuts[number] for number, (_, found) in lists.items()]),
            )
            best_scores, best_rows = order(*merged)
            scores[some], found[some] = best_scores[:, :k], best_rows[:, :k]
        return scores, found

    def range_search(self, queries: Vectors, threshold: float, rows: Rows | None = None) -> tuple[Limits, Scores, Rows]:
        among = None if rows is None else check_rows(rows, len(self))
        least = check_threshold(threshold)
        queries = check_unit_rows(queries, self.dim, "queries")
        owners, scores, found = [np.empty(0, np.int64)], [np.empty(0, np.float32)], [np.empty(0, np.int64)]
        for some in self._blocks(len(queries)):
            ranges = self._ask("range_search", (queries[some], float(least)), among)
            owner = np.concatenate(
                [np.repeat(np.arange(some.start, some.stop), np.diff(one)) for one, _, _ in ranges.values()]
            )
            # Stable, so that the rows of a query go on ascending from shard to shard.
            by = np.argsort(owner, kind="stable")
            owners.append(owner[by])
            scores.append(np.concatenate([one for _, one, _ in ranges.values()])[by])
            found.append(np.concatenate([one + self._cuts[number] for number, (_, _, one) in ranges.items()])[by])
        limits = np.searchsorted(np.concatenate(owners), np.arange(len(queries) + 1))
        return limits, np.concatenate(scores), np.concatenate(found)

    def stored(self, rows: Rows) -> Vectors:
        check_held(rows, len(self))
        vectors: Vectors = self._vectors.take(rows.ravel()).reshape(*rows.shape, self.dim)
        return vectors

    def _blocks(self, count: int) -> Iterator[slice]:
        """The queries to ask at once; none if there are no rows."""
        step = max(1, min(_QUERIES, _PRODUCTS // max(1, int(np.diff(self._cuts).max(initial=1)))))
        return (slice(start, min(start + step, count)) for start in range(0, count if len(self) else 0, step))

    def _split(self, among: Rows | None) -> Iterator[tuple[int, Rows | None]]:
        """The shards to ask, and which of their own rows to search (None: all)."""
        bounds = self._cuts if among is None else np.searchsorted(among, self._cuts)
        for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
            first, last = self._cuts[number], self._cuts[number + 1]
            if start < stop:
                yield number, None if among is None or stop - start == last - first else among[start:stop] - first

    def _ask(self, method: str, given: tuple[Any, ...], among: Rows | None) -> dict[int, Any]:
        wanted = {number: (*given, rows) for number, rows in self._split(among)}
        return _answered(self._holders, method, wanted, self._cuts, among)


class ShardedCandidates:
    """CandidateIndex port over an approximate index whose parts are spread over shards.

    It finds what the index finds in one process, since ``cut`` keeps the same of the parts' candidates.

    Parameters
    ----------
    made : Approximate
    dim : int
    cuts : int64 of shape (n_shards + 1,), ascending
        Shard i holds parts ``cuts[i]`` to ``cuts[i + 1]``.
    holders : Holders
    """

    def __init__(self, made: Approximate, dim: int, cuts: Rows, holders: Holders) -> None:
        self.dim = dim
        self.starves = made.effort.ef is not None
        self._starts = np.cumsum([0, *(part.rows for part in made.parts)])[cuts]
        self._holders = holders

    def __len__(self) -> int:
        return int(self._starts[-1])

    def candidates(
        self, queries: Vectors, depth: int, effort: Effort, among: Flags | None = None
    ) -> tuple[Scores, Rows]:
        """See ``CandidateIndex.candidates``. Raises MissingRowsError if a shard does not answer."""
        selected = None if among is None else np.flatnonzero(among)
        # All at once, as in one process: turning vectors, a matrix product, may depend on the number of queries.
        wanted = {number: (queries, depth, effort, some) for number, some in self._split(among)}
        answers = _answered(self._holders, "candidates", wanted, self._starts, selected)
        return cut(
            [
                (scores, np.where(rows >= 0, rows + self._starts[number], -1))
                for number, (scores, rows) in answers.items()
            ],
            depth,
        )

    def _split(self, among: Flags | None) -> Iterator[tuple[int, Flags | None]]:
        """The shards to ask, and which of their own rows to search (None: all)."""
        for number, (start, stop) in enumerate(itertools.pairwise(self._starts)):
            some = None if among is None else among[start:stop]
            if start < stop and (some is None or some.any()):
                yield number, some


def cuts_of(count: int, shards: int) -> Rows:
    """Where so many rows or parts are split into ranges of nearly equal size, int64 of shape (shards + 1,)."""
    return np.arange(shards + 1) * count // shards


def held_by_each(
    folder: Path, segments: tuple[Segment, ...], vectors: LiveVectors, cuts: Rows, *, reads: bool = True
) -> list[Held]:
    """The rows of a gallery that each shard holds; ``reads`` as in ``Held``."""
    bounds = itertools.pairwise(cuts.tolist())
    return [Held.of(folder, segments, vectors, start, stop, reads=reads) for start, stop in bounds]


def parts_of_each(folder: Path, made: Approximate, dim: int, cuts: Rows) -> list[HeldParts]:
    """The parts of an approximate index that each shard holds."""
    return [HeldParts(folder, made.parts[start:stop], dim) for start, stop in itertools.pairwise(cuts.tolist())]


def _answered(
    holders: Holders, method: str, wanted: Mapping[int, Sequence[Any]], cuts: Rows, among: Rows | None
) -> dict[int, Any]:
    """What each of some shards says, in their order; shard i has rows ``cuts[i]`` to ``cuts[i + 1]``.

    Raises MissingRowsError if one of them does not answer, about the rows ``among`` (None: all).
    """
    answers = holders.ask(method, wanted)
    missing = [number for number in wanted if number not in answers]
    if missing:
        raise _missing(missing, cuts, among, partial=holders.partial)
    return {number: answers[number] for number in wanted}


def _missing(shards: Sequence[int], cuts: Rows, among: Rows | None, *, partial: bool) -> MissingRowsError:
    """The error for rows ``among`` (None: all) of which those of some shards cannot be searched."""
    is_there = np.ones(cuts[-1], np.bool_)
    for number in shards:
        is_there[cuts[number] : cuts[number + 1]] = False
    asked = is_there if among is None else is_there[among]
    names = ", ".join(str(number + 1) for number in shards)
    error = MissingRowsError(
        f"{np.count_nonzero(~asked):,} of {len(asked):,} images cannot be compared: "
        f"{'shard' if len(shards) == 1 else 'shards'} {names} of {len(cuts) - 1} did not answer in time",
        hint="A lost shard is placed on another node that has room. Try again in a minute.",
    )
    if partial:
        error.available = np.flatnonzero(is_there)
    return error
