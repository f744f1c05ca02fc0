"""A linear probe: logistic regression on frozen vectors, stored as an index that is searched like any other."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.plain import Result
from zsretrieve.domain.ports import IndexBackend, OnProgress
from zsretrieve.domain.records import Head, ScoreHead
from zsretrieve.domain.shots import Regularisation, Shots
from zsretrieve.domain.training import Training, TrainingMethod
from zsretrieve.domain.vectors import Rows, Vectors, augmented_rows
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.splits import draw, validation_of
from zsretrieve.prototypes.images import TrainedPrototypes, TrainingImages, of_training, without_prompts

# The grid of Radford et al. 2021, appendix A.3: 96 steps of an eighth of a decade from 1e-6 to 1e6.
_STEPS_PER_DECADE, _LOWEST_DECADE, _LAST = 8, -6, 96
_FIRST_STRIDE = 2 * _STEPS_PER_DECADE
_MAX_ITERATIONS = 1000
# A fit has converged when no partial derivative is above either; see _tolerance.
_TOLERANCE, _OF_THE_FIRST = 1e-4, 1e-2
# For the case that no class has a second image to validate with.
DEFAULT_C = 10.0


@dataclass(frozen=True)
class SweepStep(Result):
    """One strength of regularisation, ``c`` its inverse.

    ``accuracy`` and ``loss`` (the mean negative log-likelihood) are those of the validation images; ``converged`` is
    False if the iterations did not suffice.
    """

    c: float
    accuracy: float
    loss: float
    converged: bool


@dataclass(frozen=True)
class Sweep:
    """How the regularisation of a probe was chosen. ``steps`` ascend by ``c``, and are empty if nothing was swept.

    The sweep fitted ``n_fit`` images and judged on ``n_validation`` others; the probe itself is fitted to all of them.
    """

    c: float
    steps: tuple[SweepStep, ...]
    n_fit: int
    n_validation: int


@dataclass(frozen=True)
class TrainedProbe(TrainedPrototypes):
    """A probe as prototypes, and how its regularisation was chosen. ``converged`` is about its last fit."""

    sweep: Sweep
    converged: bool

    def to_dict(self) -> dict[str, Any]:
        """The sweep; accuracies are fractions of ``n_validation`` images."""
        return {
            "c": self.sweep.c,
            "converged": self.converged,
            "n_images": self.training.n_images,
            "n_classes": len(self.prototypes.vectors),
            "shots": self.training.shots,
            "seed": self.training.seed,
            "n_fit": self.sweep.n_fit,
            "n_validation": self.sweep.n_validation,
            "sweep": [step.to_dict() for step in self.sweep.steps],
        }


@dataclass(frozen=True, eq=False)
class Linear:
    """``weights``, float64 of shape (n_classes, dim), and ``bias``, of shape (n_classes,), of a softmax."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    converged: bool

    def logits(self, vectors: Vectors) -> NDArray[np.float64]:
        return np.asarray(vectors.astype(np.float64) @ self.weights.T + self.bias)


def fit(vectors: Vectors, truth: NDArray[np.int64], c: float) -> Linear:
    """Multinomial logistic regression with an L2 penalty on its weights, by scikit-learn's lbfgs in float64.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
    truth : int64 of shape (n,)
        Two classes or more; each from 0 to the greatest must occur.
    c : float
        Inverse strength of the penalty: what is minimised is 0.5 |w|^2 + c times the sum of the losses.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    wide = vectors.astype(np.float64)
    model = LogisticRegression(C=c, solver="lbfgs", max_iter=_MAX_ITERATIONS, tol=_tolerance(wide, truth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations shows it
        warnings.filterwarnings("ignore", "The number of unique classes")  # there may be few images of each
        model.fit(wide, truth)
    weights, bias = np.asarray(model.coef_, dtype=np.float64), np.asarray(model.intercept_, dtype=np.float64)
    if len(weights) == 1:
        # For two classes there is one logit; half of it for one class and against the other is the same softmax.
        weights, bias = np.vstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    # What all classes share does not change the softmax, and would only lengthen the stored rows.
    converged = bool(np.max(model.n_iter_) < _MAX_ITERATIONS)
    return Linear(weights - weights.mean(axis=0), bias - bias.mean(), converged)


def sweep(
    labelled: Labelled,
    rows: Rows,
    seed: int,
    *,
    validation: float = 0.2,
    by: str = "loss",
    on_progress: OnProgress | None = None,
) -> Sweep:
    """Choose the regularisation on a part of the images, over the grid of Radford et al. 2021, appendix A.3.

    ``c`` = 1e-6, 1e-4, ... 1e6 are tried, then the best one's neighbours at half the distance, and so on down to an
    eighth of a decade. Best is the least loss on the validation images, a proper scoring rule; ties go to the greatest
    accuracy there, then to the least c. In the paper, and ``by`` accuracy, it is the greatest accuracy, and ties go to
    the least loss. The validation images are drawn from each class that has two images or more; if none has, ``c`` is
    ``DEFAULT_C``.

    Parameters
    ----------
    labelled : Labelled
    rows : int64 of shape (n,)
        Those to train on, each image once.
    seed : int
        Draws the validation images.
    validation : float
        The share of each class that is held back.
    by : str
        ``loss`` or ``accuracy``.
    on_progress : callable, optional
        Called with (fits done, fits at most).
    """
    some = labelled.at(rows)
    held = validation_of(some, seed, validation)
    if not len(held):
        return Sweep(DEFAULT_C, (), len(rows), 0)
    fitted = np.setdiff1d(np.arange(len(rows)), held)
    tried: dict[int, SweepStep] = {}
    strides = [_FIRST_STRIDE >> n for n in range(1, _FIRST_STRIDE.bit_length())]
    at_most = _LAST // _FIRST_STRIDE + 1 + 2 * len(strides)

    def try_(step: int) -> None:
        if 0 <= step <= _LAST and step not in tried:
            tried[step] = _judged(some, fitted, held, grid(step))
            if on_progress is not None:
                on_progress(len(tried), at_most)

    def best() -> int:
        def rank(step: int) -> tuple[float, float, int]:
            loss, accuracy = tried[step].loss, -tried[step].accuracy
            return (accuracy, loss, step) if by == "accuracy" else (loss, accuracy, step)

        return min(tried, key=rank)

    for step in range(0, _LAST + 1, _FIRST_STRIDE):
        try_(step)
    for stride in strides:
        middle = best()
        try_(middle - stride)
        try_(middle + stride)
    steps = tuple(tried[step] for step in sorted(tried))
    return Sweep(grid(best()), steps, len(fitted), len(held))


def grid(step: int) -> float:
    """The c of a step of the grid, from 0 to 96."""
    return float(10.0 ** (_LOWEST_DECADE + step / _STEPS_PER_DECADE))


def train_probe(
    images: TrainingImages,
    shots: Shots,
    backend: IndexBackend,
    *,
    regularisation: Regularisation | None = None,
    on_progress: OnProgress | None = None,
) -> TrainedProbe:
    """Train a probe and keep it as prototypes, in memory.

    The inner product of row k of the prototypes and a query gives ``w_k.x + b_k`` (``domain.vectors.augmented_rows``).
    So the same exact search finds the class of the greatest logit, and the head turns scores into the probe's own
    probabilities.

    Parameters
    ----------
    images : TrainingImages
        Of the classes that the probe is to distinguish.
    shots : Shots
        The seed also draws the validation images.
    backend : IndexBackend
    regularisation : Regularisation, optional
    on_progress : callable, optional
        Called with (fits done, fits at most) of the sweep.

    Raises
    ------
    SourceError
        If a class has no image or too few, or there is only one class.
    """
    labelled = images.labelled
    check_classes(len(labelled.prompts.class_names))
    drawn = draw(labelled, shots.per_class, shots.seed, allow_fewer=shots.allow_fewer)
    swept, linear = probe_of(
        labelled, drawn.rows, shots.seed, regularisation or Regularisation(), on_progress=on_progress
    )
    rows, scale = augmented_rows(linear.weights, linear.bias)
    training = Training(TrainingMethod.PROBE, images.source, shots.per_class, shots.seed, len(drawn.rows), c=swept.c)
    prototypes = of_training(
        images,
        drawn,
        rows,
        without_prompts(labelled.prompts),
        training,
        backend,
        head=Head(ScoreHead.SOFTMAX, scale),
        augmented=True,
    )
    return TrainedProbe.of(prototypes, images, drawn, sweep=swept, converged=linear.converged)


def probe_of(
    labelled: Labelled,
    rows: Rows,
    seed: int,
    regularisation: Regularisation,
    *,
    on_progress: OnProgress | None = None,
) -> tuple[Sweep, Linear]:
    """Choose the regularisation, unless it is given, and fit all rows with it. See ``train_probe``."""
    if regularisation.c is not None:
        swept = Sweep(regularisation.c, (), len(rows), 0)
    else:
        swept = sweep(
            labelled, rows, seed, validation=regularisation.validation, by=regularisation.by, on_progress=on_progress
        )
    return swept, fit(labelled.vectors[rows], labelled.truth[rows], swept.c)


def check_classes(n_classes: int, what: str = "a probe") -> None:
    """Raise SourceError, before anything takes long, unless there are two classes."""
    if n_classes < 2:
        raise SourceError(f"{what} needs at least two classes, and there is only one", hint="Add a class.")


def _tolerance(wide: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """How small the partial derivatives with respect to the weights must become; ``wide`` is float64 of shape (n, dim).

    scikit-learn minimises the mean loss, so the more classes there are, the smaller the derivatives at the start. With
    a thousand classes they may all be below its own tolerance, and nothing would be trained at all. So they have to
    fall to a hundredth of their largest value at zero weights.
    """
    n_classes = int(truth.max()) + 1
    sums = np.zeros((n_classes, wide.shape[1]))
    np.add.at(sums, truth, wide)
    at_first = float(np.abs(sums - wide.sum(axis=0) / n_classes).max()) / len(wide)
    return min(_TOLERANCE, _OF_THE_FIRST * at_first) or _TOLERANCE


def _judged(some: Labelled, fitted: Rows, held: Rows, c: float) -> SweepStep:
    linear = fit(some.vectors[fitted], some.truth[fitted], c)
    accuracy, loss = judged(linear.logits(some.vectors[held]), some.truth[held])
    return SweepStep(c, accuracy, loss, linear.converged)


def judged(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[float, float]:
    """The share of images that are right, ties to the lowest class id, and the mean negative log-likelihood.

    Parameters
    ----------
    logits : float64 of shape (n, n_classes)
    truth : int64 of shape (n,)
    """
    top = logits.max(axis=1, keepdims=True)
    losses = (top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))) - logits[np.arange(len(truth)), truth]
    return float((logits.argmax(axis=1) == truth).mean()), float(losses.mean())
