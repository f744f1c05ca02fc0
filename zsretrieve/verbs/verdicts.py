"""Who is right: whether the nearest prototype of a picture is that of its class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import ShapeError
from zsretrieve.ports import IndexBackend
from zsretrieve.ranking import float32_score_error
from zsretrieve.vectors import Vectors

# Scores that are in memory at once, 16 MiB: they stay in the cache while the greatest is looked for.
_BLOCK_SCORES = 1 << 22
# Pictures that are handed to the index at once.
_ASKED = 1 << 15


def verdicts(
    vectors: Vectors, truth: NDArray[np.int64], prototypes: Vectors, backend: IndexBackend
) -> NDArray[np.bool_]:
    """Whether an exact index of the prototypes would find the true class first, ties going to the lowest class id.

    Only the true class and the best of the others are compared, which costs less than a search: one product and one
    maximum. Where the two are no further apart than float32 may err, the index is asked.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
    truth : int64 of shape (n,)
        Class ids.
    prototypes : float32 of shape (n_classes, dim), unit rows
    backend : IndexBackend

    Returns
    -------
    bool of shape (n,)

    Raises
    ------
    ShapeError
        If the shapes do not fit together, or a class id is not that of a prototype.
    """
    n_classes, dim = prototypes.shape
    if vectors.shape != (len(truth), dim) or (len(truth) and not 0 <= truth.min() <= truth.max() < n_classes):
        raise ShapeError(f"vectors {vectors.shape}, truth {truth.shape} and prototypes {prototypes.shape} do not fit")
    apart = 2.0 * float32_score_error(dim)
    right = np.empty(len(truth), dtype=np.bool_)
    doubtful = []
    step = max(1, _BLOCK_SCORES // n_classes)
    room = np.empty((min(step, len(truth)), n_classes), dtype=np.float32)
    for start in range(0, len(truth), step):
        block = vectors[start : start + step]
        scores = np.matmul(block, prototypes.T, out=room[: len(block)])
        mine = (np.arange(len(block)), truth[start : start + step])
        own = scores[mine].astype(np.float64)
        scores[mine] = -np.inf
        ahead = own - scores.max(axis=1)
        right[start : start + step] = ahead > 0
        doubtful.append(start + np.flatnonzero(np.abs(ahead) <= apart))
    asked = np.concatenate(doubtful) if doubtful else np.empty(0, dtype=np.int64)
    if len(asked):
        index = backend.create(dim)
        index.add(prototypes)
        for start in range(0, len(asked), _ASKED):
            rows = asked[start : start + _ASKED]
            _, best = index.search(vectors[rows], 1)
            right[rows] = best[:, 0] == truth[rows]
    return right
