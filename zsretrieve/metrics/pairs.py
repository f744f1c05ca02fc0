"""Figures of retrieval between two sets whose members belong together, as images and their captions."""

from __future__ import annotations

import numpy as np

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.ranking import exact_scores, float32_score_error
from zsretrieve.domain.vectors import Rows, Scores, Vectors

# Scores that are in memory at once: 64 MB in float32.
_AT_ONCE = 1 << 24


def own_scores(queries: Vectors, candidates: Vectors, own: Rows) -> Scores:
    """The exact score of each query with its own candidate, float32 of shape (n,). Parameters as for ``own_places``."""
    if own.shape != queries.shape[:1] or queries.shape[1:] != candidates.shape[1:]:
        raise ShapeError(f"queries {queries.shape}, candidates {candidates.shape} and own {own.shape} do not fit")
    scores = np.empty(len(queries), dtype=np.float32)
    step = max(1, _AT_ONCE // max(1, queries.shape[1]) // 4)
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        scores[some] = exact_scores(queries[some], candidates[own[some]][:, None])[:, 0]
    return scores


def own_places(queries: Vectors, candidates: Vectors, own: Rows) -> Rows:
    """Where each query's own candidate is among all of them: the best score first, ties to the lowest row.

    The product is computed in float32, and what is within its error of the own candidate's score is compared exactly,
    see ``zsretrieve.domain.ranking``.

    Parameters
    ----------
    queries : float32 of shape (n, dim), unit rows
    candidates : float32 of shape (m, dim), unit rows
    own : int64 of shape (n,)
        The row of each query's own candidate.

    Returns
    -------
    int64 of shape (n,); 0 is the best
    """
    mine = own_scores(queries, candidates, own)
    # Of two scores, each may be off by the bound; adding it rounds once more.
    error = np.float32(2 * float32_score_error(queries.shape[1]))
    places = np.empty(len(queries), dtype=np.int64)
    step = max(1, _AT_ONCE // len(candidates))
    at_once = max(1, _AT_ONCE // queries.shape[1])
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        scores = queries[some] @ candidates.T
        above = scores > (mine[some] + error)[:, None]
        found = np.count_nonzero(above, axis=1)
        near = scores >= (mine[some] - error)[:, None]
        near &= ~above
        numbers, rows = np.nonzero(near)
        for first in range(0, len(numbers), at_once):
            which, row = numbers[first : first + at_once], rows[first : first + at_once]
            exact = exact_scores(queries[start + which], candidates[row][:, None])[:, 0]
            bound = mine[start + which]
            better = (exact > bound) | ((exact == bound) & (row < own[start + which]))
            found += np.bincount(which[better], minlength=len(found))
        places[some] = found
    return places


def best_own(scores: Scores, owners: Rows, n: int) -> Rows:
    """The member of each owner that has the best score, ties to the lowest.

    Parameters
    ----------
    scores : float32 of shape (m,)
    owners : int64 of shape (m,)
        From 0 to ``n - 1``, each at least once.
    n : int

    Returns
    -------
    int64 of shape (n,)
    """
    if not np.bincount(owners, minlength=n).all():
        raise ShapeError("an owner has no member")
    by = np.lexsort((np.arange(len(scores)), -scores, owners))
    return by[np.searchsorted(owners[by], np.arange(n))]
