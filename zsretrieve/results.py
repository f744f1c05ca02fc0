"""The nouns of evaluation: what was found, image by image, and the figures of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zsretrieve.records import Skipped
from zsretrieve.vectors import Rows, Scores


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with 95 % confidence unless it is said otherwise."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """How much more often the second of two ways is right than the first, on the same ``n`` images.

    ``difference`` is a fraction of them; ``only_first`` and ``only_second`` count images on which one alone is right.
    """

    difference: float
    interval: Interval
    only_first: int
    only_second: int
    n: int
    p_value: float


@dataclass(frozen=True, eq=False)
class Run:
    """What a model said to every scored image: all figures are computed from this.

    Attributes
    ----------
    paths : tuple of str, length n
        As they are opened (``zsretrieve.addresses``).
    digests : tuple of str, length n
        The sha256 of each file; empty where it is not known.
    truth : int64 of shape (n,)
        Class ids.
    ranked : int64 of shape (n, k)
        Class ids, best first.
    scores : float32 of shape (n, k)
    probabilities : float64 of shape (n, k)
        What the model makes of the scores, by its own logit scale and bias.
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

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the best class is the true one, bool of shape (n,)."""
        found: NDArray[np.bool_] = self.ranked[:, 0] == self.truth
        return found

    @property
    def margins(self) -> NDArray[np.float64]:
        """How far the best class is before the second, in scores, float64 of shape (n,); 1 where there is one class."""
        if self.scores.shape[1] < 2:
            return np.ones(len(self.truth))
        return self.scores[:, 0].astype(np.float64) - self.scores[:, 1]


@dataclass(frozen=True)
class ClassScore:
    """Recall of one class over its scored images."""

    class_id: int
    class_name: str
    n_scored: int
    n_correct: int

    @property
    def recall(self) -> float:
        return self.n_correct / self.n_scored


@dataclass(frozen=True)
class Confusion:
    """How often images of one class were given another. Two classes may share a name, so their ids are told too."""

    true_class: str
    predicted_class: str
    count: int
    true_id: int
    predicted_id: int


@dataclass(frozen=True)
class Merged:
    """The score where classes of identical names count as one: the strict one depends on how ties are broken."""

    prec_at_1: float
    interval: Interval
    n_correct: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Bin:
    """The images whose probability lies in a bin: their mean probability and how many are right."""

    low: float
    high: float
    n: int
    mean_probability: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be believed, with the model's own logit scale and with one fitted to these images.

    ``error`` is the expected calibration error of the top probability, ``loss`` the mean negative log-likelihood of
    the true class; ``scale`` the model's own, ``fitted_scale`` the one of least loss. ``kind`` tells how scores become
    probabilities. Bins are of equal width.
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


@dataclass(frozen=True)
class CoveragePoint:
    """Answering only from a threshold on: the part of the images that is answered, and how many of these are right."""

    threshold: float
    coverage: float
    accuracy: float
    n_answered: int


@dataclass(frozen=True)
class Rejection:
    """What happens below a threshold on ``by`` (``probability`` or ``margin``): the answer is "unknown".

    ``wanted`` is the precision that the threshold was chosen for, if it was.
    """

    by: str
    threshold: float
    wanted: float | None
    n_answered: int
    n_correct: int
    coverage: float
    precision: float | None
    interval: Interval | None


@dataclass(frozen=True)
class ClassRetrieval:
    """One class's prototype as a query over the images; ``n_relevant`` show it."""

    class_id: int
    class_name: str
    n_relevant: int
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    average_precision: float


@dataclass(frozen=True)
class Retrieval:
    """The other direction: each class as a query over the images; means over the classes that occur."""

    mean_average_precision: float
    interval: Interval
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    per_class: tuple[ClassRetrieval, ...]


@dataclass(frozen=True)
class EvalReport:
    """Zero-shot classification as retrieval. Rates are fractions of ``n_scored``.

    ``prec_interval`` are Wilson intervals, ``mean_interval`` a bootstrap over classes. ``merged`` is there where two
    classes share a name, ``calibration`` where there are probabilities to judge; ``coverage`` holds a curve for
    ``probability`` and one for ``margin``; ``rejection`` and ``retrieval`` are there where they were asked for.
    ``where`` is the filter that the pictures passed, if there was one; ``skipped`` are those of the whole gallery.
    ``n_drawn`` is how many pictures the prototypes were made from: these were left out unless ``shots_included``.
    """

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
    shots_included: bool = False

    @property
    def prec_at_1(self) -> float:
        return self.n_correct / self.n_scored
