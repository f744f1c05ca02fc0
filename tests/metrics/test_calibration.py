from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.results import FARTHEST, Calibration
from zsretrieve.metrics import (
    expected_calibration_error,
    fit_sigmoid_scale,
    fit_softmax_scale,
    reliability,
    sigmoid_loss,
    softmax_loss,
)


def drawn(seed: int, n: int = 300, n_classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, n_classes)).astype(np.float32), rng.integers(0, n_classes, n)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_bins_are_scikit_learn_s(n: int, n_bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Tenths fall on the edges of bins, too.
    probability = np.where(rng.random(n) < 0.5, rng.random(n), rng.integers(0, 11, n) / 10)
    correct = rng.random(n) < probability
    bins = reliability(probability, correct, n_bins)
    accuracy, mean = calibration_curve(correct, probability, n_bins=n_bins, pos_label=True)
    assert [one.accuracy for one in bins] == pytest.approx(accuracy.tolist())
    assert [one.mean_probability for one in bins] == pytest.approx(mean.tolist())
    assert sum(one.n for one in bins) == n
    assert all(one.low <= one.mean_probability <= one.high + 1e-12 for one in bins)


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_the_error_is_a_count_by_hand(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability, correct = rng.random(n), rng.random(n) < 0.5
    total = 0.0
    for low in range(15):
        mine = [i for i in range(n) if low / 15 < probability[i] <= (low + 1) / 15]
        if mine:
            total += abs(sum(probability[i] - correct[i] for i in mine))
    assert expected_calibration_error(reliability(probability, correct)) == pytest.approx(total / n)


def test_certain_answers() -> None:
    sure = np.ones(4)
    assert expected_calibration_error(reliability(sure, np.ones(4, dtype=np.bool_))) == 0.0
    assert expected_calibration_error(reliability(sure, np.zeros(4, dtype=np.bool_))) == 1.0
    (only,) = reliability(np.zeros(1), np.ones(1, dtype=np.bool_))
    assert (only.low, only.n, only.mean_probability, only.accuracy) == (0.0, 1, 0.0, 1.0)


@pytest.mark.parametrize(("shape", "n_bins"), [((0,), 15), ((3, 1), 15), ((3,), 0)])
def test_what_makes_no_bins_is_refused(shape: tuple[int, ...], n_bins: int) -> None:
    with pytest.raises(ShapeError):
        reliability(np.zeros(shape), np.zeros(shape, dtype=np.bool_), n_bins)


@pytest.mark.parametrize("scale", [0.3, 1.0, 30.0, 100.0])
def test_the_softmax_loss_is_scikit_learn_s(scale: float) -> None:
    scores, truth = drawn(1)
    logits = scale * scores.astype(np.float64)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    # scikit-learn bounds a probability by the float's epsilon; none is near it below a scale of some 15.
    by_hand = -np.log(chances[np.arange(len(truth)), truth]).mean()
    assert softmax_loss(scores, truth, scale) == pytest.approx(by_hand, rel=1e-5)
    if scale < 15:
        assert softmax_loss(scores, truth, scale) == pytest.approx(log_loss(truth, chances, labels=range(7)), rel=1e-5)


def test_the_loss_does_not_depend_on_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth = drawn(2)
    whole = softmax_loss(scores, truth, 20.0)
    monkeypatch.setattr("zsretrieve.metrics.calibration._CHUNK_ELEMENTS", 40)
    assert softmax_loss(scores, truth, 20.0) == pytest.approx(whole, rel=1e-9)


@settings(max_examples=20)
@given(st.floats(3.0, 15.0), st.integers(0, 1000))
def test_the_scale_that_made_the_labels_is_found_again(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-1, 1, (4000, 5)).astype(np.float32)
    # To add Gumbel noise and take the greatest is to draw from the softmax.
    truth = (scale * scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    # Of so many images the scale is off by some 3 % (one standard deviation); more above 15, where few are doubtful.
    found = fit_softmax_scale(scores, truth, 30.0)
    assert found == pytest.approx(scale, rel=0.2)
    best = softmax_loss(scores, truth, found)
    assert best <= min(softmax_loss(scores, truth, found * by) for by in (0.98, 1.02, 30.0 / found))


def test_all_right_and_all_wrong_end_at_the_bounds() -> None:
    scores = np.tile(np.array([0.5, 0.1, 0.0], dtype=np.float32), (9, 1))
    assert fit_softmax_scale(scores, np.zeros(9, dtype=np.int64), 10.0) == 10.0 * FARTHEST
    assert fit_softmax_scale(scores, np.full(9, 2), 10.0) == 10.0 / FARTHEST
    # Nothing is left to gain, nor to lose where there is one class.
    assert fit_softmax_scale(scores, np.zeros(9, dtype=np.int64), 500.0) == 500.0
    assert fit_softmax_scale(scores[:, :1], np.zeros(9, dtype=np.int64), 10.0) == 10.0
    assert fit_sigmoid_scale(np.array([2.0, -1.0]), np.array([True, False]), 10.0) == 10.0 * FARTHEST


@pytest.mark.parametrize(("factor", "end"), [(FARTHEST, 1), (99.8, 1), (90.0, 0), (1.0, 0), (0.012, 0), (0.01, -1)])
def test_an_end_of_the_range_is_no_minimum(factor: float, end: int) -> None:
    assert Calibration("softmax", 20.0, 0.1, 1.0, (), 20.0 * factor, 0.1, 1.0, ()).at_limit == end


def test_the_sigmoid_loss_is_scikit_learn_s_and_its_scale_the_regression_s() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 3, 2000)
    correct = rng.random(2000) < 1 / (1 + np.exp(-0.4 * logits))
    chances = 1 / (1 + np.exp(-logits))
    assert sigmoid_loss(logits, correct) == pytest.approx(log_loss(correct, chances))
    found = fit_sigmoid_scale(logits, correct, 100.0) / 100.0
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(logits[:, None], correct)
    assert found == pytest.approx(float(regression.coef_[0, 0]), rel=1e-3)


def test_losses_of_other_shapes_are_refused() -> None:
    scores, truth = drawn(5, n=4)
    with pytest.raises(ShapeError):
        softmax_loss(scores, truth[:3], 1.0)
    with pytest.raises(ShapeError):
        softmax_loss(scores[:0], truth[:0], 1.0)
    with pytest.raises(ShapeError):
        sigmoid_loss(np.zeros(3), np.zeros(4, dtype=np.bool_))
