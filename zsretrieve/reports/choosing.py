"""Which images of a run are worth looking at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.results import Confusion, EvalReport, Run

# On each side of a confusion.
_SIDE = 3


@dataclass(frozen=True)
class Pair:
    """A confusion and rows of a run: images ``taken`` for the other class, and images ``of_other`` class itself."""

    confusion: Confusion
    taken: tuple[int, ...]
    of_other: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """What is shown of a run: ``mistakes`` and ``hits`` are rows of it."""

    pairs: tuple[Pair, ...]
    mistakes: tuple[int, ...]
    hits: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """Every image that is shown, once."""
        of_pairs = [row for pair in self.pairs for row in (*pair.taken, *pair.of_other)]
        return tuple(dict.fromkeys([*of_pairs, *self.mistakes, *self.hits]))


def choose(report: EvalReport, images: int) -> Choice:
    """The most frequent confusions, the most confident mistakes and the least confident hits.

    Confidence is the probability of the best class, then its margin, then the lower row. The images of the other class
    are the ones classified correctly, the most confident first; if there are none, any of that class.

    Parameters
    ----------
    report : EvalReport
    images : int
        At most this many images: three tenths for mistakes, two for hits, and half for both sides of the confusions.
    """
    run, n_mistakes, n_hits = report.run, images * 3 // 10, images * 2 // 10
    order = _by_confidence(run)
    correct = run.correct[order]
    wrong, right = order[~correct], order[correct]
    n_pairs = (images - n_mistakes - n_hits) // (2 * _SIDE)
    pairs = tuple(_pair(run, confusion, wrong, right) for confusion in report.confusions[:n_pairs])
    return Choice(pairs, _rows(wrong[:n_mistakes]), _rows(right[::-1][:n_hits]))


def most_confused(report: EvalReport, most: int) -> tuple[int, ...]:
    """The classes of the most frequent confusions, at most ``most``; those of a pair are next to each other."""
    chosen: dict[int, None] = {}
    for confusion in report.confusions:
        new = [c for c in (confusion.true_id, confusion.predicted_id) if c not in chosen]
        if len(chosen) + len(new) > most:
            break
        chosen.update(dict.fromkeys(new))
    return tuple(chosen)


def confusion_matrix(run: Run, classes: tuple[int, ...]) -> NDArray[np.int64]:
    """How many images of a class (row) are classified as another (column), of shape (n, n + 1).

    The last column is all other classes.
    """
    n = len(classes)
    place = np.full(len(run.class_names), n, dtype=np.int64)
    place[list(classes)] = np.arange(n)
    true, predicted = place[run.truth], place[run.ranked[:, 0]]
    cells = true[true < n] * (n + 1) + predicted[true < n]
    return np.bincount(cells, minlength=n * (n + 1)).reshape(n, n + 1)


def _by_confidence(run: Run) -> NDArray[np.int64]:
    return np.lexsort((np.arange(len(run.truth)), -run.margins, -run.probabilities[:, 0]))


def _pair(run: Run, confusion: Confusion, wrong: NDArray[np.int64], right: NDArray[np.int64]) -> Pair:
    true, predicted = run.truth[wrong], run.ranked[wrong, 0]
    taken = wrong[(true == confusion.true_id) & (predicted == confusion.predicted_id)]
    others = right[run.truth[right] == confusion.predicted_id]
    if not len(others):
        others = wrong[true == confusion.predicted_id]
    return Pair(confusion, _rows(taken[:_SIDE]), _rows(others[:_SIDE]))


def _rows(rows: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(row) for row in rows)
