"""The best inner products of queries with many stored rows, by blocks of a matrix product.

numpy's matrix product uses every core, and for one query it is bound by the memory. Results are as exact as float32;
``ranking.settle`` does the rest. Rows may be in several arrays, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.vectors import Rows, Scores, Vectors

Flags = NDArray[np.bool_]

# All constants were measured on 50,000 x 512, 768 and 1024; docs/decisions/0006-flat-search.md has the figures.
# Scores in memory at once, 16 MiB: they stay in the cache while they are searched.
_BLOCK_SCORES = 1 << 22
# Queries at once, or more if there are few rows. A second thread that picks from one block while the next is multiplied
# is slower: the product needs every core.
_BLOCK_QUERIES = 1024
# Up to this many queries, a product for each, which is bound by the memory, is faster than one for all.
_ONE_BY_ONE = 2
# If more than this times k scores of a query pass, the best are picked in another way.
_MANY_ABOVE = 4
# Groups of fewer columns are not worth their maxima.
_DEEP = 4
# This many lists of candidates are merged before there are more.
_LISTS = 16
# A selection is copied to be multiplied. If it has more than this share of all rows and there are few queries, the
# product with all rows is faster, especially one query at a time.
_SHARE_ONE_BY_ONE, _SHARE_OF_FEW = 1 / 5, 1 / 2
_FEW = 64
# Rows copied at a time: for few queries into a buffer that stays in the cache, for many into larger products.
_COPIED_FOR_FEW, _COPIED_ROWS = 1 << 9, 1 << 14


def best(queries: Vectors, parts: Sequence[Vectors], k: int) -> tuple[Scores, Rows]:
    """The k rows with the largest inner product for each query, best first, ties in any order.

    Parameters
    ----------
    queries : float32 of shape (n, dim)
    parts : sequence of float32 arrays of shape (m_i, dim)
        Rows are numbered through all of them.
    k : int
        From 1 to the number of rows.

    Returns
    -------
    scores : float32 of shape (n, k)
    rows : int64 of shape (n, k)
    """
    blocks = [_best_of(block, parts, k) for block in _blocks(queries, parts)]
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate([scores for scores, _ in blocks]), np.concatenate([rows for _, rows in blocks])


def best_among(queries: Vectors, parts: Sequence[Vectors], among: Rows, k: int) -> tuple[Scores, Rows]:
    """As ``best``, among the rows ``among``, strictly ascending."""
    run = _run(parts, among)
    if run is not None:
        scores, rows = best(queries, run, k)
        return scores, rows + among[0]
    share = _SHARE_ONE_BY_ONE if len(queries) <= _ONE_BY_ONE else _SHARE_OF_FEW
    if len(queries) < _FEW:
        every = len(among) > share * sum(map(len, parts))
        selected = (_products_with_all if every else _products_with_copies)(queries, parts, among)
        return merged(((best_of, some[at]) for some, scores in selected for best_of, at in [_picked(scores, k, 0)]), k)
    lists = []
    for part, copied in _copied(parts, among):
        scores, places = best(queries, [copied], min(k, len(part)))
        lists.append((scores, part[places]))
    return merged(lists, k)


def reached(
    queries: Vectors, parts: Sequence[Vectors], radius: float, among: Rows | None = None
) -> tuple[Rows, Scores, Rows]:
    """Every pair whose inner product is at least ``radius``.

    Parameters
    ----------
    queries : float32 of shape (n, dim)
    parts : sequence of float32 arrays of shape (m_i, dim)
    radius : float
    among : int64 of shape (m,), optional
        Only these rows, strictly ascending.

    Returns
    -------
    queries, scores, rows : int64, float32, int64, each of shape (pairs,)
    """
    if among is None:
        return _reached(queries, parts, radius)
    run = _run(parts, among)
    if run is not None:
        owners, scores, rows = _reached(queries, run, radius)
        return owners, scores, rows + among[0]
    pairs = []
    for part, copied in _copied(parts, among):
        owners, scores, places = _reached(queries, [copied], radius)
        pairs.append((owners, scores, part[places]))
    return _concatenated(pairs)


def best_scores(scores: Scores, k: int) -> tuple[Scores, Rows]:
    """The k best scores of each list, best first, ties in any order, and their places.

    Parameters
    ----------
    scores : float32 of shape (n, m)
    k : int
        From 1 to m.

    Returns
    -------
    scores : float32 of shape (n, k)
    places : int64 of shape (n, k)
    """
    return merged([_picked(scores, k, 0)], k)


def maxima(queries: Vectors, vectors: Vectors, regions: Vectors) -> Iterator[tuple[int, Scores]]:
    """The largest inner product of each query with the several vectors of an item, for block after block of items.

    Parameters
    ----------
    queries : float32 of shape (n, dim)
    vectors : float32 of shape (m, dim)
        One vector of each item.
    regions : float32 of shape (m, r * dim)
        Its r others, r at least 1.

    Yields
    ------
    start : int
        The first item of the block.
    scores : float32 of shape (n, items)
    """
    dim = queries.shape[1]
    r = regions.shape[1] // dim
    # Smaller than other blocks: its scores are read r times.
    step = max(1, _BLOCK_SCORES // (8 * r * max(1, len(queries))))
    buffer = np.empty(len(queries) * min(step, len(vectors)) * r, dtype=np.float32)
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        scores = np.empty((len(queries), len(block)), dtype=np.float32)
        _multiply(queries, block, scores)
        of_regions = buffer[: scores.size * r].reshape(len(queries), len(block) * r)
        _multiply(queries, regions[start : start + step].reshape(-1, dim), of_regions)
        # A column at a time: numpy's own maximum over a short last axis is many times slower.
        by_item = of_regions.reshape(len(queries), len(block), r)
        for place in range(r):
            np.maximum(scores, by_item[:, :, place], out=scores)
        yield start, scores


def gathered(parts: Sequence[Vectors], rows: Rows, dim: int, out: Vectors | None = None) -> Vectors:
    """The rows with these numbers, float32 of shape (len(rows), dim), in ``out`` if given."""
    if len(parts) == 1 and out is None:
        only: Vectors = parts[0][rows]
        return only
    vectors = np.empty((len(rows), dim), dtype=np.float32) if out is None else out
    if len(parts) == 1:
        return np.take(parts[0], rows, axis=0, out=vectors, mode="clip")  # other modes copy twice
    ends = np.cumsum([len(part) for part in parts])
    part_of = np.searchsorted(ends, rows, side="right")
    for number in np.unique(part_of):
        here = part_of == number
        vectors[here] = parts[number][rows[here] - (ends[number] - len(parts[number]))]
    return vectors


def _best_of(queries: Vectors, parts: Sequence[Vectors], k: int) -> tuple[Scores, Rows]:
    """As ``best``, for one block of queries."""
    candidates: tuple[Scores, Rows] | None = None
    flags: Flags | None = None  # a buffer for the flags of a block
    for start, scores in _products(queries, parts):
        if flags is None or flags.size < scores.size:
            flags = np.empty(scores.size, dtype=np.bool_)
        # After the first rows few scores exceed the k-th best so far, and one comparison finds them.
        here = (
            None
            if candidates is None or candidates[0].shape[1] < k
            else _above(scores, candidates[0].min(axis=1), start, k, flags)
        )
        if here is None:
            here = _picked(scores, k, start, flags)
        candidates = _cut(*(here if candidates is None else _side_by_side([candidates, here])), k)
    assert candidates is not None
    return _sorted(*candidates)


def _blocks(queries: Vectors, parts: Sequence[Vectors]) -> list[Vectors]:
    size = max(_BLOCK_QUERIES, _BLOCK_SCORES // max(1, sum(map(len, parts))))
    return [queries[start : start + size] for start in range(0, len(queries), size)]


def _products(queries: Vectors, parts: Sequence[Vectors]) -> Iterator[tuple[int, Scores]]:
    """The first row of each block of rows, and all queries' scores with the block. The next block overwrites them."""
    step = max(1, _BLOCK_SCORES // max(1, len(queries)))
    buffer = np.empty(len(queries) * min(step, max(map(len, parts), default=0)), dtype=np.float32)
    first = 0
    for part in parts:
        for start in range(0, len(part), step):
            block = part[start : start + step]
            scores = buffer[: len(queries) * len(block)].reshape(len(queries), len(block))
            _multiply(queries, block, scores)
            yield first + start, scores
        first += len(part)


def _multiply(queries: Vectors, block: Vectors, out: Scores) -> None:
    if len(queries) <= _ONE_BY_ONE:
        for query, scores in zip(queries, out, strict=True):
            np.dot(block, query, out=scores)
    else:
        np.matmul(queries, block.T, out=out)


def _picked(scores: Scores, k: int, start: int, flags: Flags | None = None) -> tuple[Scores, Rows]:
    """Scores and rows of the k best of each list or a few more, in any order; of all if there are fewer.

    Columns are dealt to groups. At least k scores reach the k-th largest of the groups' maxima, and so do the k best:
    a pass for the maxima and one comparison find them.
    """
    n, size = scores.shape
    if k >= size:
        return scores.copy(), np.broadcast_to(np.arange(start, start + size), scores.shape)
    deep = math.isqrt(size // k)
    if deep >= _DEEP:
        groups = size // deep
        maxima = scores[:, : deep * groups].reshape(n, deep, groups).max(axis=1)
        least = np.partition(maxima, groups - k, axis=1)[:, groups - k]
        above = _above(scores, np.nextafter(least, np.float32(-np.inf)), start, k, flags)
        if above is not None:
            return above
    columns = np.argpartition(scores, size - k, axis=1)[:, size - k :]
    return np.take_along_axis(scores, columns, axis=1), columns + start


def _above(scores: Scores, least: Scores, start: int, k: int, flags: Flags | None = None) -> tuple[Scores, Rows] | None:
    """The scores above a query's ``least``, with their rows; shorter lists are filled up with -inf.

    None if there are many: picking again is faster then. ``flags`` is a buffer, one flag per score.
    """
    out = None if flags is None else flags[: scores.size].reshape(scores.shape)
    passing = np.greater(scores, least[:, None], out=out)
    if np.count_nonzero(passing) > _MANY_ABOVE * k * len(scores):
        return None
    owners, columns = np.divmod(np.flatnonzero(passing), scores.shape[1])
    counts = np.bincount(owners, minlength=len(scores))
    place = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    values = np.full((len(scores), counts.max()), -np.inf, dtype=np.float32)
    rows = np.zeros(values.shape, dtype=np.int64)
    values[owners, place], rows[owners, place] = scores[owners, columns], columns + start
    return values, rows


def _cut(scores: Scores, rows: Rows, k: int) -> tuple[Scores, Rows]:
    """The k best of each list, in any order."""
    if scores.shape[1] <= k:
        return scores, rows
    by = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
    return np.take_along_axis(scores, by, axis=1), np.take_along_axis(rows, by, axis=1)


def merged(lists: Iterable[tuple[Scores, Rows]], k: int) -> tuple[Scores, Rows]:
    """The k best from several lists of candidates for each query, best first."""
    waiting: list[tuple[Scores, Rows]] = []
    for candidates in lists:
        waiting.append(candidates)
        if len(waiting) == _LISTS:
            waiting = [_cut(*_side_by_side(waiting), k)]
    return _sorted(*_cut(*_side_by_side(waiting), k))


def _sorted(scores: Scores, rows: Rows) -> tuple[Scores, Rows]:
    by = np.argsort(-scores, axis=1)
    return np.take_along_axis(scores, by, axis=1), np.take_along_axis(rows, by, axis=1)


def _products_with_all(queries: Vectors, parts: Sequence[Vectors], among: Rows) -> Iterator[tuple[Rows, Scores]]:
    """Selected rows and their scores, by products with every row."""
    for start, scores in _products(queries, parts):
        some = among[np.searchsorted(among, start) : np.searchsorted(among, start + scores.shape[1])]
        if len(some):
            yield some, scores[:, some - start]


def _products_with_copies(queries: Vectors, parts: Sequence[Vectors], among: Rows) -> Iterator[tuple[Rows, Scores]]:
    """Selected rows and their scores, by products with copies of these rows."""
    buffer = np.empty((min(len(among), _COPIED_FOR_FEW), queries.shape[1]), dtype=np.float32)
    step = max(1, _BLOCK_SCORES // max(1, len(queries)))
    for start in range(0, len(among), step):
        some = among[start : start + step]
        scores = np.empty((len(queries), len(some)), dtype=np.float32)
        for first in range(0, len(some), len(buffer)):
            rows = some[first : first + len(buffer)]
            block = gathered(parts, rows, queries.shape[1], out=buffer[: len(rows)])
            _multiply(queries, block, scores[:, first : first + len(rows)])
        yield some, scores


def _side_by_side(lists: Sequence[tuple[Scores, Rows]]) -> tuple[Scores, Rows]:
    return np.hstack([scores for scores, _ in lists]), np.hstack([rows for _, rows in lists])


def _reached(queries: Vectors, parts: Sequence[Vectors], radius: float) -> tuple[Rows, Scores, Rows]:
    pairs = []
    first = 0
    for block in _blocks(queries, parts):
        for start, scores in _products(block, parts):
            owners, columns = np.nonzero(scores >= np.float32(radius))
            pairs.append((owners + first, scores[owners, columns], columns + start))
        first += len(block)
    return _concatenated(pairs)


def _concatenated(pairs: Sequence[tuple[Rows, Scores, Rows]]) -> tuple[Rows, Scores, Rows]:
    if not pairs:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    owners, scores, rows = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    return owners, scores, rows


def _run(parts: Sequence[Vectors], among: Rows) -> list[Vectors] | None:
    """The selected rows without a copy, if they are consecutive."""
    if among[-1] - among[0] + 1 > len(among):
        return None
    run, first = [], 0
    for part in parts:
        rows = part[max(0, among[0] - first) : max(0, among[-1] + 1 - first)]
        run += [rows] if len(rows) else []
        first += len(part)
    return run


def _copied(parts: Sequence[Vectors], among: Rows) -> Iterator[tuple[Rows, Vectors]]:
    """A selection and copies of its rows, in pieces."""
    for start in range(0, len(among), _COPIED_ROWS):
        part = among[start : start + _COPIED_ROWS]
        yield part, gathered(parts, part, parts[0].shape[1])
