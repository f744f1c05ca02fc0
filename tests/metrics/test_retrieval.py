from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from zsretrieve.domain.errors import ShapeError
from zsretrieve.metrics import average_precision, places_of, precision_at, r_precision, recall_at

SCORE = st.sampled_from([-1.0, -0.5, -1e-7, -0.0, 0.0, 1e-7, 0.25, 0.25000003, 1.0])


@given(st.lists(st.tuples(SCORE, st.booleans()), min_size=1, max_size=40))
def test_places_are_a_plain_sort(images: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in images], dtype=np.float32)
    relevant = np.array([row for row, (_, wanted) in enumerate(images) if wanted], dtype=np.int64)
    order = sorted(range(len(images)), key=lambda row: (-float(scores[row]), row))
    assert places_of(scores, relevant).tolist() == sorted(order.index(row) for row in relevant)


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_figures_are_scikit_learn_s_where_nothing_ties(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(np.linspace(-1, 1, n, dtype=np.float32))
    relevant = rng.random(n) < 0.3
    relevant[rng.integers(n)] = True
    places = places_of(scores, np.flatnonzero(relevant))
    assert average_precision(places) == pytest.approx(average_precision_score(relevant, scores))
    order = np.argsort(-scores)
    for k in {1, min(5, n), n}:
        assert precision_at(places, k) == pytest.approx(relevant[order[:k]].mean())
        assert recall_at(places, k) == pytest.approx(relevant[order[:k]].sum() / relevant.sum())
    many = int(relevant.sum())
    assert precision_at(places, many) == r_precision(order, set(np.flatnonzero(relevant).tolist()))
    assert recall_at(places, n) == 1.0


def test_ties_go_to_the_earlier_image() -> None:
    scores = np.array([0.5, 0.5, 0.5, 0.9], dtype=np.float32)
    assert places_of(scores, np.array([1])).tolist() == [2]
    assert average_precision(places_of(scores, np.array([1]))) == 1 / 3
    assert average_precision(places_of(scores, np.array([0, 3]))) == 1.0
    assert places_of(np.array([0.0, -0.0, -0.0], dtype=np.float32), np.array([1, 2])).tolist() == [1, 2]


def test_one_image_and_the_last_place() -> None:
    only = places_of(np.zeros(1, dtype=np.float32), np.array([0]))
    assert (average_precision(only), precision_at(only, 1), recall_at(only, 1)) == (1.0, 1.0, 1.0)
    last = places_of(np.array([0.3, 0.2, 0.1], dtype=np.float32), np.array([2]))
    assert (average_precision(last), precision_at(last, 2), recall_at(last, 2)) == (1 / 3, 0.0, 0.0)


def test_what_has_no_places_is_refused() -> None:
    with pytest.raises(ShapeError):
        places_of(np.zeros(3), np.array([0]))
    for figure in (lambda: average_precision(np.array([])), lambda: precision_at(np.array([1]), 0)):
        with pytest.raises(ShapeError):
            figure()
