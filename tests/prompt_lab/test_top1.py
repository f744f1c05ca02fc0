"""An image is correct if the exact index says so, ties and all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.exact_index import NumpyBackend

from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.prompt_lab import top1 as module
from zsretrieve.prompt_lab.top1 import top1_correct


def oracle(vectors: Vectors, truth: np.ndarray, prototypes: Vectors) -> np.ndarray:
    index = NumpyBackend().create(prototypes.shape[1])
    index.add(prototypes)
    return index.search(vectors, 1)[1][:, 0] == truth


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12), st.sampled_from([1, 2, 7, 32]))
def test_it_is_the_oracle_s_answer(seed: int, n: int, n_classes: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    # A grid of few values, so that many scores are equal; and prototypes that differ in the last bits only.
    grid = rng.integers(-1, 2, (n + n_classes, dim)).astype(np.float64)
    grid[:, 0] += 1.5
    rows = unit_rows(grid)
    vectors, prototypes = rows[:n], rows[n:].copy()
    for row in range(1, n_classes):
        if rng.random() < 0.3:
            prototypes[row] = prototypes[rng.integers(0, row)]
        elif rng.random() < 0.3:
            near = prototypes[rng.integers(0, row)].astype(np.float64) + 1e-7 * rng.standard_normal(dim)
            prototypes[row] = unit_rows(near[None])[0]
    truth = rng.integers(0, n_classes, n)
    expected = oracle(vectors, truth, prototypes)
    np.testing.assert_array_equal(top1_correct(vectors, truth, prototypes, FaissBackend("cpu")), expected)
    np.testing.assert_array_equal(top1_correct(vectors, truth, prototypes, NumpyBackend()), expected)


def test_blocks_change_nothing_and_few_are_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    prototypes = unit_rows(rng.standard_normal((20, 16)))
    vectors = unit_rows(rng.standard_normal((500, 16)) * 0.3 + prototypes[rng.integers(0, 20, 500)])
    truth = rng.integers(0, 20, 500)
    expected = oracle(vectors, truth, prototypes)
    assert 0 < expected.sum() < 500

    class Never(NumpyBackend):
        def create(self, dim: int) -> object:  # type: ignore[override]
            raise AssertionError("these are certain")

    np.testing.assert_array_equal(top1_correct(vectors, truth, prototypes, Never()), expected)
    monkeypatch.setattr(module, "_BLOCK_SCORES", 60)
    monkeypatch.setattr(module, "_SEARCHED", 7)
    twice = np.concatenate([prototypes, prototypes])
    both = top1_correct(vectors, truth, twice, NumpyBackend())
    np.testing.assert_array_equal(both, expected)
    assert not top1_correct(vectors, truth + 20, twice, NumpyBackend()).any(), "ties go to the lowest class id"


def test_what_does_not_fit_is_refused() -> None:
    rows = unit_rows(np.eye(3))
    for truth in (np.array([0, 1]), np.array([0, 1, 3]), np.array([0, -1, 2])):
        with pytest.raises(ShapeError):
            top1_correct(rows, truth, rows, NumpyBackend())
