"""Prototypes that are close to each other: classes whose prompts pull them towards another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsretrieve.domain.errors import RankError
from zsretrieve.domain.names import plain_name
from zsretrieve.domain.plain import Result
from zsretrieve.domain.vectors import Scores, Vectors
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.store.indexes import Prototypes

PAIRS = 20

_CHUNK_ELEMENTS = 1 << 22
# Images per search of the index.
_SEARCHED = 1 << 16
# Tukey's fence: what is further above the third quartile than so many interquartile ranges is far out.
_FENCE = 1.5
# From here on two prototypes are equal up to rounding: no image can distinguish them.
EQUAL = 1.0 - 1e-6


@dataclass(frozen=True)
class Pair(Result):
    """Two classes and the cosine similarity of their prototypes.

    ``same_name`` ignores case and underscores. ``first_as_second`` of ``n_first`` labelled images are mistaken for the
    second class, and the other way round; None without labelled images.
    """

    similarity: float
    first_id: int
    first: str
    second_id: int
    second: str
    same_name: bool
    first_as_second: int | None = None
    n_first: int | None = None
    second_as_first: int | None = None
    n_second: int | None = None

    @property
    def is_equal(self) -> bool:
        """Whether the prototypes are equal up to rounding."""
        return self.similarity > EQUAL


@dataclass(frozen=True)
class Nearest(Result):
    """The class whose prototype is nearest to that of another.

    ``close`` if it is nearer than is usual among the classes, or has the same name. The counts are those of ``Pair``.
    """

    class_id: int
    class_name: str
    nearest_id: int
    nearest: str
    similarity: float
    same_name: bool
    close: bool
    first_as_second: int | None = None
    n_first: int | None = None
    second_as_first: int | None = None
    n_second: int | None = None


@dataclass(frozen=True)
class Similar:
    """The most similar pairs, best first, and the nearest class of each class in the order of their ids.

    ``usual`` is the median similarity to the nearest class. Above ``fence`` a class is called close: the third quartile
    plus 1.5 interquartile ranges (Tukey 1977, Exploratory Data Analysis), but never higher than where two are equal up
    to rounding. ``n_drawn`` images were not counted, since the prototypes were made from them.
    """

    prototypes: Prototypes
    pairs: tuple[Pair, ...]
    nearest: tuple[Nearest, ...]
    usual: float
    fence: float
    n_drawn: int = 0

    def matrix(self) -> Iterator[tuple[int, Scores]]:
        """All similarities, float32 rows of shape (some, n_classes), each time with the number of the first row."""
        return _similarities(self.prototypes.vectors)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.prototypes.space.model,
            "n_classes": len(self.prototypes.vectors),
            "usual_nearest": self.usual,
            "close_above": self.fence,
            "n_drawn": self.n_drawn,
            "pairs": [row.to_dict() for row in self.pairs],
            "nearest": [row.to_dict() for row in self.nearest],
        }


def similar(prototypes: Prototypes, *, pairs: int = PAIRS, labelled: Labelled | None = None) -> Similar:
    """Compare every prototype with every other, in float64 rounded to float32.

    Parameters
    ----------
    prototypes : Prototypes
    pairs : int
        How many pairs to list, at most.
    labelled : Labelled, optional
        Images of these classes, to count which are mistaken for each other.

    Raises
    ------
    RankError
        If there is only one class, or no pair is asked for.
    """
    names = prototypes.prompts.class_names
    n_classes = len(names)
    if n_classes < 2:
        raise RankError("one class alone is not similar to another", hint="Give at least two classes.")
    if pairs < 1:
        raise RankError(f"pairs must be at least 1, got {pairs}", hint="Ask for at least one pair.")
    nearest = np.empty(n_classes, dtype=np.int64)
    nearest_scores = np.empty(n_classes, dtype=np.float32)
    best_scores, best_at = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    for start, scores in _similarities(prototypes.vectors):
        rows = np.arange(start, start + len(scores))
        scores[rows - start, rows] = -np.inf
        nearest[rows] = scores.argmax(axis=1)  # ties to the lowest id
        nearest_scores[rows] = scores[rows - start, nearest[rows]]
        scores[np.arange(n_classes)[None, :] < rows[:, None]] = -np.inf
        flat = scores.ravel()
        most = min(pairs, len(flat))
        least = np.partition(flat, len(flat) - most)[len(flat) - most]
        at = np.flatnonzero((flat >= least) & np.isfinite(flat))  # with ties, of which the lowest ids come first
        best_scores = np.concatenate([best_scores, flat[at]])
        best_at = np.concatenate([best_at, at + start * n_classes])
        order = np.lexsort((best_at, -best_scores))[:pairs]
        best_scores, best_at = best_scores[order], best_at[order]
    low, usual, high = np.quantile(nearest_scores.astype(np.float64), [0.25, 0.5, 0.75])
    fence = min(float(high + _FENCE * (high - low)), EQUAL)
    folded = [plain_name(name) for name in names]
    confusions = _confusions(labelled, prototypes)

    best_pairs = []
    for score, place in zip(best_scores.tolist(), best_at.tolist(), strict=True):
        first, second = divmod(place, n_classes)
        same = folded[first] == folded[second]
        best_pairs.append(
            Pair(round(score, 7), first, names[first], second, names[second], same, *confusions(first, second))
        )
    of_each = []
    for first, (second, score) in enumerate(zip(nearest.tolist(), nearest_scores.tolist(), strict=True)):
        same = folded[first] == folded[second]
        close = same or score > fence
        of_each.append(
            Nearest(
                first, names[first], second, names[second], round(score, 7), same, close, *confusions(first, second)
            )
        )
    n_drawn = 0 if labelled is None else labelled.n_drawn
    return Similar(prototypes, tuple(best_pairs), tuple(of_each), float(usual), fence, n_drawn)


def _similarities(prototypes: Vectors) -> Iterator[tuple[int, Scores]]:
    """The matrix of all similarities, float32, some rows at a time with the number of the first."""
    wide = prototypes.astype(np.float64)
    step = max(1, _CHUNK_ELEMENTS // len(wide))
    for start in range(0, len(wide), step):
        yield start, (wide[start : start + step] @ wide.T).astype(np.float32)


def _confusions(labelled: Labelled | None, prototypes: Prototypes) -> Callable[[int, int], tuple[int, ...]]:
    """What counts the images of two classes that are mistaken for each other: the last four fields of ``Pair``."""
    if labelled is None:
        return lambda *_: ()
    n_classes, truth = len(prototypes.vectors), labelled.truth
    predicted = [
        prototypes.index.search(labelled.vectors[start : start + _SEARCHED], 1)[1][:, 0]
        for start in range(0, len(truth), _SEARCHED)
    ]
    of_class = np.bincount(truth, minlength=n_classes).tolist()
    counts = Counter((truth * n_classes + np.concatenate(predicted)).tolist())

    def count(first: int, second: int) -> tuple[int, ...]:
        return counts[first * n_classes + second], of_class[first], counts[second * n_classes + first], of_class[second]

    return count
