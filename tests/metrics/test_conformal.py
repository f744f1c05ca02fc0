"""Split conformal prediction: what a set holds, and how often it holds the truth on fresh images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.prediction_sets import Coverage
from zsretrieve.metrics import expected_coverage, nonconformity


def test_the_measures_are_those_of_the_papers() -> None:
    chances = np.array([[0.6, 0.3, 0.1], [0.5, 0.5, 0.0]])
    assert np.allclose(nonconformity(chances, "lac"), [[0.4, 0.7, 0.9], [0.5, 0.5, 1.0]])
    assert np.allclose(nonconformity(chances, "aps"), [[0.6, 0.9, 1.0], [0.5, 1.0, 1.0]])


@pytest.mark.parametrize(
    ("n", "wanted", "rank"),
    [(9, 0.9, 9), (10, 0.9, 10), (19, 0.95, 19), (99, 0.55, 55), (99, 0.57, 57), (100, 0.9, 91), (1, 0.5, 1)],
)
def test_the_rank_is_that_of_the_formula(n: int, wanted: float, rank: int) -> None:
    assert Coverage(wanted).rank(n) == rank


def test_too_few_images_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(SourceError, match=r"8 images are too few to calibrate a coverage of 0\.9: at least 9 are"):
        Coverage(0.9).rank(8)
    with pytest.raises(SourceError, match="at least 99 are needed"):
        Coverage(0.99).rank(98)
    assert Coverage(0.99).rank(99) == 99


@pytest.mark.parametrize(("wanted", "by"), [(0.0, "lac"), (1.0, "lac"), (0.9, "raps")])
def test_what_is_out_of_range(wanted: float, by: str) -> None:
    with pytest.raises(UsageError):
        Coverage(wanted, by)


def test_the_expected_coverage_is_that_of_many_draws() -> None:
    """Ranks of continuous scores alone decide the coverage, so uniform scores stand for any."""
    rng = np.random.default_rng(0)
    n, m, rank = 60, 80, Coverage(0.9).rank(60)
    thresholds = np.sort(rng.random((20_000, n)), axis=1)[:, rank - 1]
    covered = rng.binomial(m, thresholds) / m
    found = expected_coverage(rank, n, m)
    assert found.low == pytest.approx(np.quantile(covered, 0.025), abs=0.013)
    assert found.high == pytest.approx(np.quantile(covered, 0.975), abs=0.013)
    assert thresholds.mean() == pytest.approx(rank / (n + 1), abs=0.002)
    of_many = expected_coverage(rank, n, 1_000_000)
    assert of_many.low == pytest.approx(beta.ppf(0.025, rank, n + 1 - rank), abs=1e-3)
    of_certain = expected_coverage(int(0.9 * 1_000_001), 1_000_000, m)
    assert of_certain.high == pytest.approx(binom.ppf(0.975, m, 0.9) / m, abs=0.013)
