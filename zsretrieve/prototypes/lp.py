"""LP++ (Huang et al. 2024, CVPR, arXiv 2404.02285): a linear probe whose weights blend images and text prototypes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.prototypes.probe import judged

# As in the authors' code.
ITERATIONS, _BETWEEN_ALPHAS = 300, 10
# 1 / lambda of the initial alpha in the authors' code.
_ALPHA_SCALE = 250.0


@dataclass(frozen=True, eq=False)
class Blended:
    """``weights``, float64 of shape (n_classes, dim), of a softmax without bias: ``w_k + alpha_k t_k``.

    ``alphas``, float64 of shape (n_classes,), are the weights of the text. ``losses`` are the mean losses of the
    training images at the start and after every iteration.
    """

    weights: NDArray[np.float64]
    alphas: NDArray[np.float64]
    losses: tuple[float, ...]


def blend(vectors: Vectors, truth: Rows, text: Vectors, iterations: int = ITERATIONS) -> Blended:
    """Minimise the mean cross-entropy of the logits ``x.(w_k + alpha_k t_k)`` over w and alpha, by block coordinate
    majorise-minimise descent on all images at once.

    Each block's majoriser is a parabola, so minimising it is a gradient step of one over its curvature, the Lipschitz
    constant in closed form of the paper: ``lambda_max(X^T X) / 4n`` for w, ``max_k sum_i (x_i.t_k)^2 / 4n`` for alpha.
    These bound the curvature of the loss in a class alone, where ``p (1 - p) <= 1/4``. In all classes at once it is at
    most twice that (Boehning 1992, Ann. Inst. Stat. Math. 44, 197-200), and a step of up to two over the curvature
    never raises the loss.

    It starts, as the authors' code does, with the sums of each class's images as w and, for all classes, an alpha of
    250 times the mean over the classes of the mean cosine of an image and its text. Alpha is updated every tenth time.
    The authors' code adds momentum and keeps the iteration that is best on validation images; this does neither.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
    truth : int64 of shape (n,)
        Every class occurs.
    text : float32 of shape (n_classes, dim), unit rows
    iterations : int
    """
    x, t = vectors.astype(np.float64), text.astype(np.float64)
    n, rows = len(x), np.arange(len(x))
    counts = np.bincount(truth, minlength=len(t))
    w = np.zeros_like(t)
    np.add.at(w, truth, x)
    by_text = x @ t.T
    cosines = np.bincount(truth, by_text[rows, truth], minlength=len(t)) / counts
    alphas = np.full(len(t), _ALPHA_SCALE * cosines.mean())
    rate_w = 4 * n / float(np.linalg.eigvalsh(x.T @ x)[-1])
    rate_alpha = 4 * n / float((by_text**2).sum(axis=0).max())

    def logits() -> NDArray[np.float64]:
        return np.asarray(x @ w.T + alphas * by_text)

    def residuals() -> NDArray[np.float64]:
        """The derivatives of the mean loss with respect to the logits."""
        of = logits()
        chances = np.exp(of - of.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        chances[rows, truth] -= 1.0
        return np.asarray(chances / n)

    losses = [judged(logits(), truth)[1]]
    for iteration in range(1, iterations + 1):
        w -= rate_w * (residuals().T @ x)
        if iteration % _BETWEEN_ALPHAS == 0:
            alphas = alphas - rate_alpha * (residuals() * by_text).sum(axis=0)
        losses.append(judged(logits(), truth)[1])
    return Blended(w + alphas[:, None] * t, alphas, tuple(losses))
