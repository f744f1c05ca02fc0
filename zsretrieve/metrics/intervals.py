"""Confidence intervals, 95 % by default."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.results import Interval, PairedDifference

CONFIDENCE = 0.95
_RESAMPLES = 10_000
# The largest number of values resampled at once.
_CHUNK_ELEMENTS = 1 << 22


def wilson(n_correct: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a rate, n_correct of n (Wilson 1927, J. Am. Stat. Assoc. 22, 209-212).

    Raises ShapeError unless 0 <= n_correct <= n and n >= 1.
    """
    if not 0 <= n_correct <= n or n < 1:
        raise ShapeError(f"{n_correct} of {n} is not a rate")
    z = _two_sided(confidence)
    rate = n_correct / n
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At the ends, the formula gives 0 and 1 except for rounding.
    low = 0.0 if n_correct == 0 else max(0.0, middle - half)
    high = 1.0 if n_correct == n else min(1.0, middle + half)
    return Interval(low, high, confidence)


def bootstrap_mean(values: NDArray[np.float64], confidence: float = CONFIDENCE, seed: int = 0) -> Interval:
    """The percentile bootstrap interval of a mean, resampling ``values``: of classes, for a mean over classes.

    (Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3; 10,000 resamples.)

    Parameters
    ----------
    values : float64 of shape (n,)
    confidence : float
    seed : int
        Equal seeds give equal intervals.
    """
    if values.ndim != 1 or not len(values):
        raise ShapeError(f"the mean of {values.shape} values has no interval")
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_ELEMENTS // len(values))
    means = np.concatenate(
        [
            values[rng.integers(0, len(values), (min(step, _RESAMPLES - start), len(values)))].mean(axis=1)
            for start in range(0, _RESAMPLES, step)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), confidence)


def paired_difference(
    first: NDArray[np.bool_], second: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> PairedDifference:
    """How much more often the second of two ways is right than the first, on the same images.

    The interval is that of Newcombe for paired proportions (1998, Statistics in Medicine 17, 2635-2650, method 10),
    the p-value that of McNemar's exact test: the images on which only one is right, as tosses of a fair coin.

    Parameters
    ----------
    first, second : bool of shape (n,)
        Whether each is right about an image.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ShapeError(f"{first.shape} and {second.shape} are not pairs of the same images")
    n = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    right_first, right_second = both + only_first, both + only_second
    a, b = wilson(right_first, n, confidence), wilson(right_second, n, confidence)
    p1, p2 = right_first / n, right_second / n
    correlation = _correlation(both, only_first, only_second, neither, n)
    difference = (only_second - only_first) / n
    down, up = p2 - b.low, a.high - p1
    low = difference - math.sqrt(max(0.0, down * down - 2 * correlation * down * up + up * up))
    down, up = p1 - a.low, b.high - p2
    high = difference + math.sqrt(max(0.0, down * down - 2 * correlation * down * up + up * up))
    interval = Interval(max(-1.0, low), min(1.0, high), confidence)
    return PairedDifference(difference, interval, only_first, only_second, n, _coin(only_first, only_second))


def _correlation(both: int, only_first: int, only_second: int, neither: int, n: int) -> float:
    """Newcombe's corrected correlation of the two."""
    product = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if not product:
        return 0.0
    excess = both * neither - only_first * only_second
    corrected = max(0.0, excess - n / 2) if excess > 0 else excess
    return corrected / math.sqrt(product)


def _coin(heads: int, tails: int) -> float:
    """The two-sided p-value of these counts with a fair coin."""
    from scipy.stats import binomtest

    return float(binomtest(heads, heads + tails).pvalue) if heads + tails else 1.0


def _two_sided(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + confidence) / 2)


def mean_over_draws(
    n_correct: NDArray[np.int64], n: int, confidence: float = CONFIDENCE
) -> tuple[float, float, Interval]:
    """The mean rate of several draws that are scored on the same images, its spread and its interval.

    Chance enters twice: by the images that are scored (Wilson's interval of the mean rate), and by those that were
    drawn for training (Student's interval of the mean over the draws). The squared distances from the mean are added
    (as Newcombe 1998, Statistics in Medicine 17, 873-890, does for two rates). With one draw, only the first counts.

    Parameters
    ----------
    n_correct : int64 of shape (n_draws,)
        Of ``n`` images each.
    n : int
    confidence : float

    Returns
    -------
    mean : float
        A fraction of n.
    spread : float
        The standard deviation of the draws' rates; 0 for one draw.
    interval : Interval
    """
    if n_correct.ndim != 1 or not len(n_correct):
        raise ShapeError(f"{n_correct.shape} counts come from no draw")
    rates = n_correct / n
    mean = float(rates.mean())
    of_images = wilson(round(mean * n), n, confidence)
    if len(rates) == 1:
        return mean, 0.0, of_images
    from scipy.stats import t

    spread = float(rates.std(ddof=1))
    half = float(t.ppf((1 + confidence) / 2, len(rates) - 1)) * spread / math.sqrt(len(rates))
    low = mean - math.hypot(mean - of_images.low, half)
    high = mean + math.hypot(of_images.high - mean, half)
    return mean, spread, Interval(max(0.0, low), min(1.0, high), confidence)
