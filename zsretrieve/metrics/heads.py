"""What a model itself makes of its scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import ShapeError
from zsretrieve.records import Head, ScoreHead
from zsretrieve.vectors import Scores, Vectors

_CHUNK_ELEMENTS = 1 << 24


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
