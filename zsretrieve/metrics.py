"""Scores to figures: pure functions over arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import ShapeError
from zsretrieve.records import Head, ScoreHead
from zsretrieve.vectors import Rows, Scores, Vectors

_CHUNK_ELEMENTS = 1 << 24


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
    found: NDArray[np.bool_] = (ranked[:, :k] == truth[:, None]).any(axis=1)
    return found


def mean_per_class_recall(correct: NDArray[np.bool_], truth: NDArray[np.int64]) -> float:
    """Mean over the classes that occur in ``truth`` of the share of their images that are correct."""
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


def probabilities(scores: Scores, head: Head, log_normaliser: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """What the model itself makes of its scores.

    Softmax over the classes for CLIP (Radford et al. 2021, section 3.1.1), an independent sigmoid with bias for
    SigLIP (Zhai et al. 2023, section 3.2).

    Parameters
    ----------
    scores : float32 of shape (n, k)
    head : Head
    log_normaliser : float64 of shape (n,), optional
        ``log_normaliser(...)`` over all classes; needed for softmax.

    Returns
    -------
    float64 of shape (n, k), values in [0, 1]
    """
    logits = head.scale * scores.astype(np.float64) + head.bias
    match head.kind:
        case ScoreHead.SIGMOID:
            return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
        case ScoreHead.SOFTMAX:
            if log_normaliser is None:
                raise ShapeError("a softmax needs the normaliser over all classes")
            # Scores and normaliser come from different float32 products, so their ratio may pass 1 by rounding.
            return np.asarray(np.minimum(np.exp(logits - np.asarray(log_normaliser)[:, None]), 1.0))


def log_normaliser(queries: Vectors, prototypes: Vectors, head: Head) -> NDArray[np.float64]:
    """Log of the softmax denominator over all classes, in bounded memory.

    Parameters
    ----------
    queries : float32 of shape (n, dim), unit rows
    prototypes : float32 of shape (n_classes, dim), unit rows

    Returns
    -------
    float64 of shape (n,)
    """
    out = np.empty(len(queries), dtype=np.float64)
    step = max(1, _CHUNK_ELEMENTS // max(1, len(prototypes)))
    for start in range(0, len(queries), step):
        logits = head.scale * (queries[start : start + step] @ prototypes.T).astype(np.float64) + head.bias
        top = logits.max(axis=1)
        out[start : start + step] = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return out
