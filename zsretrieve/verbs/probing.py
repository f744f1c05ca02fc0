"""A linear probe: logistic regression on frozen vectors, kept as an index that is searched like any other."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import SourceError
from zsretrieve.ports import IndexBackend
from zsretrieve.records import Encoding, Head, ScoreHead, Training, TrainingMethod
from zsretrieve.vectors import Rows, Vectors, lifted_rows
from zsretrieve.verbs.drawing import draw, first_of, repeated
from zsretrieve.verbs.few_shot import Trained, trained, without_prompts
from zsretrieve.verbs.labelled import Labelled

# The grid of Radford et al. 2021, appendix A.3: 96 steps of an eighth of a decade from 1e-6 to 1e6.
_STEPS_PER_DECADE, _LOWEST_DECADE, _LAST = 8, -6, 96
_FIRST_STRIDE = 2 * _STEPS_PER_DECADE
_MAX_ITERATIONS = 1000
# A fit is done when no partial derivative is above either; see _tolerance.
_TOLERANCE, _OF_THE_FIRST = 1e-4, 1e-2
# Beyond these the penalty or its inverse is lost among the roundings.
_LEAST_C, _MOST_C = 1e-12, 1e12
# Where no class has a second picture to validate with, there is nothing to choose by.
DEFAULT_C = 10.0
DEFAULT_VALIDATION = 0.2

OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class SweepStep:
    """One strength of regularisation, ``c`` its inverse. ``accuracy`` and ``loss`` (the mean negative log-likelihood)
    are those of the validation images; ``converged`` is false where the iterations did not suffice.
    """

    c: float
    accuracy: float
    loss: float
    converged: bool


@dataclass(frozen=True)
class Sweep:
    """How the regularisation of a probe was chosen. ``steps`` ascend by ``c``, and are empty where nothing was swept.

    ``n_fit`` images were fitted and ``n_validation`` others judged in the sweep; the probe itself is of all of them.
    """

    c: float
    steps: tuple[SweepStep, ...]
    n_fit: int
    n_validation: int


@dataclass(frozen=True)
class TrainedProbe:
    """A probe as prototypes, and how its regularisation was chosen. ``converged`` tells of its last fit."""

    made: Trained
    sweep: Sweep
    converged: bool


@dataclass(frozen=True, eq=False)
class Linear:
    """``weights`` float64 of shape (n_classes, dim) and ``bias`` of shape (n_classes,): their softmax is the model."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    converged: bool

    def logits(self, vectors: Vectors) -> NDArray[np.float64]:
        found: NDArray[np.float64] = vectors.astype(np.float64) @ self.weights.T + self.bias
        return found


def fit(vectors: Vectors, truth: NDArray[np.int64], c: float) -> Linear:
    """Multinomial logistic regression with an L2 penalty on its weights, by scikit-learn's lbfgs in float64.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
    truth : int64 of shape (n,)
        Every class from 0 to the greatest must occur.
    c : float
        Inverse strength of the penalty: of 0.5 |w|^2 + c times the sum of the losses.

    Raises
    ------
    SourceError
        If there is only one class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(truth)) < 2:
        raise SourceError("a probe tells classes apart, and there is only one", hint="Give images of two classes.")
    wide = vectors.astype(np.float64)
    model = LogisticRegression(C=c, solver="lbfgs", max_iter=_MAX_ITERATIONS, tol=_tolerance(wide, truth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is told by the number of iterations
        warnings.filterwarnings("ignore", "The number of unique classes")  # few images of each are what this is about
        model.fit(wide, truth)
    weights, bias = np.asarray(model.coef_, dtype=np.float64), np.asarray(model.intercept_, dtype=np.float64)
    if len(weights) == 1:
        # Of two classes one logit is given; half of it for the one and against the other is the same softmax.
        weights, bias = np.vstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    # What all classes share changes no softmax, and would only lengthen the rows that are kept.
    converged = bool(np.max(model.n_iter_) < _MAX_ITERATIONS)
    return Linear(weights - weights.mean(axis=0), bias - bias.mean(), converged)


def sweep(
    labelled: Labelled,
    rows: Rows,
    seed: int,
    *,
    validation: float = DEFAULT_VALIDATION,
    on_step: OnStep | None = None,
) -> Sweep:
    """Choose the regularisation on a part of the pictures, as Radford et al. 2021 do it in appendix A.3.

    ``c`` = 1e-6, 1e-4, ... 1e6 are tried, then the best one's neighbours at half the distance, and so on down to an
    eighth of a decade. Best is the greatest accuracy on the validation pictures; among equals the least loss there,
    then the least c. These are drawn from each class that has two pictures or more; where none has, ``c`` is
    ``DEFAULT_C``.

    Parameters
    ----------
    labelled : Labelled
    rows : int64 of shape (n,)
        Those to train on, each picture once.
    seed : int
        Draws the validation pictures.
    validation : float
        The share of each class that is held back.
    on_step : callable, optional
        Called with (fits done, fits at most).
    """
    some = labelled.at(rows)
    held = first_of(some, f"validation {seed}", validation)
    # A picture with labels of two classes would stand on both sides.
    held = held[~repeated(some)[held]]
    if not len(held):
        return Sweep(DEFAULT_C, (), len(rows), 0)
    fitted = np.setdiff1d(np.arange(len(rows)), held)
    tried: dict[int, SweepStep] = {}
    strides = [_FIRST_STRIDE >> n for n in range(1, _FIRST_STRIDE.bit_length())]
    at_most = _LAST // _FIRST_STRIDE + 1 + 2 * len(strides)

    def try_(step: int) -> None:
        if 0 <= step <= _LAST and step not in tried:
            tried[step] = _judged(some, fitted, held, grid(step))
            if on_step is not None:
                on_step(len(tried), at_most)

    def best() -> int:
        return min(tried, key=lambda step: (-tried[step].accuracy, tried[step].loss, step))

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
    labelled: Labelled,
    encoding: Encoding,
    backend: IndexBackend,
    *,
    source: str,
    shots: int | None = None,
    seed: int = 0,
    c: float | None = None,
    validation: float = DEFAULT_VALIDATION,
    allow_fewer: bool = False,
    on_step: OnStep | None = None,
) -> TrainedProbe:
    """Train a probe and keep it as prototypes, in memory.

    Row k of the prototypes and a query together give ``w_k.x + b_k`` (``zsretrieve.vectors.lifted_rows``), so the same
    exact search finds the class of the greatest logit, and the head makes the probe's own probabilities of the scores.

    Parameters
    ----------
    labelled : Labelled
        Of the classes that the probe is to tell apart.
    encoding : Encoding
        How the vectors of the pictures were computed.
    backend : IndexBackend
    source : str
        Where the pictures come from, to be noted.
    shots : int, optional
        Pictures of each class; all by default.
    seed : int
        Draws the pictures, and among them those for validation.
    c : float, optional
        The inverse strength of regularisation; swept by default.
    validation : float
        The share of each class's pictures by which it is chosen.
    allow_fewer : bool
        Take all pictures of a class that has fewer than ``shots``.
    on_step : callable, optional
        Called with (fits done, fits at most) of the sweep.

    Raises
    ------
    SourceError
        If a class has no picture or too few, or there is only one class.
    """
    drawn = draw(labelled, shots, seed, allow_fewer=allow_fewer)
    chosen, linear = probe_of(labelled, drawn.rows, seed, c=c, validation=validation, on_step=on_step)
    rows, scale = lifted_rows(linear.weights, linear.bias)
    training = Training(TrainingMethod.PROBE, source, shots, seed, len(drawn.rows), c=chosen.c)
    head = Head(ScoreHead.SOFTMAX, scale)
    return TrainedProbe(
        trained(without_prompts(labelled), drawn, rows, training, head, encoding, backend, lifted=True), chosen,
        linear.converged,
    )  # fmt: skip


def probe_of(
    labelled: Labelled,
    rows: Rows,
    seed: int,
    *,
    c: float | None = None,
    validation: float = DEFAULT_VALIDATION,
    on_step: OnStep | None = None,
) -> tuple[Sweep, Linear]:
    """Choose the regularisation, unless ``c`` is given, and fit all rows with it. See ``train_probe``."""
    check_probe(len(labelled.prompts.class_names), c, validation)
    chosen = (
        Sweep(c, (), len(rows), 0)
        if c is not None
        else sweep(labelled, rows, seed, validation=validation, on_step=on_step)
    )
    return chosen, fit(labelled.vectors[rows], labelled.truth[rows], chosen.c)


def check_probe(n_classes: int, c: float | None, validation: float) -> None:
    """Raise SourceError, before anything long is done, if such a probe cannot be trained."""
    if n_classes < 2:
        raise SourceError("a probe tells classes apart, and there is only one", hint="Give images of two classes.")
    if c is not None and not _LEAST_C <= c <= _MOST_C:
        raise SourceError(
            f"{c} is no inverse strength of regularisation",
            hint=f"Give a number from {_LEAST_C:g} to {_MOST_C:g}, such as 1.",
        )
    if not 0.0 < validation < 1.0:
        raise SourceError(f"{validation} is no share of the images", hint="Give a number between 0 and 1, such as 0.2.")


def _tolerance(wide: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """How small the partial derivatives by the weights must become, float64 of shape (n, dim) being fitted.

    scikit-learn takes the mean of the losses, so the derivatives that it begins with are the smaller the more classes
    there are. With a thousand they may all be below its own tolerance, and nothing would be trained at all. So they
    have to fall to a hundredth of what they are at weights of zero.
    """
    n_classes = int(truth.max()) + 1
    sums = np.zeros((n_classes, wide.shape[1]))
    np.add.at(sums, truth, wide)
    at_first = float(np.abs(sums - wide.sum(axis=0) / n_classes).max()) / len(wide)
    return min(_TOLERANCE, _OF_THE_FIRST * at_first) or _TOLERANCE


def _judged(some: Labelled, fitted: Rows, held: Rows, c: float) -> SweepStep:
    linear = fit(some.vectors[fitted], some.truth[fitted], c)
    logits = linear.logits(some.vectors[held])
    truth = some.truth[held]
    top = logits.max(axis=1, keepdims=True)
    losses = (top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))) - logits[np.arange(len(truth)), truth]
    return SweepStep(c, float((logits.argmax(axis=1) == truth).mean()), float(losses.mean()), linear.converged)
