from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from zsretrieve.domain.errors import ShapeError
from zsretrieve.metrics import bootstrap_mean, paired_difference, wilson


@given(st.integers(1, 60_000), st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    ours, theirs = wilson(k, n), binomtest(k, n).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_what_is_no_rate_is_refused(k: int, n: int) -> None:
    with pytest.raises(ShapeError):
        wilson(k, n)


def test_the_bootstrap_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        found = bootstrap_mean(rng.random(80))
        inside += found.low <= 0.5 <= found.high
    assert 180 <= inside <= 199


def test_the_bootstrap_repeats_itself_and_one_value_is_certain() -> None:
    values = np.random.default_rng(2).random(1000)
    assert bootstrap_mean(values) == bootstrap_mean(values)
    one = bootstrap_mean(np.array([0.25]))
    assert (one.low, one.high) == (0.25, 0.25)
    with pytest.raises(ShapeError):
        bootstrap_mean(np.empty(0))


def pairs(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.array([1] * both + [1] * only_first + [0] * only_second + [0] * neither, dtype=np.bool_)
    second = np.array([1] * both + [0] * only_first + [1] * only_second + [0] * neither, dtype=np.bool_)
    return first, second


def test_the_paired_difference_counts_images() -> None:
    found = paired_difference(*pairs(18, 2, 14, 12))
    assert found.difference == pytest.approx(12 / 46)
    assert (found.only_first, found.only_second, found.n) == (2, 14, 46)
    assert found.interval.low < found.difference < found.interval.high


def test_mcnemar_is_a_fair_coin() -> None:
    assert paired_difference(*pairs(5, 0, 0, 5)).p_value == 1.0
    assert paired_difference(*pairs(0, 0, 5, 0)).p_value == pytest.approx(2 / 2**5)
    assert paired_difference(*pairs(7, 3, 1, 2)).p_value == pytest.approx(2 * (1 + 4) / 2**4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_the_other_way_round_is_the_mirror_image(both: list[tuple[bool, bool]]) -> None:
    first, second = np.array(both, dtype=np.bool_).T
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there.difference == -back.difference
    assert (there.interval.low, there.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))
    assert -1.0 <= there.interval.low <= there.difference <= there.interval.high <= 1.0
    assert there.p_value == back.p_value


def test_the_paired_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        kind = rng.choice(4, size=150, p=[0.5, 0.1, 0.2, 0.2])
        found = paired_difference((kind == 0) | (kind == 1), (kind == 0) | (kind == 2))
        inside += found.interval.low <= 0.1 <= found.interval.high
    assert 368 <= inside <= 396
