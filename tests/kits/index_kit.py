"""What every VectorIndex must do, against a full sort. Compared are scores and ids: ties have one right order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zsretrieve.errors import IntegrityError, RankError, ShapeError
from zsretrieve.ports import IndexBackend
from zsretrieve.vectors import unit_rows


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
    _grows_in_parts(backend)
    _k_beyond_a_gpu_s_limit(backend)
    _wrong_input_is_refused(backend)
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
