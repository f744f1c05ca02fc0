"""Means over several draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from zsretrieve.domain.errors import ShapeError
from zsretrieve.metrics import wilson
from zsretrieve.metrics.intervals import mean_over_draws


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_of_one_draw_it_is_the_rate_and_wilson_s_interval(counts: tuple[int, int]) -> None:
    n_correct, n = counts
    assert mean_over_draws(np.array([n_correct]), n) == (n_correct / n, 0.0, wilson(n_correct, n))


@given(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.lists(st.integers(0, n), min_size=2, max_size=6), st.just(n)))
)
def test_of_several_both_kinds_of_chance_are_in_it(counts: tuple[list[int], int]) -> None:
    n_correct, n = counts
    mean, spread, interval = mean_over_draws(np.array(n_correct), n)
    assert mean == pytest.approx(np.mean(n_correct) / n)
    assert spread == pytest.approx(np.std(n_correct, ddof=1) / n)
    assert 0.0 <= interval.low <= mean <= interval.high <= 1.0
    half = t.ppf(0.975, len(n_correct) - 1) * spread / np.sqrt(len(n_correct))
    assert interval.low <= max(0.0, mean - half) + 1e-12
    assert interval.high >= min(1.0, mean + half) - 1e-12
    of_images = wilson(round(mean * n), n)
    assert interval.low <= of_images.low + 1e-12
    assert interval.high >= of_images.high - 1e-12


def test_equal_draws_are_as_one() -> None:
    assert mean_over_draws(np.array([7, 7, 7]), 10)[2].low == pytest.approx(wilson(7, 10).low)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """2,000 simulated experiments: a draw has a rate of its own, images are right or wrong by it."""
    rng = np.random.default_rng(0)
    rates = np.clip(rng.normal(0.7, 0.03, (2000, 4)), 0, 1)
    counts = rng.binomial(200, rates)
    covered = [found.low <= 0.7 <= found.high for found in (mean_over_draws(row, 200)[2] for row in counts)]
    assert np.mean(covered) > 0.94


def test_no_draw_has_no_mean() -> None:
    with pytest.raises(ShapeError, match="no draw"):
        mean_over_draws(np.array([], dtype=np.int64), 5)
