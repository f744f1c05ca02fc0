"""How well calibrated probabilities are, and the scale at which they are calibrated best."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.results import FARTHEST, Bin
from zsretrieve.domain.vectors import Scores

N_BINS = 15
_CHUNK_ELEMENTS = 1 << 20


def reliability(probability: NDArray[np.float64], correct: NDArray[np.bool_], n_bins: int = N_BINS) -> tuple[Bin, ...]:
    """The reliability diagram: bins of equal width, each with its mean probability and the fraction that is right.

    A bin is open on its left and closed on its right, except for the first, which includes 0 (Guo et al. 2017, On
    Calibration of Modern Neural Networks, section 2, with 15 bins).

    Parameters
    ----------
    probability : float64 of shape (n,), values in [0, 1]
        Of the model's answer.
    correct : bool of shape (n,)
        Whether the answer was right.
    n_bins : int

    Returns
    -------
    tuple of Bin
        Those with images, lowest first.
    """
    if probability.ndim != 1 or probability.shape != correct.shape or not len(probability) or n_bins < 1:
        raise ShapeError(f"{probability.shape} probabilities of {correct.shape} answers do not make {n_bins} bins")
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    which = np.searchsorted(edges[1:-1], probability, side="left")
    counts = np.bincount(which, minlength=n_bins)
    used = np.flatnonzero(counts)
    means = np.bincount(which, weights=probability, minlength=n_bins)[used] / counts[used]
    accuracies = np.bincount(which, weights=correct.astype(np.float64), minlength=n_bins)[used] / counts[used]
    columns = (edges[used], edges[used + 1], counts[used], means, accuracies)
    return tuple(Bin(*values) for values in zip(*(column.tolist() for column in columns), strict=True))


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """The mean over the images of the distance between their bin's mean probability and accuracy (Guo et al. 2017,
    equation 3; Naeini et al. 2015).
    """
    n = sum(one.n for one in bins)
    return sum(one.n * abs(one.mean_probability - one.accuracy) for one in bins) / n


def softmax_loss(scores: Scores, truth: NDArray[np.int64], scale: float) -> float:
    """The mean negative log-likelihood of the true class, in nats, of a softmax over ``scale * scores``.

    Parameters
    ----------
    scores : float32 of shape (n, n_classes)
    truth : int64 of shape (n,)
    scale : float
    """
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not scores.size:
        raise ShapeError(f"scores {scores.shape} and truth {truth.shape} do not fit together")
    total = 0.0
    step = max(1, _CHUNK_ELEMENTS // scores.shape[1])
    for start in range(0, len(scores), step):
        part = scores[start : start + step]
        # float32 is exact enough near the largest score, which is what matters.
        below = part - part.max(axis=1, keepdims=True)
        of_true = np.take_along_axis(below, truth[start : start + step, None], axis=1)[:, 0].astype(np.float64)
        total += float((np.log(np.exp(scale * below).sum(axis=1, dtype=np.float64)) - scale * of_true).sum())
    return total / len(scores)


def sigmoid_loss(logits: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """The mean negative log-likelihood, in nats, of an answer being right or wrong, by the sigmoid of its own logit.

    Parameters
    ----------
    logits : float64 of shape (n,)
    correct : bool of shape (n,)
    """
    if logits.ndim != 1 or logits.shape != correct.shape or not len(logits):
        raise ShapeError(f"logits {logits.shape} and answers {correct.shape} do not fit together")
    return float(np.logaddexp(0.0, np.where(correct, -logits, logits)).mean())


def fit_softmax_scale(scores: Scores, truth: NDArray[np.int64], scale: float) -> float:
    """The scale that minimises ``softmax_loss``: temperature scaling (Guo et al. 2017, section 4.2). The temperature is
    ``scale`` divided by it.

    The loss is convex in the scale, so it has one minimum; it is searched on the logarithm, from a hundredth of
    ``scale`` to a hundred times it. If every image is right, the loss keeps falling, and the end of that range is
    returned, or ``scale`` itself if there is nothing to gain.
    """
    return scale * _best_factor(lambda factor: softmax_loss(scores, truth, factor * scale))


def fit_sigmoid_scale(logits: NDArray[np.float64], correct: NDArray[np.bool_], scale: float) -> float:
    """The same for the sigmoid of the best class alone: the bias is divided by the same temperature as the scale.

    Parameters
    ----------
    logits : float64 of shape (n,)
        Of the best class of each image, at ``scale`` and with the bias.
    correct : bool of shape (n,)
    scale : float
    """
    return scale * _best_factor(lambda factor: sigmoid_loss(factor * logits, correct))


def _best_factor(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    reach = math.log(FARTHEST)
    best = minimize_scalar(
        lambda power: loss(math.exp(power)), bounds=(-reach, reach), method="bounded", options={"xatol": 1e-5}
    )
    # The search never tries the ends themselves, and goes astray on flat losses, as with a single class.
    for factor in (1.0, FARTHEST, 1 / FARTHEST):
        if loss(factor) <= best.fun:
            return factor
    return math.exp(best.x)
