"""Selective answers: the fraction of images answered above a threshold, and how many of the answers are right.

An image is answered if its confidence is at least the threshold; images of equal confidence are answered or rejected
together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.results import CoveragePoint, Rejection
from zsretrieve.metrics.intervals import wilson

MAX_POINTS = 200

_Steps = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def coverage_curve(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], max_points: int = MAX_POINTS
) -> tuple[CoveragePoint, ...]:
    """Accuracy of the answers as the threshold falls (El-Yaniv and Wiener 2010, the risk-coverage curve).

    Parameters
    ----------
    confidence : float64 of shape (n,)
        Probability or margin of the best class.
    correct : bool of shape (n,)
    max_points : int
        With more thresholds, this many are chosen, evenly by rank, including the first and the last.

    Returns
    -------
    tuple of CoveragePoint
        Threshold falling, so coverage rising to 1.
    """
    thresholds, answered, right = _steps(confidence, correct)
    chosen = np.arange(len(thresholds))
    if len(chosen) > max_points:
        chosen = np.unique(np.linspace(0, len(chosen) - 1, max(2, max_points)).round().astype(np.int64))
    n_answered, n_right = answered[chosen], right[chosen]
    columns = (thresholds[chosen], n_answered / len(correct), n_right / n_answered, n_answered)
    return tuple(CoveragePoint(*values) for values in zip(*(column.tolist() for column in columns), strict=True))


def threshold_for(confidence: NDArray[np.float64], correct: NDArray[np.bool_], wanted: float) -> float | None:
    """The lowest threshold at which at least the fraction ``wanted`` of the answers is right; None if there is none.

    The lowest answers the most images. It is chosen and judged on the same images: others will do slightly worse.
    """
    thresholds, answered, right = _steps(confidence, correct)
    enough = np.flatnonzero(right / answered >= wanted)
    return float(thresholds[enough[-1]]) if len(enough) else None


def rejection(
    confidence: NDArray[np.float64],
    correct: NDArray[np.bool_],
    threshold: float,
    *,
    by: str,
    wanted: float | None = None,
) -> Rejection:
    """The answers at a threshold, with a Wilson interval of their precision."""
    _check(confidence, correct)
    answered = confidence >= threshold
    n_answered, n_correct = int(answered.sum()), int((answered & correct).sum())
    precision = n_correct / n_answered if n_answered else None
    interval = wilson(n_correct, n_answered) if n_answered else None
    return Rejection(by, threshold, wanted, n_answered, n_correct, n_answered / len(correct), precision, interval)


def _steps(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> _Steps:
    """Every threshold that makes a difference, falling; how many are answered at it, and how many of them are right."""
    _check(confidence, correct)
    by = np.argsort(-confidence, kind="stable")
    falling = confidence[by]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # of each group of equals
    return falling[last], last + 1, np.cumsum(correct[by])[last]


def _check(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> None:
    if confidence.ndim != 1 or confidence.shape != correct.shape or not len(confidence):
        raise ShapeError(f"confidence {confidence.shape} and answers {correct.shape} do not fit together")
