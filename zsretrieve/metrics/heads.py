"""Probabilities, by the model's own scale and bias."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.records import Head, ScoreHead
from zsretrieve.domain.vectors import Scores, Vectors

_CHUNK_ELEMENTS = 1 << 24


def probabilities(scores: Scores, head: Head, log_normaliser: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """The model's probabilities of scores.

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
            # Their ratio may pass 1 by rounding.
            return np.asarray(np.minimum(np.exp(logits - np.asarray(log_normaliser)[:, None]), 1.0))


def log_normaliser(queries: Vectors, prototypes: Vectors, head: Head, best: Scores) -> NDArray[np.float64]:
    """Log of the softmax denominator over all classes, in bounded memory.

    Products in float32 are off by some 1e-7, which a scale of thousands makes large. So they only give the distance of
    each class to the best, whose exact score is known; near it, where it matters, they are off by the same amount.

    Parameters
    ----------
    queries : float32 of shape (n, dim), unit rows
    prototypes : float32 of shape (n_classes, dim), unit rows
    head : Head
    best : float32 of shape (n,)
        The largest score of each query, as found by a search.

    Returns
    -------
    float64 of shape (n,)
    """
    if best.shape != queries.shape[:1]:
        raise ShapeError(f"{best.shape} best scores do not fit {len(queries)} queries")
    behind = np.empty(len(queries), dtype=np.float64)
    step = max(1, _CHUNK_ELEMENTS // max(1, len(prototypes)))
    for start in range(0, len(queries), step):
        products = (queries[start : start + step] @ prototypes.T).astype(np.float64)
        products -= products.max(axis=1, keepdims=True)
        behind[start : start + step] = np.log(np.exp(head.scale * products).sum(axis=1))
    return np.asarray(head.scale * best.astype(np.float64) + head.bias + behind)
