"""Prediction sets: calibrated on labelled images, and scored on others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.prediction_sets import Coverage, SetReport, SetThreshold
from zsretrieve.domain.vectors import Rows
from zsretrieve.evaluation.answers import Answers, Ranked, parts
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.splits import random_halves
from zsretrieve.metrics import expected_coverage, nonconformity, wilson


def calibrate(answers: Answers, truth: Rows, coverage: Coverage) -> SetThreshold:
    """The threshold of prediction sets: of n labelled images, the score of the true class that is the
    ``ceil((n + 1) * wanted)``-th least (Angelopoulos and Bates 2021, section 1.1).

    If these images and those that are classified are exchangeable, a set holds the true class with at least the wanted
    probability, whatever the model.

    Parameters
    ----------
    answers : Answers
        For n images that the model was not trained on.
    truth : int64 of shape (n,)
    coverage : Coverage

    Raises
    ------
    SourceError
        If there are too few images.
    """
    rank = coverage.rank(len(truth))
    scores = np.concatenate(
        [
            nonconformity(ranked.chances, coverage.by)[ranked.classes == truth[part, None]]
            for part, ranked in _all(answers, len(truth))
        ]
    )
    return SetThreshold(coverage.wanted, coverage.by, float(np.partition(scores, rank - 1)[rank - 1]), len(truth))


def set_sizes(ranked: Ranked, found: SetThreshold) -> NDArray[np.int64]:
    """How many of the best classes are in the set of each image, int64 of shape (n,); ``ranked`` are all classes."""
    return np.asarray((nonconformity(ranked.chances, found.by) <= found.threshold).sum(axis=1))


def score_sets(answers: Answers, labelled: Labelled, coverage: Coverage) -> SetReport:
    """Calibrate on one half of labelled images, drawn at random, and score the sets of the other.

    Equal images count once.

    Parameters
    ----------
    answers : Answers
        For all of ``labelled``.
    labelled : Labelled
    coverage : Coverage

    Raises
    ------
    SourceError
        If there are too few images.
    """
    calibrating, scored = random_halves(labelled, coverage.seed)
    if not len(scored):
        raise SourceError("one labelled image cannot be halved", hint="Give more labelled images.")
    found = calibrate(_Some(answers, calibrating), labelled.truth[calibrating], coverage)
    truth, sizes, covered = labelled.truth[scored], Counter[int](), 0
    for part, ranked in _all(_Some(answers, scored), len(scored)):
        size = set_sizes(ranked, found)
        places = np.argmax(ranked.classes == truth[part, None], axis=1)
        covered += int((places < size).sum())
        sizes.update(size.tolist())
    n = len(scored)
    return SetReport(
        calibrated=found,
        n_scored=n,
        n_covered=covered,
        interval=wilson(covered, n),
        expected_interval=expected_coverage(coverage.rank(found.n_calibration), found.n_calibration, n),
        mean_size=sum(size * count for size, count in sizes.items()) / n,
        n_empty=sizes[0],
        sizes=dict(sorted(sizes.items())),
    )


class _Some:
    """The answers for some of the images."""

    def __init__(self, answers: Answers, rows: Rows) -> None:
        self.answers, self.rows, self.names = answers, rows, answers.names

    def ranked(self, rows: slice | Rows, k: int) -> Ranked:
        return self.answers.ranked(self.rows[rows], k)

    def scores(self, rows: slice | Rows) -> NDArray[np.float32]:
        return self.answers.scores(self.rows[rows])


def _all(answers: Answers, n: int) -> Iterator[tuple[slice, Ranked]]:
    """All classes of n images, part by part."""
    for part in parts(n, len(answers.names)):
        yield part, answers.ranked(part, len(answers.names))
