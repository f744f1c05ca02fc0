"""Tip-Adapter and Tip-Adapter-F (Zhang et al. 2022, ECCV, arXiv 2111.03930): images as keys beside text prototypes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.plain import Result
from zsretrieve.domain.shots import AdapterSettings
from zsretrieve.domain.training import TrainingMethod
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.splits import validation_of
from zsretrieve.prototypes.probe import judged
from zsretrieve.store.indexes import Prototypes
from zsretrieve.store.key_values import KeyValues, class_sums

# Half octaves from 1/8 to 64, and from 1/4 to 64. An alpha of 0 is zero-shot.
ALPHAS = (0.0, *(2.0 ** (n / 2) for n in range(-6, 13)))
BETAS = tuple(2.0 ** (n / 2) for n in range(-4, 13))
# The best of the paper's ablation on ImageNet, for the case that no class has a second image to judge by.
DEFAULT_ALPHA, DEFAULT_BETA = 1.0, 5.5
# The training of Tip-Adapter-F in the paper and its authors' code: AdamW with torch's defaults but for epsilon.
EPOCHS, BATCH, RATE = 20, 256, 1e-3
_MOMENTS, _EPSILON, _DECAY = (0.9, 0.999), 1e-4, 0.01


@dataclass(frozen=True)
class AdapterStep(Result):
    """One pair of weights, and what the validation images say: the share that is right, and the mean loss."""

    alpha: float
    beta: float
    accuracy: float
    loss: float


@dataclass(frozen=True)
class AdapterSearch:
    """How the weights of an adapter were chosen.

    ``steps`` are zero-shot (an alpha of 0) and then the best alpha for each beta, ascending; empty if nothing was
    searched. ``n_fit`` images were the keys then, and ``n_validation`` others judged; in the end all are keys.
    """

    alpha: float
    beta: float
    steps: tuple[AdapterStep, ...]
    n_fit: int
    n_validation: int


@dataclass(frozen=True)
class Adapted:
    """Keys and how their weights were chosen. ``losses`` are those of the training images before and after the keys
    were learnt, None where they were not.
    """

    keys: KeyValues
    search: AdapterSearch
    losses: tuple[float, float] | None


def tip_of(labelled: Labelled, rows: Rows, seed: int, text: Prototypes, settings: AdapterSettings) -> Adapted:
    """Make keys of images, and choose their weights on a part of them.

    The logits are ``s x W^T + alpha * exp(-beta * (1 - x F^T)) L``, with the model's scale s, the text prototypes W,
    and the keys F of the classes L (Zhang et al. 2022, section 3.1, where s is 100). For Tip-Adapter-F (section 3.2)
    the keys are learnt, with the weights that are best before; then the weights are chosen again.

    Parameters
    ----------
    labelled : Labelled
        Of the classes of ``text``.
    rows : int64 of shape (n,)
        Those to train on, each image once.
    seed : int
        Draws the validation images, and the batches of Tip-Adapter-F.
    text : Prototypes
    settings : AdapterSettings
    """
    some = labelled.at(rows[np.argsort(labelled.truth[rows], kind="stable")])
    zero_shot = text.head.scale * (some.vectors.astype(np.float64) @ text.vectors.astype(np.float64).T)
    given = settings.alpha is not None and settings.beta is not None
    held = np.empty(0, np.int64) if given else validation_of(some, seed, settings.validation)
    fitted = np.setdiff1d(np.arange(len(some.truth)), held)
    n_classes, learns = len(text.vectors), settings.method == TrainingMethod.TIP_F

    def searched(keys: NDArray[np.floating[Any]], among: AdapterSettings) -> AdapterSearch:
        steps: list[AdapterStep] = []
        for beta in BETAS if among.beta is None else (among.beta,):
            sums = class_sums(some.vectors[held], keys, some.truth[fitted], n_classes, beta)
            steps += _steps(zero_shot[held], sums, some.truth[held], beta, among, alone=bool(steps))
        best = min(steps, key=lambda step: _rank(step, among.by))
        return AdapterSearch(best.alpha, best.beta, tuple(steps), len(fitted), len(held))

    def learnt(part: Rows, start: AdapterSearch) -> Vectors:
        return learn(some.vectors[part], some.truth[part], zero_shot[part], start.alpha, start.beta, seed)

    if len(held):
        search = searched(some.vectors[fitted], settings)
    else:
        alpha = DEFAULT_ALPHA if settings.alpha is None else settings.alpha
        beta = DEFAULT_BETA if settings.beta is None else settings.beta
        search = AdapterSearch(alpha, beta, (), len(fitted), 0)
    every = np.arange(len(some.truth))
    if not learns:
        return Adapted(KeyValues(some.vectors, some.truth, search.alpha, search.beta), search, None)
    # Keys without weight would learn nothing.
    start = search if search.alpha else replace(search, alpha=DEFAULT_ALPHA)
    if len(held):
        search = searched(learnt(fitted, start), settings)
    keys = learnt(every, start)
    losses = tuple(
        judged(zero_shot + start.alpha * class_sums(some.vectors, of, some.truth, n_classes, start.beta), some.truth)[1]
        for of in (some.vectors, keys)
    )
    return Adapted(KeyValues(keys, some.truth, search.alpha, search.beta), search, (losses[0], losses[1]))


def learn(
    vectors: Vectors, truth: Rows, zero_shot: NDArray[np.float64], alpha: float, beta: float, seed: int
) -> Vectors:
    """Learn the keys of Tip-Adapter-F: cross-entropy of the training images, minimised by AdamW (Loshchilov and Hutter
    2019) with a cosine schedule, in float64.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
        The images, which the keys begin as.
    truth : int64 of shape (n,), ascending
    zero_shot : float64 of shape (n, n_classes)
        The logits of the text prototypes.
    alpha, beta : float
    seed : int
        Draws the batches.

    Returns
    -------
    float32 of shape (n, dim)
    """
    x, keys = vectors.astype(np.float64), vectors.astype(np.float64)
    rng, n = np.random.default_rng(seed), len(x)
    first, second = np.zeros_like(keys), np.zeros_like(keys)
    steps = EPOCHS * math.ceil(n / BATCH)
    step = 0
    for _ in range(EPOCHS):
        order = rng.permutation(n)
        for start in range(0, n, BATCH):
            rows = order[start : start + BATCH]
            rate = RATE * (1 + math.cos(math.pi * step / steps)) / 2
            step += 1
            gradient = gradient_of(keys, x[rows], truth, truth[rows], zero_shot[rows], alpha, beta)
            first = _MOMENTS[0] * first + (1 - _MOMENTS[0]) * gradient
            second = _MOMENTS[1] * second + (1 - _MOMENTS[1]) * gradient**2
            mean, square = first / (1 - _MOMENTS[0] ** step), second / (1 - _MOMENTS[1] ** step)
            keys = (1 - rate * _DECAY) * keys - rate * mean / (np.sqrt(square) + _EPSILON)
    return np.asarray(keys, dtype=np.float32)


def gradient_of(
    keys: NDArray[np.float64],
    x: NDArray[np.float64],
    classes: Rows,
    truth: Rows,
    zero_shot: NDArray[np.float64],
    alpha: float,
    beta: float,
) -> NDArray[np.float64]:
    """The derivatives of the mean cross-entropy with respect to the keys, float64 of shape (n_keys, dim).

    Parameters
    ----------
    keys : float64 of shape (n_keys, dim)
    x : float64 of shape (n, dim)
    classes : int64 of shape (n_keys,), ascending
    truth : int64 of shape (n,)
    zero_shot : float64 of shape (n, n_classes)
    alpha, beta : float
    """
    affinities = np.exp(-beta * (1.0 - x @ keys.T))
    firsts = np.flatnonzero(np.diff(classes, prepend=-1))
    logits = zero_shot.copy()
    logits[:, classes[firsts]] += alpha * np.add.reduceat(affinities, firsts, axis=1)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(x)), truth] -= 1.0
    return np.asarray((alpha * beta / len(x) * affinities * chances[:, classes]).T @ x)


def _steps(
    zero_shot: NDArray[np.float64],
    sums: NDArray[np.float64],
    truth: Rows,
    beta: float,
    among: AdapterSettings,
    *,
    alone: bool,
) -> Iterable[AdapterStep]:
    """The best alpha for a beta, ``alone`` or after zero-shot, which does not depend on beta."""
    alphas = ALPHAS if among.alpha is None else (among.alpha,)
    steps = [AdapterStep(alpha, beta, *judged(zero_shot + alpha * sums, truth)) for alpha in alphas]
    best = min(steps, key=lambda step: _rank(step, among.by))
    return [best] if alone or best is steps[0] else [steps[0], best]


def _rank(step: AdapterStep, by: str) -> tuple[float, float, float, float]:
    worst = (-step.accuracy, step.loss) if by == "accuracy" else (step.loss, -step.accuracy)
    return (*worst, step.alpha, step.beta)
