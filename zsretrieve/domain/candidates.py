"""Candidates from an approximate index that is in several parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.ports import CandidateIndex
from zsretrieve.domain.ranking import order
from zsretrieve.domain.vectors import Rows, Scores, Vectors


def cut(found: Sequence[tuple[Scores, Rows]], depth: int) -> tuple[Scores, Rows]:
    """The ``depth`` best of all that the parts of an index found, by its own scores, ties to the lowest row.

    Parts that share a quantiser and codebooks give a row the score that it would have in one index of all rows. So the
    result is what that index finds, if each part gave its ``depth`` best; of rows that score just as the last one does
    it may keep others. Indexes that give every vector the same score wherever it is share as much without training.
    Walks through the graphs of parts find other rows than a walk through one graph.

    Parameters
    ----------
    found : sequence of pairs, one from each part
        Scores, float32 of shape (n, m_i), and rows of the whole index, int64 of the same shape; -1 in places without.
    depth : int
        At most the sum of the m_i.

    Returns
    -------
    scores : float32 of shape (n, depth)
        Best first; -inf in places without a row.
    rows : int64 of shape (n, depth)
    """
    rows = np.hstack([rows for _, rows in found])
    scores = np.where(rows >= 0, np.hstack([scores for scores, _ in found]), np.float32(-np.inf))
    scores, rows = order(scores, rows)
    return scores[:, :depth], rows[:, :depth]


class CandidateParts:
    """CandidateIndex port over several of one kind, whose rows are numbered one after the other.

    Parameters
    ----------
    parts : sequence of CandidateIndex
    """

    def __init__(self, parts: Sequence[CandidateIndex]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.dim = parts[0].dim
        self.starves = parts[0].starves

    def __len__(self) -> int:
        return int(self._starts[-1])

    def candidates(
        self, queries: Vectors, depth: int, effort: Effort, among: NDArray[np.bool_] | None = None
    ) -> tuple[Scores, Rows]:
        """See ``CandidateIndex.candidates``."""
        found = [(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64))]
        for start, part in zip(self._starts, self._parts, strict=False):
            some = None if among is None else among[start : start + len(part)]
            if some is None or some.any():
                scores, rows = part.candidates(queries, depth, effort, some)
                found.append((scores, np.where(rows >= 0, rows + start, -1)))
        scores, rows = cut(found, depth)
        # Parts that hold nothing selected leave places empty.
        room = ((0, 0), (0, depth - rows.shape[1]))
        return np.pad(scores, room, constant_values=-np.inf), np.pad(rows, room, constant_values=-1)
