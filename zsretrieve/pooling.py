"""From prompt vectors to class prototypes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zsretrieve.errors import ShapeError
from zsretrieve.vectors import Vectors, unit_rows


def pool_prompts(vectors: Vectors, groups: Sequence[Sequence[int]]) -> Vectors:
    """One prototype per class: mean of the unit vectors of its prompts, L2-normalised.

    The ensembling in embedding space of CLIP (Radford et al. 2021, section 3.1.4).

    Parameters
    ----------
    vectors : float32 of shape (n_prompts, dim), unit rows
    groups : sequence of sequences of int
        ``groups[c]`` are the rows of ``vectors`` that belong to class ``c``; a row may serve several classes.

    Returns
    -------
    float32 of shape (n_classes, dim), unit rows

    Raises
    ------
    ShapeError
        If ``vectors`` is not two-dimensional, or a class has no prompt, or its prompts cancel out.
    """
    if vectors.ndim != 2:
        raise ShapeError(f"prompt vectors must have shape (n_prompts, dim), not {vectors.shape}")
    pooled = np.empty((len(groups), vectors.shape[1]), dtype=np.float64)
    for c, group in enumerate(groups):
        if len(group) == 0:
            raise ShapeError(f"class {c} has no prompt to pool")
        pooled[c] = vectors[list(group)].astype(np.float64).mean(axis=0)
    return unit_rows(pooled)
