from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsretrieve.domain.errors import ShapeError
from zsretrieve.metrics import coverage_curve, rejection, threshold_for, wilson

# Few values, so that many images are equally sure.
ANSWERS = st.lists(st.tuples(st.integers(0, 6).map(lambda tenth: tenth / 6), st.booleans()), min_size=1, max_size=60)


def arrays(answers: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    sure, correct = zip(*answers, strict=True)
    return np.array(sure), np.array(correct, dtype=np.bool_)


@given(ANSWERS)
def test_the_curve_is_a_count_by_hand(answers: list[tuple[float, bool]]) -> None:
    points = coverage_curve(*arrays(answers))
    assert [point.threshold for point in points] == sorted({sure for sure, _ in answers}, reverse=True)
    for point in points:
        answered = [right for sure, right in answers if sure >= point.threshold]
        assert point.n_answered == len(answered)
        assert point.coverage == len(answered) / len(answers)
        assert point.accuracy == sum(answered) / len(answered)
    assert points[-1].coverage == 1.0


@given(ANSWERS, st.sampled_from([0.01, 0.25, 0.5, 0.75, 0.9, 1.0]))
def test_the_threshold_is_the_lowest_that_reaches_what_is_wanted(
    answers: list[tuple[float, bool]], wanted: float
) -> None:
    def precision(threshold: float) -> float:
        answered = [right for sure, right in answers if sure >= threshold]
        return sum(answered) / len(answered)

    reached = [sure for sure, _ in answers if precision(sure) >= wanted]
    assert threshold_for(*arrays(answers), wanted) == (min(reached) if reached else None)


@given(ANSWERS, st.floats(-0.5, 1.5))
def test_rejection_is_a_count_by_hand(answers: list[tuple[float, bool]], threshold: float) -> None:
    found = rejection(*arrays(answers), threshold, by="margin")
    answered = [right for sure, right in answers if sure >= threshold]
    assert (found.n_answered, found.n_correct) == (len(answered), sum(answered))
    assert found.coverage == len(answered) / len(answers)
    assert found.precision == (sum(answered) / len(answered) if answered else None)
    assert found.interval == (wilson(sum(answered), len(answered)) if answered else None)


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    rng = np.random.default_rng(0)
    sure, correct = rng.random(5000), rng.random(5000) < 0.5
    points = coverage_curve(sure, correct)
    assert len(points) == 200
    assert points[0].threshold == sure.max()
    assert (points[-1].threshold, points[-1].n_answered) == (sure.min(), 5000)
    assert points[-1].accuracy == correct.mean()
    coverages = [point.coverage for point in points]
    assert coverages == sorted(coverages)
    for point in points[::37]:
        assert point.accuracy == pytest.approx(correct[sure >= point.threshold].mean())


def test_shapes_that_do_not_fit_are_refused() -> None:
    for n, m in ((0, 0), (3, 4)):
        with pytest.raises(ShapeError):
            coverage_curve(np.zeros(n), np.zeros(m, dtype=np.bool_))
        with pytest.raises(ShapeError):
            rejection(np.zeros(n), np.zeros(m, dtype=np.bool_), 0.5, by="margin")
