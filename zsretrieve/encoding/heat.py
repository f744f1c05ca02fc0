"""The scores of texts over an image, from the vectors of its patches or of its tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.domain.boxes import Box
from zsretrieve.domain.heat import windows
from zsretrieve.domain.ports import ImageEncoder, OnProgress, Pixels
from zsretrieve.domain.vectors import Scores, Vectors
from zsretrieve.images.parts import part

# Cells along the shorter side of an image whose heat comes from tiles.
_CELLS = 32
# What the edge of a tile weighs beside its middle.
_EDGE = 1e-3

# Vectors of the patches of some images, float32 of shape (n, rows, columns, dim), unit rows.
EncodePatches = Callable[[Sequence[Pixels]], NDArray[np.float32]]


def heat_of_patches(
    image: Image.Image, texts: Vectors, encoder: ImageEncoder, patches: EncodePatches, on_progress: OnProgress | None
) -> Scores:
    """Cosine similarities of texts and patches.

    The model sees squares of the shorter side of the image, half overlapping, which cover all of it; where two of them
    overlap, their scores are averaged.

    Parameters
    ----------
    image : PIL.Image.Image
    texts : float32 of shape (n, dim), unit rows
    encoder : ImageEncoder
        Prepares images.
    patches : callable
    on_progress : callable, optional
        Called with (squares done, squares in all).

    Returns
    -------
    float32 of shape (n, rows, columns)
    """
    boxes = windows(*image.size, 1)
    encoded = _encoded(image, boxes, encoder, patches, on_progress)
    scores = np.einsum("bijd,nd->nbij", encoded.astype(np.float64), texts.astype(np.float64))
    rows, columns = encoded.shape[1:3]
    side = min(image.size)
    shape = (round(image.height / side * rows), round(image.width / side * columns))
    sums, weights = np.zeros((len(texts), *shape)), np.zeros(shape)
    for number, box in enumerate(boxes):
        (top, down), (left, across) = _inside(box, shape)
        row = np.minimum((down * rows).astype(int), rows - 1)
        column = np.minimum((across * columns).astype(int), columns - 1)
        sums[:, top, left] += scores[:, number][:, row[:, None], column[None, :]]
        weights[top, left] += 1
    return np.asarray(sums / weights, dtype=np.float32)


def heat_of_tiles(
    image: Image.Image, texts: Vectors, encoder: ImageEncoder, levels: int, on_progress: OnProgress | None
) -> Scores:
    """Cosine similarities of texts and square tiles, blended.

    At each level from 2 to ``levels``, a place has the mean of the tiles that it is in, each weighted by how near its
    middle is; levels count alike. Parameters and result as for ``heat_of_patches``.
    """
    by_level = [windows(*image.size, level) for level in range(2, levels + 1)]
    boxes = [box for level in by_level for box in level]
    vectors = _encoded(image, boxes, encoder, encoder.encode_prepared, on_progress)
    scores = texts.astype(np.float64) @ vectors.astype(np.float64).T
    side = min(image.size)
    shape = (round(image.height / side * _CELLS), round(image.width / side * _CELLS))
    heat, first = np.zeros((len(texts), *shape)), 0
    for level in by_level:
        sums, weights = np.zeros_like(heat), np.zeros(shape)
        for number, box in enumerate(level, start=first):
            (top, down), (left, across) = _inside(box, shape)
            near = np.maximum(1 - 2 * abs(down - 0.5), _EDGE)[:, None] * np.maximum(1 - 2 * abs(across - 0.5), _EDGE)
            sums[:, top, left] += scores[:, number, None, None] * near
            weights[top, left] += near
        heat += sums / weights
        first += len(level)
    return np.asarray(heat / len(by_level), dtype=np.float32)


def _encoded(
    image: Image.Image,
    boxes: Sequence[Box],
    encoder: ImageEncoder,
    encode: EncodePatches,
    on_progress: OnProgress | None,
) -> NDArray[np.float32]:
    """What a model makes of the parts of an image, one after the other."""
    done = []
    for start in range(0, len(boxes), encoder.batch_size):
        some = boxes[start : start + encoder.batch_size]
        done.append(encode([encoder.prepare(part(image, box)) for box in some]))
        if on_progress is not None:
            on_progress(start + len(some), len(boxes))
    return np.concatenate(done)


def _inside(
    box: Box, shape: tuple[int, int]
) -> tuple[tuple[slice, NDArray[np.float64]], tuple[slice, NDArray[np.float64]]]:
    """The rows and the columns of a grid whose middles are in a box, and where in it they are, from 0 to 1."""
    spans = []
    for low, high, cells in ((box[1], box[3], shape[0]), (box[0], box[2], shape[1])):
        middles = (np.arange(cells) + 0.5) / cells
        within = np.flatnonzero((middles >= low - 1e-9) & (middles <= high + 1e-9))
        some = slice(int(within[0]), int(within[-1]) + 1)
        spans.append((some, np.clip((middles[some] - low) / (high - low), 0.0, 1.0)))
    return spans[0], spans[1]
