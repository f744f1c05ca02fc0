"""Figures of what was trained several times, each time on other pictures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import ShapeError
from zsretrieve.metrics.intervals import CONFIDENCE, wilson
from zsretrieve.results import Interval


def mean_over_draws(
    n_correct: NDArray[np.int64], n: int, confidence: float = CONFIDENCE
) -> tuple[float, float, Interval]:
    """The mean rate of several draws that were scored on the same images, its spread and its interval.

    Two things are left to chance: which images are scored, for which stands Wilson's interval of the mean rate, and
    which were drawn for training, for which stands Student's interval of the mean over the draws. Their distances from
    the mean are squared and added (as Newcombe 1998, Statistics in Medicine 17, 873-890, does it for two rates). Of
    one draw there is only the former.

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
        raise ShapeError(f"{n_correct.shape} counts are those of no draw")
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
    return mean, spread, Interval(max(0.0, low), min(1.0, high))
