"""From vectors of prompts or images to class prototypes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.vectors import Rows, Vectors, unit_rows


def pool_prompts(vectors: Vectors, groups: Sequence[Sequence[int]]) -> Vectors:
    """One prototype per class: the mean of the unit vectors of its prompts, L2-normalised.

    This is CLIP's ensembling in the embedding space (Radford et al. 2021, section 3.1.4).

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
        If ``vectors`` is not two-dimensional, a class has no prompt, or its prompts cancel out.
    """
    if vectors.ndim != 2:
        raise ShapeError(f"prompt vectors must have shape (n_prompts, dim), not {vectors.shape}")
    pooled = np.empty((len(groups), vectors.shape[1]), dtype=np.float64)
    for c, group in enumerate(groups):
        if len(group) == 0:
            raise ShapeError(f"class {c} has no prompt to pool")
        pooled[c] = vectors[list(group)].astype(np.float64).mean(axis=0)
    return unit_rows(pooled)


def pool_images(vectors: Vectors, class_ids: Rows, n_classes: int, rows: Rows) -> NDArray[np.float32]:
    """The mean of the unit vectors of each class's images, L2-normalised: the multi-shot counterpart of prompts.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
    class_ids : int64 of shape (m,)
        The classes of ``rows``.
    n_classes : int
    rows : int64 of shape (m,)
        The images to pool. Their vectors are copied one class at a time.

    Returns
    -------
    float32 of shape (n_classes, dim)
        Unit rows; zero for a class without images.

    Raises
    ------
    ShapeError
        If the images of a class cancel out.
    """
    pooled = np.zeros((n_classes, vectors.shape[1]), dtype=np.float32)
    by_class = np.argsort(class_ids, kind="stable")
    present, firsts = np.unique(class_ids[by_class], return_index=True)
    groups = np.split(rows[by_class], firsts[1:])
    if len(present):
        pooled[present] = unit_rows(np.stack([vectors[group].mean(axis=0, dtype=np.float64) for group in groups]))
    return pooled


def mix(text: Vectors, images: NDArray[np.float32], text_weight: float) -> Vectors:
    """``text_weight`` of text prototypes and the rest of image prototypes, L2-normalised.

    Parameters
    ----------
    text : float32 of shape (n_classes, dim), unit rows
    images : float32 of shape (n_classes, dim)
        Unit rows, or zero rows, for which the text is used alone.
    text_weight : float
        From 0, images alone, to 1, text alone.

    Returns
    -------
    float32 of shape (n_classes, dim), unit rows

    Raises
    ------
    ShapeError
        If the weight is not from 0 to 1, or the two cancel out.
    """
    if not 0.0 <= text_weight <= 1.0:
        raise ShapeError(
            f"the weight of text must be from 0 to 1, got {text_weight}", hint="Give a number such as 0.5."
        )
    mixed = text_weight * text.astype(np.float64) + (1.0 - text_weight) * images
    without_images = ~images.any(axis=1)
    mixed[without_images] = text[without_images]
    return unit_rows(mixed)
