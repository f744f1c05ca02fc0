"""The results of classification and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.arguments import check_fields
from zsretrieve.domain.errors import RankError
from zsretrieve.domain.intervals import Interval as Interval
from zsretrieve.domain.plain import Result, Table, flat, plain
from zsretrieve.domain.prediction_sets import SetReport
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.vectors import Rows, Scores

# A fitted scale is searched from a hundredth of the model's own to a hundred times it.
FARTHEST = 100.0
# A scale this close to either end of that range has met the end; it is not a minimum.
_NEARLY = 0.99

# The largest threshold for each measure of confidence: scores are from -1 to 1.
_MOST = {"probability": 1, "margin": 2}
CONFIDENCES = tuple(_MOST)


@dataclass(frozen=True)
class PairedDifference(Result):
    """How much more often the second of two ways is right than the first, on the same ``n`` images.

    ``difference`` is a fraction of ``n``; ``only_first`` and ``only_second`` count images on which only one is right.
    """

    difference: float
    interval: Interval
    only_first: int
    only_second: int
    n: int
    p_value: float

    _keys: ClassVar[Mapping[str, str]] = {"only_first": "only_first_right", "only_second": "only_second_right"}


@dataclass(frozen=True, eq=False)
class Run:
    """The predictions for every scored image; all figures are computed from them.

    Attributes
    ----------
    paths : tuple of str, length n
        As they are opened (``zsretrieve.images.opening``).
    digests : tuple of str, length n
        The sha256 of each file; empty where unknown.
    truth : int64 of shape (n,)
        Class ids.
    ranked : int64 of shape (n, k)
        Class ids, best first.
    scores : float32 of shape (n, k)
    probabilities : float64 of shape (n, k)
        By the model's own logit scale and bias.
    class_names : tuple of str, length n_classes
    class_keys : tuple of str or None, length n_classes
    model, templates : str
    """

    paths: tuple[str, ...]
    digests: tuple[str, ...]
    truth: NDArray[np.int64]
    ranked: Rows
    scores: Scores
    probabilities: NDArray[np.float64]
    class_names: tuple[str, ...]
    class_keys: tuple[str | None, ...]
    model: str
    templates: str

    def __repr__(self) -> str:
        return f"Run({len(self.paths)} images, {len(self.class_names)} classes, {self.model}, {self.templates})"

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the best class is the true one, bool of shape (n,)."""
        correct: NDArray[np.bool_] = self.ranked[:, 0] == self.truth
        return correct

    @property
    def margins(self) -> NDArray[np.float64]:
        """The lead of the best class's score over the second, float64 of shape (n,); 1 if there is only one class."""
        if self.scores.shape[1] < 2:
            return np.ones(len(self.truth))
        return self.scores[:, 0].astype(np.float64) - self.scores[:, 1]

    def confidence(self, by: str) -> NDArray[np.float64]:
        """The ``probability`` or ``margin`` of the best class, float64 of shape (n,)."""
        return self.margins if by == "margin" else self.probabilities[:, 0]


@dataclass(frozen=True)
class ClassScore(Result):
    """The recall of a class over its scored images."""

    class_id: int
    class_name: str
    n_scored: int
    n_correct: int
    interval: Interval

    @property
    def recall(self) -> float:
        return self.n_correct / self.n_scored

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        interval = content.pop("interval")
        return {**content, "recall": self.recall, "interval": interval}


@dataclass(frozen=True)
class Confusion(Result):
    """How many images of one class were classified as another. Two classes may share a name, but not an id."""

    true_class: str
    predicted_class: str
    count: int
    true_id: int
    predicted_id: int


@dataclass(frozen=True)
class Merged(Result):
    """Prec@1 with classes of equal names counted as one; the strict figure depends on how ties are broken."""

    prec_at_1: float
    interval: Interval
    n_correct: int
    names: tuple[str, ...]

    _keys: ClassVar[Mapping[str, str]] = {"prec_at_1": "prec@1"}


@dataclass(frozen=True)
class Bin(Result):
    """The images whose probability is between ``low`` and ``high``: mean probability, and the fraction correct."""

    low: float
    high: float
    n: int
    mean_probability: float
    accuracy: float


@dataclass(frozen=True)
class Calibration(Result):
    """How well calibrated the probabilities are, with the model's own logit scale and with one fitted to the images.

    ``error`` is the expected calibration error of the best class's probability; ``scale`` is the model's own and
    ``fitted_scale`` minimises ``loss``. Bins have equal width; empty ones are left out. ``kind`` is how scores become
    probabilities. For ``softmax``, the loss is the mean negative log-likelihood of the true class, in nats. A
    ``sigmoid`` model scores each class independently, so its best class's sigmoid counts as the probability that this
    class is right, and the loss is that of this single yes/no question; the bias is divided by the same temperature as
    the scale. ``fitted_on`` is the number of images that the scale was fitted to, None if all.
    """

    kind: str
    scale: float
    error: float
    loss: float
    bins: tuple[Bin, ...]
    fitted_scale: float
    fitted_error: float
    fitted_loss: float
    fitted_bins: tuple[Bin, ...]
    fitted_on: int | None = None

    @property
    def at_limit(self) -> int:
        """1 if the loss still falls at the largest scale searched, -1 at the smallest, 0 at a minimum in between."""
        factor = self.fitted_scale / self.scale
        return int(factor >= _NEARLY * FARTHEST) - int(factor <= 1 / (_NEARLY * FARTHEST))

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "at_limit": self.at_limit}


@dataclass(frozen=True)
class CoveragePoint(Result):
    """Only images with at least this confidence are answered: which fraction that is, and how many are right."""

    threshold: float
    coverage: float
    accuracy: float
    n_answered: int


@dataclass(frozen=True)
class Reject:
    """Which images are answered with "unknown": those whose ``by`` (``probability`` or ``margin``) is under ``below``.

    Instead of ``below``, ``wanted`` is a precision of the answers: the lowest threshold that reaches it on labelled
    images is used.

    Raises
    ------
    RankError
        If ``by`` is neither, or there is not exactly one of a threshold and a precision, or it is out of range.
    """

    by: str = "probability"
    below: float | None = None
    wanted: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.by not in _MOST:
            raise RankError(
                f"images cannot be rejected by '{self.by}'", hint=f"Reject them by {' or '.join(CONFIDENCES)}."
            )
        if (self.below is None) == (self.wanted is None):
            raise RankError("give either a threshold or a wanted precision", hint="Give exactly one of the two.")
        most = _MOST[self.by]
        if self.below is not None and not 0 <= self.below <= most:
            raise RankError(
                f"the {self.by} threshold must be between 0 and {most}, got {self.below:g}",
                hint="A probability is a fraction; a margin is a difference of scores.",
            )
        if self.wanted is not None and not 0 < self.wanted <= 1:
            raise RankError(f"the wanted precision must be a fraction, got {self.wanted:g}", hint="Give 0.95 for 95 %.")


@dataclass(frozen=True)
class Rejection(Result):
    """What a threshold on ``by`` (``probability`` or ``margin``) does; below it, the answer is "unknown".

    ``wanted`` is the precision that the threshold was chosen for, if it was. ``coverage`` is the fraction of the images
    that is answered, ``precision`` the fraction of the answers that is right; None if nothing is answered.
    """

    by: str
    threshold: float
    wanted: float | None
    n_answered: int
    n_correct: int
    coverage: float
    precision: float | None
    interval: Interval | None


# How retrieval figures at several k are written.
_AT_K = {"precision_at": "precision", "recall_at": "recall"}


@dataclass(frozen=True)
class ClassRetrieval(Result):
    """One class's prototype as a query over the images, of which ``n_relevant`` belong to the class."""

    class_id: int
    class_name: str
    n_relevant: int
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    average_precision: float

    _keys: ClassVar[Mapping[str, str]] = _AT_K


@dataclass(frozen=True)
class Retrieval(Result):
    """Class-to-image retrieval: each class as a query over the images; means over the classes that occur.

    ``precision_at`` and ``recall_at`` are by k, at most the number of images. ``interval`` is a bootstrap over classes.
    """

    mean_average_precision: float
    interval: Interval
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    per_class: tuple[ClassRetrieval, ...]

    _keys: ClassVar[Mapping[str, str]] = _AT_K


@dataclass(frozen=True)
class Baseline(Result):
    """What other prototypes get right on the same images, and how much more often the report's are right."""

    templates: str
    n_correct: int
    interval: Interval
    difference: PairedDifference

    def to_dict(self) -> dict[str, Any]:
        """Its fields, with its Prec@1."""
        return {"prec@1": self.n_correct / self.difference.n, **super().to_dict()}


@dataclass(frozen=True)
class EvalReport(Result, Table):
    """Zero-shot classification as retrieval. Rates are fractions of ``n_scored``.

    ``run`` holds the predictions. ``prec_interval`` are Wilson intervals, ``mean_interval`` is a bootstrap over
    classes. ``merged`` is there if two classes share a name; ``coverage`` holds a curve for ``probability`` and one for
    ``margin``; ``rejection`` and ``retrieval`` are there if they were requested. ``where`` is the filter that the
    images passed, if any; ``skipped`` are those of the whole gallery. ``n_drawn`` counts the images that the prototypes
    were made from; they are not scored unless ``shots_included``. ``n_tied`` counts images on which classes of
    different names share the best score, so that only the tie rule decides. ``n_by_number`` counts the labels that were
    read as class numbers, from 0. ``prediction_sets`` and ``baseline`` are there if they were requested.
    """

    run: Run = field(repr=False, compare=False)
    n_scored: int
    n_correct: int
    prec_at: dict[int, float]
    prec_interval: dict[int, Interval]
    mean_per_class_recall: float
    mean_interval: Interval
    n_classes: int
    per_class: tuple[ClassScore, ...]
    confusions: tuple[Confusion, ...]
    skipped: tuple[Skipped, ...]
    unlabelled: int
    model: str
    templates: str
    where: str | None = None
    merged: Merged | None = None
    calibration: Calibration | None = None
    coverage: dict[str, tuple[CoveragePoint, ...]] = field(default_factory=dict)
    rejection: Rejection | None = None
    retrieval: Retrieval | None = None
    n_drawn: int = 0
    n_tied: int = 0
    n_by_number: int = 0
    shots_included: bool = False
    prediction_sets: SetReport | None = None
    baseline: Baseline | None = None

    @property
    def prec_at_1(self) -> float:
        return self.n_correct / self.n_scored

    def __repr__(self) -> str:
        rate = f"Prec@1 {100 * self.prec_at_1:.2f} % = {self.n_correct} / {self.n_scored}"
        return f"EvalReport({rate}, {self.n_classes} classes, {self.model}, templates: {self.templates})"

    def rows(self) -> list[dict[str, Any]]:
        """One row for each class that occurs."""
        return [flat(score.to_dict()) for score in self.per_class]

    def _shown(self) -> list[dict[str, Any]]:
        rates = [(f"Prec@{k}", rate, self.prec_interval[k]) for k, rate in self.prec_at.items()]
        rates.append(("mean per-class recall", self.mean_per_class_recall, self.mean_interval))
        return [{"figure": name, "value": rate, "low": ends.low, "high": ends.high} for name, rate, ends in rates]

    @property
    def is_at_chance(self) -> bool:
        """Whether guessing among the classes would do as well, as far as the interval of Prec@1 shows."""
        return self.n_classes > 1 and self.prec_interval[1].low <= 1 / self.n_classes

    def to_dict(self) -> dict[str, Any]:
        """All figures. ``prec@1`` and ``prec@5`` are always there, None if not computed."""
        ranks = sorted({1, 5, *self.prec_at})
        return {
            **{f"prec@{k}": self.prec_at.get(k) for k in ranks},
            **{f"prec@{k}_interval": plain(self.prec_interval.get(k)) for k in ranks},
            "mean_per_class_recall": self.mean_per_class_recall,
            "mean_per_class_recall_interval": self.mean_interval.to_dict(),
            "n_correct": self.n_correct,
            "n_scored": self.n_scored,
            "n_skipped": len(self.skipped),
            "n_unlabelled": self.unlabelled,
            "n_labels_as_numbers": self.n_by_number,
            "n_drawn": self.n_drawn,
            "shots_included": self.shots_included,
            "n_tied": self.n_tied,
            "n_classes": self.n_classes,
            "n_classes_scored": len(self.per_class),
            "model": self.model,
            "templates": self.templates,
            "where": self.where,
            "merged": plain(self.merged),
            "calibration": plain(self.calibration),
            "rejection": plain(self.rejection),
            "retrieval": plain(self.retrieval),
            "prediction_sets": plain(self.prediction_sets),
            "baseline": plain(self.baseline),
            "coverage": plain(self.coverage),
            "per_class": plain(self.per_class),
            "confusions": plain(self.confusions),
        }
