"""Figures of one query over many images, from the ranks of the relevant ones."""

from __future__ import annotations

import numpy as np

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.vectors import Rows, Scores

_SIGN = np.uint32(1 << 31)


def places_of(scores: Scores, relevant: Rows) -> Rows:
    """The ranks of the relevant images among all: largest score first, equal scores by row.

    Parameters
    ----------
    scores : float32 of shape (n,)
        Of one query with every image.
    relevant : int64 of shape (m,)
        Rows, each once.

    Returns
    -------
    int64 of shape (m,), ascending; 0 is the best
    """
    if scores.ndim != 1 or scores.dtype != np.float32 or len(scores) >= 1 << 32:
        raise ShapeError(f"scores must be float32 of one dimension, not {scores.dtype} of shape {scores.shape}")
    # One number holds score and row, so that a single sort settles ties too. The bits of a float32 sort as it does,
    # once the sign is taken care of; adding 0 merges the two zeros.
    bits = (scores + np.float32(0)).view(np.uint32)
    descending = np.where(bits & _SIGN, bits, ~(bits | _SIGN))
    keys = descending.astype(np.uint64) << np.uint64(32) | np.arange(len(scores), dtype=np.uint64)
    wanted = np.sort(keys[relevant])
    keys.sort()
    return np.searchsorted(keys, wanted).astype(np.int64)


def average_precision(places: Rows) -> float:
    """The mean over the relevant images of the precision at each one's rank (Manning et al., Introduction to
    Information Retrieval, 8.4). ``places`` are those of all relevant images: int64 of shape (m,), ascending, from 0.
    """
    _check(places)
    return float((np.arange(1, len(places) + 1) / (places + 1)).mean())


def precision_at(places: Rows, k: int) -> float:
    """The fraction of the first k that is relevant."""
    _check(places, k)
    return int(np.searchsorted(places, k)) / k


def recall_at(places: Rows, k: int) -> float:
    """The fraction of the relevant images that is among the first k."""
    _check(places, k)
    return int(np.searchsorted(places, k)) / len(places)


def _check(places: Rows, k: int = 1) -> None:
    if places.ndim != 1 or not len(places) or k < 1:
        raise ShapeError(f"{places.shape} places of relevant images have no figures at k {k}")
