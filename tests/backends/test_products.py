from __future__ import annotations

import numpy as np
import pytest

from zsretrieve.backends import products
from zsretrieve.domain.vectors import unit_rows


def vectors(n: int, dim: int, seed: int) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, dim)))


def split(rows: np.ndarray, *at: int) -> list[np.ndarray]:
    return np.split(rows, at)


def check_best(queries: np.ndarray, stored: np.ndarray, k: int, found: tuple[np.ndarray, np.ndarray]) -> None:
    """No order among equals is promised here, so scores are compared, and each row with its score."""
    scores, rows = found
    every = queries @ stored.T
    assert rows.shape == scores.shape == (len(queries), k)
    assert all(len(set(one)) == k for one in rows.tolist())
    np.testing.assert_allclose(scores, -np.sort(-every, axis=1)[:, :k], atol=1e-6)
    np.testing.assert_allclose(scores, np.take_along_axis(every, rows, axis=1), atol=1e-6)


@pytest.mark.parametrize("asked", [1, 2, 3, 40])
@pytest.mark.parametrize("k", [1, 7, 150, 1999, 2000])
def test_the_best_of_rows_in_several_arrays(asked: int, k: int) -> None:
    stored, queries = vectors(2000, 16, 1), vectors(asked, 16, 2)
    for parts in ([stored], split(stored, 3, 3, 900)):
        check_best(queries, stored, k, products.best(queries, parts, k))


def test_blocks_of_queries_and_rows_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_BLOCK_SCORES", 1000)
    monkeypatch.setattr(products, "_BLOCK_QUERIES", 10)
    stored, queries = vectors(3000, 16, 3), vectors(35, 16, 4)
    for k in (1, 12, 400):  # fewer and more than the 100 or 200 rows of a block
        check_best(queries, stored, k, products.best(queries, split(stored, 1234), k))
    check_best(queries, stored[:40], 3, products.best(queries, [stored[:40]], 3))  # few rows, so 25 queries at once


@pytest.mark.parametrize("block", [200, products._BLOCK_SCORES])
def test_the_worst_order_of_rows_and_equal_scores(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_BLOCK_SCORES", block)
    query = vectors(1, 32, 5)
    ascending = unit_rows(query + np.linspace(3, 0, 900)[:, None] * vectors(1, 32, 6))
    for stored in (ascending, ascending[::-1].copy(), np.repeat(ascending[:3], 300, axis=0)):
        for k in (1, 10, 100):
            check_best(query, stored, k, products.best(query, [stored], k))


def test_a_selection_goes_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_COPIED_ROWS", 64)
    monkeypatch.setattr(products, "_COPIED_FOR_FEW", 40)
    stored = vectors(1000, 16, 7)
    parts = split(stored, 0, 333, 600)
    rng = np.random.default_rng(8)
    for asked in (1, 5, 30):
        queries = vectors(asked, 16, 9)
        for among in (
            np.arange(200, 700), np.array([999]), np.flatnonzero(rng.random(1000) < 0.7),
            np.flatnonzero(rng.random(1000) < 0.05), np.array([0, 999]),
        ):  # fmt: skip
            k = min(9, len(among))
            scores, rows = products.best_among(queries, parts, among, k)
            check_best(queries, stored[among], k, (scores, np.searchsorted(among, rows)))
            assert np.isin(rows, among).all()


def test_all_above_a_radius() -> None:
    stored, queries = vectors(1000, 16, 10), vectors(700, 16, 11)
    parts = split(stored, 400)
    every = queries @ stored.T
    for among in (None, np.arange(350, 500), np.arange(1, 1000, 3)):
        some = np.arange(1000) if among is None else among
        owners, scores, rows = products.reached(queries, parts, 0.5, among)
        assert len(rows) > 100
        by = np.lexsort((rows, owners))
        expected_owners, places = np.nonzero(every[:, some] >= 0.5)
        np.testing.assert_array_equal(owners[by], expected_owners)
        np.testing.assert_array_equal(rows[by], some[places])
        np.testing.assert_allclose(scores, every[owners, rows], atol=1e-6)


def test_rows_are_gathered_from_where_they_lie() -> None:
    stored = vectors(50, 4, 12)
    rows = np.array([49, 0, 20, 20, 9, 10])
    for parts in ([stored], split(stored, 10, 10, 20)):
        np.testing.assert_array_equal(products.gathered(parts, rows, 4), stored[rows])
    assert products.gathered([], rows[:0], 4).shape == (0, 4)
