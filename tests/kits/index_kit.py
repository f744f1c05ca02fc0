"""What every VectorIndex must do, against a full sort. Compared are scores and ids: ties have one right order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zsretrieve.domain.errors import IntegrityError, RankError, ShapeError
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.ranking import float32_score_error
from zsretrieve.domain.vectors import unit_rows


def full_sort(stored: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every score in float64, rounded to float32, sorted by score and then by row."""
    scores = (queries.astype(np.float64) @ stored.astype(np.float64).T).astype(np.float32)
    by = np.lexsort((np.broadcast_to(np.arange(len(stored)), scores.shape), -scores), axis=-1)[:, :k]
    return np.take_along_axis(scores, by, axis=-1), by


def check_index(backend: IndexBackend, tmp_path: Path) -> None:
    _equals_a_full_sort(backend)
    _ties_go_to_the_lowest_row(backend)
    _many_ties_across_the_cut(backend)
    _near_ties_are_ordered_exactly(backend)
    _sums_that_drift_one_way_are_settled(backend)
    _grows_in_parts(backend)
    _k_beyond_a_gpu_s_limit(backend)
    _wrong_input_is_refused(backend)
    _a_selection_is_searched_exactly(backend)
    _ties_across_the_cut_of_a_selection(backend)
    _wrong_selections_are_refused(backend)
    _a_range_is_found_whole(backend)
    _a_range_is_exact_at_its_threshold(backend)
    _wrong_ranges_are_refused(backend)
    _stored_rows_come_back(backend)
    _survives_saving(backend, tmp_path)


def _random(n: int, dim: int, seed: int) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, dim)))


def _same(backend: IndexBackend, stored: np.ndarray, queries: np.ndarray, k: int) -> None:
    index = backend.create(stored.shape[1])
    index.add(stored)
    scores, rows = index.search(queries, k)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    expected_scores, expected_rows = full_sort(stored, queries, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)


def _equals_a_full_sort(backend: IndexBackend) -> None:
    for n, dim, asked, k in [(1, 4, 3, 1), (5, 2, 7, 5), (1000, 64, 40, 10), (3000, 512, 1, 1), (700, 33, 25, 700)]:
        _same(backend, _random(n, dim, n), _random(asked, dim, n + 1), k)
    index = backend.create(8)
    index.add(_random(10, 8, 0))
    scores, rows = index.search(np.empty((0, 8), dtype=np.float32), 3)
    assert scores.shape == rows.shape == (0, 3)


def _ties_go_to_the_lowest_row(backend: IndexBackend) -> None:
    stored = _random(200, 48, 1)
    stored[[3, 77, 150]] = stored[20]
    stored[199] = stored[0]
    _same(backend, stored, np.ascontiguousarray(stored[[20, 0, 150]]), 6)
    _same(backend, stored, _random(50, 48, 2), 200)


def _many_ties_across_the_cut(backend: IndexBackend) -> None:
    distinct = _random(4, 16, 3)
    stored = np.ascontiguousarray(distinct[np.random.default_rng(4).integers(0, 4, 500)])
    for k in (1, 2, 9, 130, 499):
        _same(backend, stored, _random(6, 16, 5), k)


def _near_ties_are_ordered_exactly(backend: IndexBackend) -> None:
    rng = np.random.default_rng(6)
    centre = _random(1, 96, 7)
    stored = unit_rows(centre + 1e-7 * rng.standard_normal((300, 96)))
    _same(backend, stored, centre, 20)
    _same(backend, stored, _random(9, 96, 8), 300)


def _sums_that_drift_one_way_are_settled(backend: IndexBackend) -> None:
    """One large component and many equal ones: a matrix product rounds nearly all of its sums in one direction."""
    rng = np.random.default_rng(41)
    for dim in (256, 768):
        queries = _first_and_equal(0.6 + 1e-3 * np.arange(64), dim)
        stored = _first_and_equal(0.5 + 1e-5 * rng.random(4000), dim)
        errors = np.matmul(queries, stored.T) - queries.astype(np.float64) @ stored.astype(np.float64).T
        for query, error in zip(queries.astype(np.float64), errors, strict=True):
            low, high = stored[error.argmin()].copy(), stored[error.argmax()].copy()
            # The one whose product is too high is truly a little lower, by more than a float32 tells at 1.
            high[0] -= (query @ high - query @ low + 6e-7) / query[0]
            index = backend.create(dim)
            index.add(np.stack([low, high, *_first_and_equal(0.1 * rng.random(30), dim)]))
            scores, rows = index.search(queries, 2)
            expected_scores, expected = full_sort(index.stored(np.arange(32)), queries, 2)
            np.testing.assert_array_equal(rows, expected)
            np.testing.assert_allclose(scores, expected_scores, atol=float32_score_error(dim))


def _first_and_equal(lengths: np.ndarray, dim: int) -> np.ndarray:
    """Unit rows of equal components, of these lengths in all, but for the first component."""
    equal = np.repeat(lengths[:, None] / np.sqrt(dim - 1), dim - 1, axis=1)
    return np.hstack([np.sqrt(1 - lengths**2)[:, None], equal]).astype(np.float32)


def _grows_in_parts(backend: IndexBackend) -> None:
    stored = _random(90, 12, 9)
    index = backend.create(12)
    assert len(index) == 0
    for start in range(0, 90, 30):
        index.add(stored[start : start + 30])
        index.search(stored[:1], 1)
    assert len(index) == 90
    assert index.dim == 12
    _, rows = index.search(stored, 1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(90))


def _k_beyond_a_gpu_s_limit(backend: IndexBackend) -> None:
    _same(backend, _random(2500, 8, 10), _random(2, 8, 11), 2300)


def _wrong_input_is_refused(backend: IndexBackend) -> None:
    index = backend.create(4)
    index.add(_random(3, 4, 12))
    for k in (0, -1, 4):
        with pytest.raises(RankError):
            index.search(_random(1, 4, 13), k)
    for wrong in (_random(2, 5, 14), np.ones((2, 4), dtype=np.float32), np.ones(4, dtype=np.float32) / 2):
        with pytest.raises(ShapeError):
            index.add(wrong)
        with pytest.raises(ShapeError):
            index.search(wrong, 1)
    assert len(index) == 3


def _same_among(backend: IndexBackend, stored: np.ndarray, queries: np.ndarray, k: int, chosen: np.ndarray) -> None:
    index = backend.create(stored.shape[1])
    index.add(stored)
    scores, rows = index.search(queries, k, chosen)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    expected_scores, places = full_sort(stored[chosen], queries, k)
    np.testing.assert_array_equal(rows, chosen[places])
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)


def _a_selection_is_searched_exactly(backend: IndexBackend) -> None:
    rng = np.random.default_rng(17)
    stored = _random(2000, 48, 18)
    for asked in (1, 3, 40):  # few and many queries may go different ways
        queries = _random(asked, 48, asked)
        for row in (0, 977, 1999):
            _same_among(backend, stored, queries, 1, np.array([row]))
        _same_among(backend, stored, queries, 20, np.arange(2000))
        _same_among(backend, stored, queries, 20, np.arange(700, 1900))
        for share in (0.01, 0.5, 0.99):
            chosen = np.flatnonzero(rng.random(2000) < share)
            _same_among(backend, stored, queries, min(10, len(chosen)), chosen)
            _same_among(backend, stored, queries, len(chosen), chosen)
    # More rows than are fetched at once.
    _same_among(backend, _random(40000, 4, 19), _random(30, 4, 20), 12, np.arange(1, 40000, 2))
    index = backend.create(48)
    index.add(stored)
    assert index.search(np.empty((0, 48), dtype=np.float32), 2, np.array([4, 9]))[1].shape == (0, 2)


def _ties_across_the_cut_of_a_selection(backend: IndexBackend) -> None:
    distinct = _random(3, 16, 21)
    stored = np.ascontiguousarray(distinct[np.random.default_rng(22).integers(0, 3, 600)])
    chosen = np.flatnonzero(np.random.default_rng(23).random(600) < 0.5)
    for asked in (2, 50):
        for k in (1, 7, 60, len(chosen) - 1):
            _same_among(backend, stored, _random(asked, 16, 24), k, chosen)
    near = unit_rows(_random(1, 96, 25) + 1e-7 * np.random.default_rng(26).standard_normal((300, 96)))
    for asked in (2, 50):
        _same_among(backend, near, _random(asked, 96, 27), 20, np.arange(0, 300, 3))


def _wrong_selections_are_refused(backend: IndexBackend) -> None:
    index = backend.create(4)
    stored = _random(6, 4, 28)
    index.add(stored)
    asked = _random(1, 4, 29)
    for rows, message in {
        (): "empty", (3, 1): "ascending", (2, 2): "ascending", (-1, 2): "row -1", (0, 6): "row 6",
    }.items():  # fmt: skip
        with pytest.raises(RankError, match=message):
            index.search(asked, 1, np.array(rows, dtype=np.int64))
        with pytest.raises(RankError, match=message):
            index.range_search(asked, 0.5, np.array(rows, dtype=np.int64))
    for k in (0, 3):
        with pytest.raises(RankError):
            index.search(asked, k, np.array([1, 4]))
    for wrong in (np.array([1.0]), np.array([True] * 6), np.array([[1]]), np.array([1], dtype=np.int32)):
        with pytest.raises(ShapeError):
            index.search(asked, 1, wrong)


def _same_range(
    backend: IndexBackend, stored: np.ndarray, queries: np.ndarray, threshold: float, chosen: np.ndarray | None = None
) -> int:
    """Compare with all products; how many pairs there are tells the caller that something was compared."""
    index = backend.create(stored.shape[1])
    index.add(stored)
    limits, scores, rows = index.range_search(queries, threshold, chosen)
    assert (limits.dtype, scores.dtype, rows.dtype) == (np.int64, np.float32, np.int64)
    assert limits.shape == (len(queries) + 1,)
    among = np.arange(len(stored)) if chosen is None else chosen
    every = (queries.astype(np.float64) @ stored[among].astype(np.float64).T).astype(np.float32)
    owners, places = np.nonzero(every >= np.float32(threshold))
    np.testing.assert_array_equal(np.repeat(np.arange(len(queries)), np.diff(limits)), owners)
    np.testing.assert_array_equal(rows, among[places])
    np.testing.assert_allclose(scores, every[owners, places], atol=1e-5)
    return len(rows)


def _a_range_is_found_whole(backend: IndexBackend) -> None:
    stored = _random(3000, 24, 30)
    some = np.flatnonzero(np.random.default_rng(31).random(3000) < 0.3)
    for asked in (1, 40, 700):
        queries = _random(asked, 24, 32)
        for chosen in (None, some, np.arange(500, 2500), np.array([7])):
            assert _same_range(backend, stored, queries, -1.5, chosen) == asked * len(
                stored if chosen is None else chosen
            )
            assert _same_range(backend, stored, queries, 0.3, chosen) > 0 or chosen is not None
            assert _same_range(backend, stored, queries, 1.5, chosen) == 0
    assert _same_range(backend, _random(40000, 4, 33), _random(9, 4, 34), 0.9, np.arange(1, 40000, 2)) > 0
    index = backend.create(24)
    assert [len(part) for part in index.range_search(stored[:3], 0.0)] == [4, 0, 0]
    index.add(stored)
    assert [len(part) for part in index.range_search(stored[:0], 0.0)] == [1, 0, 0]


def _a_range_is_exact_at_its_threshold(backend: IndexBackend) -> None:
    """The threshold is a score itself, of rows that differ from one another by less than float32 products tell."""
    rng = np.random.default_rng(35)
    queries = _random(300, 96, 36)
    stored = unit_rows(0.9 * queries[:1] + 0.5 * _random(1, 96, 37) + 1e-7 * rng.standard_normal((400, 96)))
    exact = (queries[:1].astype(np.float64) @ stored.astype(np.float64).T).astype(np.float32)
    assert len(np.unique(exact)) > 1
    for asked in (1, 300):
        for score in np.unique(exact):
            assert _same_range(backend, stored, queries[:asked], float(score)) >= 1
            _same_range(backend, stored, queries[:asked], float(score), np.arange(0, 400, 3))
    equal = np.repeat(stored[:1], 50, axis=0)
    least = float((equal[:1].astype(np.float64) @ equal[:1].astype(np.float64).T).astype(np.float32)[0, 0])
    assert _same_range(backend, equal, equal, least) == 2500
    assert _same_range(backend, equal, equal, float(np.nextafter(np.float32(least), np.float32(2)))) == 0


def _wrong_ranges_are_refused(backend: IndexBackend) -> None:
    index = backend.create(4)
    index.add(_random(3, 4, 38))
    for threshold in (float("nan"), float("inf")):
        with pytest.raises(RankError, match="must be a finite number"):
            index.range_search(_random(1, 4, 39), threshold)
    with pytest.raises(ShapeError):
        index.range_search(_random(1, 5, 40), 0.5)


def _stored_rows_come_back(backend: IndexBackend) -> None:
    stored = _random(9, 4, 42)
    index = backend.create(4)
    for rows in (stored[:2], stored[2:3], stored[3:]):
        index.add(rows)
    asked = np.array([[8, 0], [2, 8]])
    np.testing.assert_array_equal(index.stored(asked), stored[asked])
    assert index.stored(np.empty((0, 3), dtype=np.int64)).shape == (0, 3, 4)
    for row in (-1, 9):
        with pytest.raises(RankError, match=f"row {row} is asked for, but the index holds 9 rows"):
            index.stored(np.array([0, row]))


def _survives_saving(backend: IndexBackend, tmp_path: Path) -> None:
    stored, queries = _random(150, 24, 15), _random(10, 24, 16)
    index = backend.create(24)
    index.add(stored)
    path = tmp_path / "saved"
    index.save(path)
    again = backend.load(path)
    assert (len(again), again.dim, again.factory) == (150, 24, index.factory)
    np.testing.assert_array_equal(index.search(queries, 7)[1], again.search(queries, 7)[1])
    np.testing.assert_array_equal(index.search(queries, 7)[0], again.search(queries, 7)[0])
    path.write_bytes(b"not an index at all")
    with pytest.raises(IntegrityError):
        backend.load(path)
