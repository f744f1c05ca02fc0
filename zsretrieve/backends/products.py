"""Inner products of queries with many stored rows, and the best of them: blocks of a matrix product, each searched in
part only.

numpy's matrix product uses every core, and for one query it reads the rows as fast as the memory gives them. What comes
out is as exact as float32 is; ``ranking.settle`` does the rest. Rows may lie in several arrays, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from zsretrieve.vectors import Rows, Scores, Vectors

Flags = NDArray[np.bool_]

# All of this was measured on 50,000 x 512, 768 and 1024; docs/decisions/0006-flat-search.md has the figures.
# Scores that are in memory at once, 16 MiB: they stay in the cache while they are searched.
_BLOCK_SCORES = 1 << 22
# So many queries at once, or more where the rows are few. To pick out of one block while another is multiplied, in a
# second thread, is slower: the product wants every core.
_BLOCK_QUERIES = 1024
# Up to here a product with each query for itself, which only waits for the memory, is quicker than one with all.
_ONE_BY_ONE = 2
# Where so many times k scores of a query are above what must be reached, the best of them are picked otherwise.
_MANY_ABOVE = 4
# Groups of fewer columns are not worth their maxima.
_DEEP = 4
# Lists of candidates are cut to the best before they outgrow the scores they were picked from.
_LISTS = 16
# A selection is copied to be multiplied; but where it has more than this share of all rows, and the queries are few,
# the product with all rows is quicker. It is quicker still one by one.
_SHARE_ONE_BY_ONE, _SHARE_OF_FEW = 1 / 5, 1 / 2
_FEW = 64
# Rows are copied so many at a time: for few queries into room that stays in the cache, for many into larger products.
_COPIED_FOR_FEW, _COPIED_ROWS = 1 << 9, 1 << 14


def best(queries: Vectors, parts: Sequence[Vectors], k: int) -> tuple[Scores, Rows]:
    """The k rows of greatest inner product for each query, best first, equals in any order.

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
    found = [_best_of(block, parts, k) for block in _blocks(queries, parts)]
    if len(found) == 1:
        return found[0]
    return np.concatenate([scores for scores, _ in found]), np.concatenate([rows for _, rows in found])


def best_among(queries: Vectors, parts: Sequence[Vectors], among: Rows, k: int) -> tuple[Scores, Rows]:
    """As ``best``, among the rows ``among``, which ascend strictly."""
    run = _run(parts, among)
    if run is not None:
        scores, rows = best(queries, run, k)
        return scores, rows + among[0]
    share = _SHARE_ONE_BY_ONE if len(queries) <= _ONE_BY_ONE else _SHARE_OF_FEW
    if len(queries) < _FEW:
        every = len(among) > share * sum(map(len, parts))
        found = (_products_with_all if every else _products_with_copies)(queries, parts, among)
        return merged(((best_of, some[at]) for some, scores in found for best_of, at in [_picked(scores, k, 0)]), k)
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
        Only these rows, which ascend strictly.

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
    found = []
    for part, copied in _copied(parts, among):
        owners, scores, places = _reached(queries, [copied], radius)
        found.append((owners, scores, part[places]))
    return _end_to_end(found)


def gathered(parts: Sequence[Vectors], rows: Rows, dim: int, out: Vectors | None = None) -> Vectors:
    """The rows of these numbers, float32 of shape (len(rows), dim), in ``out`` if it is given."""
    if len(parts) == 1 and out is None:
        only: Vectors = parts[0][rows]
        return only
    found = np.empty((len(rows), dim), dtype=np.float32) if out is None else out
    if len(parts) == 1:
        return np.take(parts[0], rows, axis=0, out=found, mode="clip")  # which copies once, other modes twice
    ends = np.cumsum([len(part) for part in parts])
    part_of = np.searchsorted(ends, rows, side="right")
    for number in np.unique(part_of):
        mine = part_of == number
        found[mine] = parts[number][rows[mine] - (ends[number] - len(parts[number]))]
    return found


def _best_of(queries: Vectors, parts: Sequence[Vectors], k: int) -> tuple[Scores, Rows]:
    """As ``best``, for one block of queries."""
    found: tuple[Scores, Rows] | None = None
    room: Flags | None = None  # of the first block, which is the largest or nearly: memory that is there already
    for start, scores in _products(queries, parts):
        if room is None or room.size < scores.size:
            room = np.empty(scores.size, dtype=np.bool_)
        # After the first rows few scores are above the k-th best so far, and one comparison each finds them.
        here = None if found is None or found[0].shape[1] < k else _above(scores, found[0].min(axis=1), start, k, room)
        if here is None:
            here = _picked(scores, k, start, room)
        found = _cut(*(here if found is None else _beside([found, here])), k)
    assert found is not None
    return _sorted(*found)


def _blocks(queries: Vectors, parts: Sequence[Vectors]) -> list[Vectors]:
    size = max(_BLOCK_QUERIES, _BLOCK_SCORES // max(1, sum(map(len, parts))))
    return [queries[start : start + size] for start in range(0, len(queries), size)]


def _products(queries: Vectors, parts: Sequence[Vectors]) -> Iterator[tuple[int, Scores]]:
    """Scores of all queries with a block of rows, and the number of its first row. The next block overwrites them."""
    step = max(1, _BLOCK_SCORES // max(1, len(queries)))
    room = np.empty(len(queries) * min(step, max(map(len, parts), default=0)), dtype=np.float32)
    first = 0
    for part in parts:
        for start in range(0, len(part), step):
            block = part[start : start + step]
            scores = room[: len(queries) * len(block)].reshape(len(queries), len(block))
            _multiply(queries, block, scores)
            yield first + start, scores
        first += len(part)


def _multiply(queries: Vectors, block: Vectors, out: Scores) -> None:
    if len(queries) <= _ONE_BY_ONE:
        for query, mine in zip(queries, out, strict=True):
            np.dot(block, query, out=mine)
    else:
        np.matmul(queries, block.T, out=out)


def _picked(scores: Scores, k: int, start: int, room: Flags | None = None) -> tuple[Scores, Rows]:
    """The k best of each list of scores or a few more, in any order, as scores and rows; all where there are fewer.

    Columns are dealt to groups. At least k scores reach the k-th greatest of the groups' maxima, so the k best do: a
    pass for the maxima and one comparison each find them.
    """
    n, size = scores.shape
    if k >= size:
        return scores.copy(), np.broadcast_to(np.arange(start, start + size), scores.shape)
    deep = math.isqrt(size // k)
    if deep >= _DEEP:
        groups = size // deep
        greatest = scores[:, : deep * groups].reshape(n, deep, groups).max(axis=1)
        least = np.partition(greatest, groups - k, axis=1)[:, groups - k]
        above = _above(scores, np.nextafter(least, np.float32(-np.inf)), start, k, room)
        if above is not None:
            return above
    columns = np.argpartition(scores, size - k, axis=1)[:, size - k :]
    return np.take_along_axis(scores, columns, axis=1), columns + start


def _above(scores: Scores, least: Scores, start: int, k: int, room: Flags | None = None) -> tuple[Scores, Rows] | None:
    """The scores above a query's ``least``, with their rows; shorter lists are filled up with -inf.

    None where these are many: it is quicker then to pick anew. ``room`` is for as many flags as there are scores.
    """
    flags = None if room is None else room[: scores.size].reshape(scores.shape)
    passing = np.greater(scores, least[:, None], out=flags)
    if np.count_nonzero(passing) > _MANY_ABOVE * k * len(scores):
        return None
    owners, columns = np.divmod(np.flatnonzero(passing), scores.shape[1])
    counts = np.bincount(owners, minlength=len(scores))
    place = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = np.full((len(scores), counts.max()), -np.inf, dtype=np.float32)
    rows = np.zeros(found.shape, dtype=np.int64)
    found[owners, place], rows[owners, place] = scores[owners, columns], columns + start
    return found, rows


def _cut(scores: Scores, rows: Rows, k: int) -> tuple[Scores, Rows]:
    """The k best of each list, in any order."""
    if scores.shape[1] <= k:
        return scores, rows
    by = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
    return np.take_along_axis(scores, by, axis=1), np.take_along_axis(rows, by, axis=1)


def merged(lists: Iterable[tuple[Scores, Rows]], k: int) -> tuple[Scores, Rows]:
    """The k best from several lists of candidates for each query, best first."""
    waiting: list[tuple[Scores, Rows]] = []
    for one in lists:
        waiting.append(one)
        if len(waiting) == _LISTS:
            waiting = [_cut(*_beside(waiting), k)]
    return _sorted(*_cut(*_beside(waiting), k))


def _sorted(scores: Scores, rows: Rows) -> tuple[Scores, Rows]:
    by = np.argsort(-scores, axis=1)
    return np.take_along_axis(scores, by, axis=1), np.take_along_axis(rows, by, axis=1)


def _products_with_all(queries: Vectors, parts: Sequence[Vectors], among: Rows) -> Iterator[tuple[Rows, Scores]]:
    """Selected rows and their scores, from products with every row."""
    for start, scores in _products(queries, parts):
        some = among[np.searchsorted(among, start) : np.searchsorted(among, start + scores.shape[1])]
        if len(some):
            yield some, scores[:, some - start]


def _products_with_copies(queries: Vectors, parts: Sequence[Vectors], among: Rows) -> Iterator[tuple[Rows, Scores]]:
    """Selected rows and their scores, from products with copies of these rows."""
    room = np.empty((min(len(among), _COPIED_FOR_FEW), queries.shape[1]), dtype=np.float32)
    step = max(1, _BLOCK_SCORES // max(1, len(queries)))
    for start in range(0, len(among), step):
        some = among[start : start + step]
        scores = np.empty((len(queries), len(some)), dtype=np.float32)
        for first in range(0, len(some), len(room)):
            rows = some[first : first + len(room)]
            block = gathered(parts, rows, queries.shape[1], out=room[: len(rows)])
            _multiply(queries, block, scores[:, first : first + len(rows)])
        yield some, scores


def _beside(lists: Sequence[tuple[Scores, Rows]]) -> tuple[Scores, Rows]:
    return np.hstack([scores for scores, _ in lists]), np.hstack([rows for _, rows in lists])


def _reached(queries: Vectors, parts: Sequence[Vectors], radius: float) -> tuple[Rows, Scores, Rows]:
    found = []
    first = 0
    for block in _blocks(queries, parts):
        for start, scores in _products(block, parts):
            owners, columns = np.nonzero(scores >= np.float32(radius))
            found.append((owners + first, scores[owners, columns], columns + start))
        first += len(block)
    return _end_to_end(found)


def _end_to_end(found: Sequence[tuple[Rows, Scores, Rows]]) -> tuple[Rows, Scores, Rows]:
    if not found:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    owners, scores, rows = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return owners, scores, rows


def _run(parts: Sequence[Vectors], among: Rows) -> list[Vectors] | None:
    """The selected rows where they lie, if they follow one another."""
    if among[-1] - among[0] + 1 > len(among):
        return None
    run, first = [], 0
    for part in parts:
        mine = part[max(0, among[0] - first) : max(0, among[-1] + 1 - first)]
        run += [mine] if len(mine) else []
        first += len(part)
    return run


def _copied(parts: Sequence[Vectors], among: Rows) -> Iterator[tuple[Rows, Vectors]]:
    """A selection and its rows, in pieces small enough to be copied."""
    for start in range(0, len(among), _COPIED_ROWS):
        part = among[start : start + _COPIED_ROWS]
        yield part, gathered(parts, part, parts[0].shape[1])
