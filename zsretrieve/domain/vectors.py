"""Arrays of unit rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import ShapeError

Vectors = NDArray[np.float32]
Scores = NDArray[np.float32]
Rows = NDArray[np.int64]
Limits = NDArray[np.int64]

UNIT_TOLERANCE = 1e-3


def unit_rows(array: NDArray[np.floating[Any]]) -> Vectors:
    """L2-normalise each row.

    Parameters
    ----------
    array : floating of shape (n, dim)

    Returns
    -------
    float32 of shape (n, dim), unit rows, C-contiguous

    Raises
    ------
    ShapeError
        If not two-dimensional, or if a row is zero or not finite and so has no direction.
    """
    if array.ndim != 2:
        raise ShapeError(f"vectors must have shape (n, dim), not {array.shape}")
    wide = np.asarray(array, dtype=np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ShapeError("a vector is zero or not finite, so it has no direction")
    return np.ascontiguousarray(wide / norms, dtype=np.float32)


def check_unit_rows(array: NDArray[Any], dim: int, what: str = "vectors") -> Vectors:
    """Return ``array`` as C-contiguous float32 after checking shape and norms.

    Raises
    ------
    ShapeError
        If the shape is not (n, dim) or a row's norm differs from 1 by more than ``UNIT_TOLERANCE``.
    """
    if array.ndim != 2 or array.shape[1] != dim:
        raise ShapeError(f"{what} must have shape (n, {dim}), not {array.shape}")
    rows = np.ascontiguousarray(array, dtype=np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    if rows.shape[0] and not (np.abs(norms - 1.0) <= UNIT_TOLERANCE).all():
        worst = int(np.argmax(np.abs(norms - 1.0)))
        raise ShapeError(f"{what} must be unit rows; row {worst} has norm {norms[worst]:.4f}")
    return rows


def augmented_rows(weights: NDArray[np.float64], bias: NDArray[np.float64]) -> tuple[Vectors, float]:
    """Linear functions as unit rows, so that ``w.x + b`` is an inner product of unit vectors.

    Row c is ``[w_c, b_c, s_c] / R``, where R is the largest norm of a ``[w_c, b_c]`` and ``s_c`` makes the norm of
    row c equal to R: the augmentation that turns maximum inner product search into nearest-neighbour search (Bachrach
    et al. 2014, RecSys, section 4). A query is ``augmented_queries(x)``, whose last component is 0.

    Parameters
    ----------
    weights : float64 of shape (n, dim)
    bias : float64 of shape (n,)

    Returns
    -------
    rows : float32 of shape (n, dim + 2), unit rows
    scale : float
        The inner product of an augmented query and a row, times this, is ``w.x + b``: R times the root of 2.
    """
    wide = np.column_stack([weights, bias])
    squares = (wide**2).sum(axis=1)
    # Functions that are all zero have no length to scale by, so any will do.
    longest = float(squares.max()) or 1.0
    rest = np.sqrt(np.maximum(longest - squares, 0.0))
    return unit_rows(np.column_stack([wide, rest])), float(np.sqrt(2.0 * longest))


def augmented_queries(vectors: Vectors) -> Vectors:
    """Vectors x as ``[x, 1, 0]`` divided by the root of 2, the counterpart of ``augmented_rows``.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows

    Returns
    -------
    float32 of shape (n, dim + 2), unit rows
    """
    augmented = np.zeros((len(vectors), vectors.shape[1] + 2), dtype=np.float32)
    augmented[:, :-2] = vectors
    augmented[:, -2] = 1.0
    augmented *= np.float32(np.sqrt(0.5))
    return augmented
