"""Exact order among near-equal scores.

The score of a pair is its inner product in float64, rounded to float32; ties go to the lowest row. A fast search
computes in float32 (or less) and in any order, so its list is certain only where neighbouring scores are further apart
than its rounding error. ``settle`` recomputes the rest, ``settle_range`` the scores within that error of a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import RankError, ShapeError
from zsretrieve.domain.vectors import UNIT_TOLERANCE, Limits, Rows, Scores, Vectors

SearchRaw = Callable[[Vectors, int], tuple[Scores, Rows]]
FetchRows = Callable[[Rows], Vectors]

_SPARE = 8
_CHUNK_ELEMENTS = 1 << 24
# Vectors that stay in the processor's cache while their scores are recomputed in float64: 1 MiB.
_CACHED_ELEMENTS = 1 << 17


def float32_score_error(dim: int) -> float:
    """A bound on the error of a float32 inner product of two unit vectors, in whatever order it is summed.

    Each term is rounded once as a product and at most dim - 1 times in sums, so the error is at most gamma(dim) times
    the sum of |q_i x_i| (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), which the norms bound.
    gamma(n) = n * u / (1 - n * u), u = 2^-24. The score itself is rounded once more; one more rounding allows for
    underflow and for the errors of float64.
    """
    roundings = (dim + 2) * 2.0**-24
    return roundings / (1.0 - roundings) * (1.0 + UNIT_TOLERANCE) ** 2


def check_k(k: int, size: int, what: str = "rows", holder: str = "the index holds") -> None:
    """Raise RankError unless 1 <= k <= size."""
    if k < 1:
        raise RankError(f"k is {k}, but must be at least 1", hint="Give a k of 1 or more.")
    if k > size:
        raise RankError(f"k is {k}, but {holder} {size} {what}", hint=f"Give a k of at most {size}.")


def check_rows(rows: NDArray[Any], size: int) -> Rows:
    """Return a selection of rows after checking that it is strictly ascending, each from 0 to ``size - 1``.

    Raises
    ------
    ShapeError
        If it is not int64 of one dimension.
    RankError
        If it is empty, in another order, or names a row twice or one that does not exist.
    """
    if rows.ndim != 1 or rows.dtype != np.int64:
        raise ShapeError(f"a selection of rows must be int64 of one dimension, not {rows.dtype} of {rows.ndim}")
    if not len(rows):
        raise RankError("the selection of rows is empty", hint="Select at least one row.")
    if (np.diff(rows) <= 0).any():
        raise RankError("the selected rows are not strictly ascending", hint="Pass them through numpy.unique.")
    if rows[0] < 0 or rows[-1] >= size:
        beyond = rows[0] if rows[0] < 0 else rows[-1]
        raise RankError(f"row {beyond} is selected, but the index holds {size} rows", hint="Select rows it holds.")
    return np.ascontiguousarray(rows)


def check_held(rows: Rows, size: int) -> None:
    """Raise RankError unless every row, in any order and shape, is from 0 to ``size - 1``."""
    if rows.size and (rows.min() < 0 or rows.max() >= size):
        beyond = rows.min() if rows.min() < 0 else rows.max()
        raise RankError(f"row {beyond} is asked for, but the index holds {size} rows", hint="Ask for rows it holds.")


def check_threshold(threshold: float) -> np.float32:
    """The threshold in the precision of scores, float32. Raises RankError if it is not a finite number."""
    if not math.isfinite(threshold):
        raise RankError(f"the threshold must be a finite number, got {threshold}", hint="Give one from -1 to 1.")
    return np.float32(threshold)


def check_near(near: float) -> None:
    """Raise RankError unless ``near`` may be the score at which two images count as the same."""
    if not 0.0 < near <= 1.0:
        raise RankError(f"near is {near}, but must be above 0 and at most 1", hint="Give a score such as 0.98.")


def exact_scores(queries: Vectors, candidates: Vectors) -> Scores:
    """Inner products in float64, rounded to float32; equal candidates get equal scores in any position.

    Parameters
    ----------
    queries : float32 of shape (n, dim)
    candidates : float32 of shape (n, m, dim)
        Or (n, m, p, dim) where a candidate is p vectors; its score is then the greatest of theirs.

    Returns
    -------
    float32 of shape (n, m)
    """
    if candidates.ndim == 4:
        n, m, p, dim = candidates.shape
        best: Scores = exact_scores(queries, candidates.reshape(n, m * p, dim)).reshape(n, m, p).max(axis=2)
        return best
    products = np.einsum("nmd,nd->nm", candidates.astype(np.float64), queries.astype(np.float64))
    return np.asarray(products, dtype=np.float32)


def order(scores: Scores, rows: Rows) -> tuple[Scores, Rows]:
    """Sort each list by score, highest first, ties by row, lowest first."""
    by = np.lexsort((rows, -scores), axis=-1)
    return np.take_along_axis(scores, by, axis=-1), np.take_along_axis(rows, by, axis=-1)


def settle(
    queries: Vectors,
    k: int,
    size: int,
    *,
    search: SearchRaw,
    fetch: FetchRows,
    score_error: float,
    keep_scores: bool = True,
) -> tuple[Scores, Rows]:
    """The exact top k from a search whose scores are off by at most ``score_error``.

    Parameters
    ----------
    queries : float32 of shape (n, dim), unit rows
    k : int
    size : int
        Rows that are searched.
    search : callable
        ``search(queries, m)`` gives the m best (scores, rows), best first, ties in any order.
    fetch : callable
        ``fetch(rows)`` gives the stored vectors, float32 of shape (*rows.shape, dim), or (*rows.shape, p, dim) as for
        ``exact_scores``.
    score_error : float
        Bound on the absolute error of one score.
    keep_scores : bool
        Return the search's own scores for lists whose order is certain; otherwise all scores are recomputed.

    Returns
    -------
    scores : float32 of shape (n, k)
    rows : int64 of shape (n, k)
    """
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    pending = np.arange(len(queries))
    reach = min(size, k + _SPARE)
    apart = 2.0 * score_error
    while len(pending):
        raw_scores, raw_rows = search(queries[pending], reach)
        # A list is complete if nothing outside can belong to it: the last score fetched is clearly worse.
        complete = np.full(len(pending), True)
        if reach < size:
            complete = raw_scores[:, k - 1] - raw_scores[:, -1] > apart
        gaps = raw_scores[:, : min(k, reach - 1)] - raw_scores[:, 1 : min(k, reach - 1) + 1]
        certain = (gaps > apart).all(axis=1) & keep_scores
        done = complete & certain
        scores[pending[done]], rows[pending[done]] = raw_scores[done, :k], raw_rows[done, :k]
        close = np.flatnonzero(complete & ~certain)
        if len(close):
            of = pending[close]
            exact = rescored(queries[of], raw_rows[close], fetch)
            best_scores, best_rows = order(exact, raw_rows[close])
            scores[of], rows[of] = best_scores[:, :k], best_rows[:, :k]
        pending = pending[~complete]
        reach = min(size, reach * 4)
    return scores, rows


def best_of(queries: Vectors, candidates: Rows, k: int, *, fetch: FetchRows) -> Rows:
    """The k best of some rows for each query by their exact scores, best first, ties to the lowest row.

    Parameters
    ----------
    queries : float32 of shape (n, dim), unit rows
    candidates : int64 of shape (n, m)
        Different rows for each query; -1 in places without one.
    k : int
        At most m.
    fetch : callable
        As for ``settle``.

    Returns
    -------
    int64 of shape (n, k)
        -1 in the last places if there are fewer.
    """
    scores = rescored(queries, np.maximum(candidates, 0), fetch)
    scores[candidates < 0] = -np.inf
    return order(scores, candidates)[1][:, :k]


def settle_range(
    queries: Vectors,
    threshold: np.float32,
    candidates: tuple[Rows, Scores, Rows],
    *,
    fetch: FetchRows,
    score_error: float,
) -> tuple[Limits, Scores, Rows]:
    """The rows whose exact score reaches a threshold, from a search that gave them and a few below it.

    Parameters
    ----------
    queries : float32 of shape (n, dim), unit rows
    threshold : float32
    candidates : queries, scores, rows, each of shape (m,)
        At least every pair of a query's number and a row for which the search gives ``threshold - score_error`` or
        more, in any order.
    fetch : callable
        As for ``settle``.
    score_error : float
        Bound on the absolute error of one score.

    Returns
    -------
    limits : int64 of shape (n + 1,)
    scores : float32 of shape (limits[n],)
        The search's own, except those recomputed.
    rows : int64 of shape (limits[n],), ascending within a query
    """
    owners, scores, rows = candidates
    close = np.flatnonzero(np.abs(scores.astype(np.float64) - float(threshold)) <= score_error)
    if len(close):
        scores = scores.copy()
    step = max(1, _CHUNK_ELEMENTS // queries.shape[1])
    for start in range(0, len(close), step):
        part = close[start : start + step]
        scores[part] = exact_scores(queries[owners[part]], fetch(rows[part])[:, None])[:, 0]
    reached = np.flatnonzero(scores >= threshold)
    owners, scores, rows = owners[reached], scores[reached], rows[reached]
    if not ((np.diff(owners) > 0) | ((np.diff(owners) == 0) & (np.diff(rows) > 0))).all():
        by = np.lexsort((rows, owners))
        owners, scores, rows = owners[by], scores[by], rows[by]
    return np.searchsorted(owners, np.arange(len(queries) + 1)), scores, rows


def rescored(queries: Vectors, rows: Rows, fetch: FetchRows) -> Scores:
    """The exact scores of lists of rows, float32 of shape (n, m), computed in blocks that stay in the cache.

    Parameters
    ----------
    queries : float32 of shape (n, dim)
    rows : int64 of shape (n, m)
    fetch : callable
        As for ``settle``.
    """
    scores = np.empty(rows.shape, dtype=np.float32)
    dim = queries.shape[1]
    deep = max(1, _CACHED_ELEMENTS // (rows.shape[1] * dim))
    wide = max(1, _CACHED_ELEMENTS // dim)
    for first in range(0, len(rows), deep):
        lists = slice(first, first + deep)
        for left in range(0, rows.shape[1], wide):
            columns = slice(left, left + wide)
            scores[lists, columns] = exact_scores(queries[lists], fetch(rows[lists, columns]))
    return scores
