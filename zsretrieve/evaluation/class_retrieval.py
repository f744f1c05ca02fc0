"""Class-to-image retrieval: each class's prototype as a query over the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from zsretrieve.domain.results import ClassRetrieval, Retrieval
from zsretrieve.domain.vectors import Rows, Scores
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.metrics import average_precision, bootstrap_mean, places_of, precision_at, recall_at
from zsretrieve.store.indexes import Prototypes

# Scores in memory at once (256 MiB), since every class is sorted over all images; and vectors in float64 (64 MiB).
SCORES_AT_ONCE, VECTORS_AT_ONCE = 1 << 26, 1 << 23


def retrieval(labelled: Labelled, prototypes: Prototypes, at: Sequence[int]) -> Retrieval:
    """Mean average precision, precision@k and recall@k of the classes that occur, each over all images.

    The order is exact: inner products in float64, rounded to float32, with ties going to the earlier image. If two
    classes share a name, only the images of the class itself are relevant.

    Parameters
    ----------
    labelled : Labelled
    prototypes : Prototypes
    at : sequence of int
        The k, each 1 or more; one above the number of images becomes that number.
    """
    ks = sorted({min(k, len(labelled.truth)) for k in at})
    names = prototypes.prompts.class_names
    by_class = np.argsort(labelled.truth, kind="stable")
    classes, firsts, counts = np.unique(labelled.truth[by_class], return_index=True, return_counts=True)
    relevant = {int(c): by_class[first : first + n] for c, first, n in zip(classes, firsts, counts, strict=True)}
    per_class = []
    for class_id, scores in _scores(labelled, prototypes, classes):
        places = places_of(scores, relevant[class_id])
        precision = {k: precision_at(places, k) for k in ks}
        recall = {k: recall_at(places, k) for k in ks}
        average = average_precision(places)
        per_class.append(ClassRetrieval(class_id, names[class_id], len(places), precision, recall, average))
    values = np.array([one.average_precision for one in per_class])
    return Retrieval(
        mean_average_precision=float(values.mean()),
        interval=bootstrap_mean(values),
        precision_at={k: float(np.mean([one.precision_at[k] for one in per_class])) for k in ks},
        recall_at={k: float(np.mean([one.recall_at[k] for one in per_class])) for k in ks},
        per_class=tuple(per_class),
    )


def _scores(labelled: Labelled, prototypes: Prototypes, classes: Rows) -> Iterator[tuple[int, Scores]]:
    """The exact scores of each class with all images; the next block of classes overwrites them."""
    n, dim = labelled.vectors.shape
    together = min(len(classes), max(1, SCORES_AT_ONCE // n))
    step = max(1, VECTORS_AT_ONCE // dim)
    block = np.empty((together, n), dtype=np.float32)
    for first in range(0, len(classes), together):
        part = classes[first : first + together]
        for start in range(0, n, step):
            block[: len(part), start : start + step] = prototypes.ranking(
                labelled.vectors[start : start + step], part
            ).T
        yield from ((int(class_id), block[row]) for row, class_id in enumerate(part))
