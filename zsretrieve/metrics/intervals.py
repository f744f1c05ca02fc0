"""How sure a figure is: intervals of 95 % unless told otherwise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import ShapeError
from zsretrieve.results import Interval, PairedDifference

CONFIDENCE = 0.95
_RESAMPLES = 10_000
# Resampled means are drawn so many classes at a time.
_CHUNK_ELEMENTS = 1 << 22


def wilson(n_correct: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a rate, n_correct of n (Wilson 1927, J. Am. Stat. Assoc. 22, 209-212).

    Raises ShapeError unless 0 <= n_correct <= n and n >= 1.
    """
    if not 0 <= n_correct <= n or n < 1:
        raise ShapeError(f"{n_correct} of {n} is no rate")
    z = _two_sided(confidence)
    rate = n_correct / n
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if n_correct == 0 else max(0.0, middle - half)
    high = 1.0 if n_correct == n else min(1.0, middle + half)
    return Interval(low, high)


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
    return Interval(float(low), float(high))


def paired_difference(
    first: NDArray[np.bool_], second: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> PairedDifference:
    """How much more often the second of two ways is right than the first, on the same images.

    The interval is that of Newcombe for paired proportions (1998, Statistics in Medicine 17, 2635-2650, method 10),
    the p-value that of McNemar's test in its exact form: the images on which only one is right, as a fair coin.

    Parameters
    ----------
    first, second : bool of shape (n,)
        Whether each is right about an image.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ShapeError(f"{first.shape} and {second.shape} are no pairs of the same images")
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
    return PairedDifference(
        difference, Interval(max(-1.0, low), min(1.0, high)), only_first, only_second, n, _coin(only_first, only_second)
    )


def _correlation(both: int, only_first: int, only_second: int, neither: int, n: int) -> float:
    """Newcombe's corrected correlation of the two ways."""
    product = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if not product:
        return 0.0
    excess = both * neither - only_first * only_second
    if excess > n / 2:
        excess_corrected = excess - n / 2
    else:
        excess_corrected = 0.0 if excess >= 0 else float(excess)
    return excess_corrected / math.sqrt(product)


def _coin(heads: int, tails: int) -> float:
    """The two-sided p-value of so many heads and tails of a fair coin."""
    from scipy.stats import binomtest

    return float(binomtest(heads, heads + tails).pvalue) if heads + tails else 1.0


def _two_sided(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + confidence) / 2)
