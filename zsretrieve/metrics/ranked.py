"""Figures of ranked lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.vectors import Rows


def hits_at(ranked: Rows, truth: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Whether the true class is among the first k.

    Parameters
    ----------
    ranked : int64 of shape (n, m)
        Class ids, best first, m >= k.
    truth : int64 of shape (n,)
    k : int

    Returns
    -------
    bool of shape (n,)
    """
    if ranked.ndim != 2 or truth.shape != ranked.shape[:1] or not 1 <= k <= ranked.shape[1]:
        raise ShapeError(f"ranked {ranked.shape}, truth {truth.shape} and k {k} do not fit together")
    return np.asarray((ranked[:, :k] == truth[:, None]).any(axis=1))


def mean_per_class_recall(correct: NDArray[np.bool_], truth: NDArray[np.int64]) -> float:
    """The recall of each class that occurs in ``truth``, averaged over these classes."""
    classes, which = np.unique(truth, return_inverse=True)
    if len(classes) == 0:
        raise ShapeError("no image was scored, so there is no recall")
    right = np.bincount(which, weights=correct.astype(np.float64))
    return float((right / np.bincount(which)).mean())


def r_precision(ranked: Rows, relevant: set[int]) -> float:
    """Precision at the number of relevant items (Manning et al., Introduction to Information Retrieval, 8.4).

    Parameters
    ----------
    ranked : int64 of shape (m,)
        Ids, best first, m >= len(relevant).
    relevant : set of int
        Not empty.
    """
    if not relevant or len(ranked) < len(relevant):
        raise ShapeError(f"R-precision needs 1 to {len(ranked)} relevant items, not {len(relevant)}")
    return sum(int(i) in relevant for i in ranked[: len(relevant)]) / len(relevant)
