"""The other direction: each class's prototype as a query over the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from zsretrieve.metrics import average_precision, bootstrap_mean, places_of, precision_at, recall_at
from zsretrieve.results import ClassRetrieval, Retrieval
from zsretrieve.store.indexes import Prototypes
from zsretrieve.vectors import Rows, Scores
from zsretrieve.verbs.labelled import Labelled

# Scores that are in memory at once, 256 MiB, since every class is put in order over all pictures; and the vectors of
# pictures that are in float64 meanwhile, 64 MiB.
SCORES_AT_ONCE, VECTORS_AT_ONCE = 1 << 26, 1 << 23


def retrieval(labelled: Labelled, prototypes: Prototypes, at: Sequence[int]) -> Retrieval:
    """Mean average precision, precision@k and recall@k of the classes that occur, each asked over all pictures.

    The order is the exact one: inner products in float64 rounded to float32, ties to the earlier picture. Where two
    classes have one name, only the pictures of the class itself are relevant.

    Parameters
    ----------
    labelled : Labelled
    prototypes : Prototypes
    at : sequence of int
        The k, each 1 or more; one above the number of pictures is taken for that number.
    """
    ks = sorted({min(k, len(labelled.truth)) for k in at})
    names = prototypes.prompts.class_names
    by_class = np.argsort(labelled.truth, kind="stable")
    classes, firsts, counts = np.unique(labelled.truth[by_class], return_index=True, return_counts=True)
    relevant = {int(c): by_class[first : first + n] for c, first, n in zip(classes, firsts, counts, strict=True)}
    found = []
    for class_id, scores in _scores(labelled, prototypes, classes):
        places = places_of(scores, relevant[class_id])
        found.append(
            ClassRetrieval(
                class_id,
                names[class_id],
                len(places),
                {k: precision_at(places, k) for k in ks},
                {k: recall_at(places, k) for k in ks},
                average_precision(places),
            )
        )
    values = np.array([one.average_precision for one in found])
    return Retrieval(
        mean_average_precision=float(values.mean()),
        interval=bootstrap_mean(values),
        precision_at={k: float(np.mean([one.precision_at[k] for one in found])) for k in ks},
        recall_at={k: float(np.mean([one.recall_at[k] for one in found])) for k in ks},
        per_class=tuple(found),
    )


def _scores(labelled: Labelled, prototypes: Prototypes, classes: Rows) -> Iterator[tuple[int, Scores]]:
    """The exact scores of each class with all pictures; the next block of classes overwrites them."""
    n, dim = labelled.vectors.shape
    together = min(len(classes), max(1, SCORES_AT_ONCE // n))
    step = max(1, VECTORS_AT_ONCE // dim)
    class_queries = prototypes.class_queries
    room = np.empty((together, n), dtype=np.float32)
    for first in range(0, len(classes), together):
        part = classes[first : first + together]
        queries = class_queries[part].astype(np.float64)
        for start in range(0, n, step):
            room[: len(part), start : start + step] = (
                queries @ labelled.vectors[start : start + step].astype(np.float64).T
            )
        yield from ((int(class_id), room[row]) for row, class_id in enumerate(part))
