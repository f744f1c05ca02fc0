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

    ``error`` is the expected calibration error of the top probability; ``scale`` the model's own, ``fitted_scale`` the
    one of least ``loss``. Bins are of equal width; those without an image are left out. ``kind`` tells how scores
    become probabilities. For ``softmax`` the loss is the mean negative log-likelihood of the true class, in nats. A
    ``sigmoid`` model judges each class for itself, so what is judged is the best class's own sigmoid as the
    probability that this class is right, and the loss is that of this one yes or no; its bias is divided by the same
    temperature as its scale. ``fitted_on`` is the number of images that the scale was fitted to, where that is not all.
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


@dataclass(frozen=True)
class CoveragePoint:
    """Answering only from a threshold on: the part of the images that is answered, and how many of these are right."""

    threshold: float
    coverage: float
    accuracy: float
    n_answered: int


@dataclass(frozen=True)
class Reject:
    """What shall be answered with "unknown": images whose ``by`` (``probability`` or ``margin``) is under ``below``.

    Instead of ``below`` the precision that is ``wanted`` of the answers may be given; the lowest threshold that reaches
    it on labelled images is then taken.
    """

    by: str = "probability"
    below: float | None = None
    wanted: float | None = None


@dataclass(frozen=True)
class Rejection:
    """What happens below a threshold on ``by`` (``probability`` or ``margin``): the answer is "unknown".

    ``wanted`` is the precision that the threshold was chosen for, if it was. ``coverage`` is the share of the images
    that is answered, ``precision`` that of the answers which are right, None if nothing is answered.
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
    """One class's prototype as a query over the images, of which ``n_relevant`` are of the class."""

    class_id: int
    class_name: str
    n_relevant: int
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    average_precision: float


@dataclass(frozen=True)
class Retrieval:
    """The other direction: each class as a query over the images; means over the classes that occur.

    The keys of ``precision_at`` and ``recall_at`` are the k that were asked for, at most the number of images.
    ``interval`` is a bootstrap over classes.
    """

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
    ``n_tied`` is how many pictures another class of another name scores just as high on: who is first among them is
    the tie rule's matter alone.
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
    n_tied: int = 0
    shots_included: bool = False

    @property
    def prec_at_1(self) -> float:
        return self.n_correct / self.n_scored


@dataclass(frozen=True)
class ClassChange:
    """How many of one class's ``n`` images each of two ways gets right."""

    class_id: int
    class_name: str
    n: int
    first_correct: int
    second_correct: int

    @property
    def change(self) -> float:
        """The recall of the second less that of the first."""
        return (self.second_correct - self.first_correct) / self.n


@dataclass(frozen=True)
class Flip:
    """An image on which one of two ways alone is right: ``won`` if it is the second."""

    path: str
    true_class: str
    first_class: str
    second_class: str
    won: bool


@dataclass(frozen=True)
class Side:
    """One of two ways, on the images that both have scored."""

    model: str
    templates: str
    n_correct: int
    prec_at_1: float
    interval: Interval
    n_left_out: int


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same images.

    Attributes
    ----------
    n : int
        Images that both have scored; each side counts those that it alone has, which are left out.
    matched_by : str
        ``digest``, or ``path`` where a run does not know all digests.
    first, second : Side
    difference : PairedDifference
    both_right, both_wrong : int
    won, lost : tuple of ClassChange
        The classes of which the second gets more right, or fewer; greatest change of recall first.
    n_unchanged : int
        Classes that occur and are neither.
    flips : tuple of Flip
        In the order of the first run.
    """

    n: int
    matched_by: str
    first: Side
    second: Side
    difference: PairedDifference
    both_right: int
    both_wrong: int
    won: tuple[ClassChange, ...]
    lost: tuple[ClassChange, ...]
    n_unchanged: int
    flips: tuple[Flip, ...]
