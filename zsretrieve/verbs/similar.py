"""Prototypes that are near each other: classes whose prompts pull them towards another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from zsretrieve.errors import RankError
from zsretrieve.labels import plain_name
from zsretrieve.ports import VectorIndex
from zsretrieve.vectors import Scores, Vectors
from zsretrieve.verbs.labelled import Labelled

PAIRS = 20

_CHUNK_ELEMENTS = 1 << 22
# Pictures that are handed to the index at once.
_ASKED = 1 << 16
# Tukey's fence: what lies further above the third quartile than so many interquartile ranges is far out.
_FENCE = 1.5
# From here on two prototypes are equal but for rounding: no picture can tell them apart.
EQUAL = 1.0 - 1e-6


@dataclass(frozen=True)
class Confused:
    """How often pictures of either class of a pair are taken for the other: ``first_as_second`` of ``n_first``."""

    first_as_second: int
    n_first: int
    second_as_first: int
    n_second: int


@dataclass(frozen=True)
class Pair:
    """Two classes and the cosine similarity of their prototypes; ``same_name`` but for case and underscores."""

    first: int
    second: int
    first_name: str
    second_name: str
    similarity: float
    same_name: bool
    confused: Confused | None


@dataclass(frozen=True)
class Nearest:
    """The class whose prototype is nearest to that of another.

    ``close`` if it is nearer than is usual among the classes, or of the same name.
    """

    class_id: int
    class_name: str
    nearest: int
    nearest_name: str
    similarity: float
    same_name: bool
    close: bool
    confused: Confused | None


@dataclass(frozen=True)
class Similar:
    """The most similar pairs, best first, and the nearest class of each class in the order of their ids.

    ``usual`` is the median similarity to the nearest class. Above ``fence`` a class is called close: the third quartile
    and 1.5 interquartile ranges (Tukey 1977, Exploratory Data Analysis), but never more than where two are equal but
    for rounding. ``n_drawn`` pictures were not counted, since the prototypes were made from them.
    """

    pairs: tuple[Pair, ...]
    nearest: tuple[Nearest, ...]
    usual: float
    fence: float
    n_drawn: int = 0


def similar(
    prototypes: Vectors,
    names: Sequence[str],
    *,
    pairs: int = PAIRS,
    labelled: Labelled | None = None,
    index: VectorIndex | None = None,
) -> Similar:
    """Compare every prototype with every other, in float64 rounded to float32.

    Parameters
    ----------
    prototypes : float32 of shape (n_classes, dim), unit rows
    names : sequence of str
    pairs : int
        How many pairs to list, at most.
    labelled : Labelled, optional
        Pictures of these classes, to count which are taken for each other.
    index : VectorIndex, optional
        Of the prototypes; needed with ``labelled``.

    Raises
    ------
    RankError
        If there is one class alone, or no pair is asked for.
    """
    n_classes = len(prototypes)
    if n_classes < 2:
        raise RankError("one class alone is similar to no other", hint="Give at least two classes.")
    if pairs < 1:
        raise RankError(f"{pairs} pairs are none", hint="Ask for at least one pair.")
    nearest = np.empty(n_classes, dtype=np.int64)
    score = np.empty(n_classes, dtype=np.float32)
    best_scores, best_at = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    for start, scores in similarities(prototypes):
        mine = np.arange(start, start + len(scores))
        scores[mine - start, mine] = -np.inf
        nearest[mine] = scores.argmax(axis=1)  # the first of equals
        score[mine] = scores[mine - start, nearest[mine]]
        scores[np.arange(n_classes)[None, :] < mine[:, None]] = -np.inf
        flat = scores.ravel()
        most = min(pairs, len(flat))
        least = np.partition(flat, len(flat) - most)[len(flat) - most]
        at = np.flatnonzero((flat >= least) & np.isfinite(flat))  # with equals, of which the lowest ids go first
        best_scores = np.concatenate([best_scores, flat[at]])
        best_at = np.concatenate([best_at, at + start * n_classes])
        order = np.lexsort((best_at, -best_scores))[:pairs]
        best_scores, best_at = best_scores[order], best_at[order]
    low, usual, high = np.quantile(score.astype(np.float64), [0.25, 0.5, 0.75])
    fence = min(float(high + _FENCE * (high - low)), EQUAL)  # so that equal ones are always beyond it
    plain = [plain_name(name) for name in names]
    table = None if labelled is None or index is None else _Taken(labelled, index, n_classes)
    found = []
    for value, place in zip(best_scores, best_at, strict=True):
        one, other = (int(row) for row in divmod(place, n_classes))
        confused = None if table is None else table.between(one, other)
        same = plain[one] == plain[other]
        found.append(Pair(one, other, names[one], names[other], float(value), same, confused))
    rows = []
    for one, (other, value) in enumerate(zip(nearest.tolist(), score, strict=True)):
        same = plain[one] == plain[other]
        confused = None if table is None else table.between(one, other)
        close = bool(same or value > fence)
        rows.append(Nearest(one, names[one], other, names[other], float(value), same, close, confused))
    n_drawn = 0 if labelled is None else labelled.n_drawn
    return Similar(tuple(found), tuple(rows), float(usual), fence, n_drawn)


def similarities(prototypes: Vectors) -> Iterator[tuple[int, Scores]]:
    """The matrix of all similarities, float32, some rows at a time with the number of the first."""
    wide = prototypes.astype(np.float64)
    step = max(1, _CHUNK_ELEMENTS // len(wide))
    for start in range(0, len(wide), step):
        yield start, (wide[start : start + step] @ wide.T).astype(np.float32)


class _Taken:
    """How many pictures of each class are taken for which."""

    def __init__(self, labelled: Labelled, index: VectorIndex, n_classes: int) -> None:
        self._n_classes = n_classes
        self._counts = np.bincount(labelled.truth, minlength=n_classes)
        taken = [
            index.search(labelled.vectors[start : start + _ASKED], 1)[1][:, 0]
            for start in range(0, len(labelled.truth), _ASKED)
        ]
        codes, counts = np.unique(labelled.truth * n_classes + np.concatenate(taken), return_counts=True)
        self._found = dict(zip(codes.tolist(), counts.tolist(), strict=True))

    def between(self, one: int, other: int) -> Confused:
        return Confused(
            self._found.get(one * self._n_classes + other, 0),
            int(self._counts[one]),
            self._found.get(other * self._n_classes + one, 0),
            int(self._counts[other]),
        )
