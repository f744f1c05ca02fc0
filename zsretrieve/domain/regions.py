"""The regions of images that have vectors of their own: overlapping tiles, the same for every image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import UsageError

if TYPE_CHECKING:
    from zsretrieve.domain.boxes import Box

# Level 5 alone has 81 tiles, more than are worth their search.
_MOST_LEVELS = 4
# Of the edges of boxes, in shares of an image.
_DIGITS = 6
# What rounding may make of tiles that only touch.
_EDGE = 1e-9
_SPEC = re.compile(r"pyramid:([0-9]+)")


@dataclass(frozen=True)
class Pyramid:
    """Tiles in levels: level 1 is the whole image, and level n has tiles of an nth of the sides, each half covered by
    the next: (2n - 1) x (2n - 1) of them.

    ``pyramid:2`` has 9 tiles beside the whole image, ``pyramid:3`` 34, ``pyramid:4`` 83.
    """

    levels: int

    @classmethod
    def of(cls, spec: str) -> Pyramid:
        """The pyramid that a text such as ``pyramid:2`` names. Raises UsageError."""
        found = _SPEC.fullmatch(spec)
        if found is None or not 2 <= int(found[1]) <= _MOST_LEVELS:
            raise UsageError(
                f"'{spec}' does not name regions", hint=f"Use pyramid:2 (9 tiles per image) to pyramid:{_MOST_LEVELS}."
            )
        return cls(int(found[1]))

    @property
    def spec(self) -> str:
        """The text that names it."""
        return f"pyramid:{self.levels}"

    def reaches_all(self, width: int, height: int) -> bool:
        """Whether the squares of the smallest tiles, see ``seen``, cover an image of this size without gaps."""
        return max(width, height) * self.levels <= min(width, height) * (2 * self.levels - 1)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The box of each tile, level by level, and row by row within a level."""
        return tuple(
            (column / (2 * level), row / (2 * level), (column + 2) / (2 * level), (row + 2) / (2 * level))
            for level in range(2, self.levels + 1)
            for row in range(2 * level - 1)
            for column in range(2 * level - 1)
        )


def seen(box: Box, width: int, height: int) -> Box:
    """The square of a tile that is shown to a model which crops the middle: where the tile is in the image, so that the
    tiles of a level reach all edges of an image of ``width`` x ``height``.
    """
    left, top, right, bottom = box
    across, down = right - left, bottom - top
    side = min(across * width, down * height)
    x0 = left + (across - side / width) * (left / (1 - across) if across < 1 else 0.5)
    y0 = top + (down - side / height) * (top / (1 - down) if down < 1 else 0.5)
    return x0, y0, x0 + side / width, y0 + side / height


def best_boxes(scores: NDArray[np.float32], boxes: Sequence[Box], scale: float) -> list[Box | None]:
    """Where a query fits each image: None for the whole of it, or else a box of the size of the best region.

    Tiles are on a grid, and a thing between two of them fits both: the middle of the box is the mean of those of the
    best region and all that overlap it, each weighted by the softmax of their scores times ``scale``. Of equal scores
    the whole image counts, and then the first region.

    Parameters
    ----------
    scores : float32 of shape (n, 1 + r)
        Of the whole image, and of the regions.
    boxes : sequence of r boxes
    scale : float
        What the model multiplies scores with for probabilities.
    """
    corners = np.array(boxes)
    sizes, middles = corners[:, 2:] - corners[:, :2], (corners[:, :2] + corners[:, 2:]) / 2
    best = scores[:, 1:].argmax(axis=1)
    overlaps = (np.abs(middles[:, None] - middles) < (sizes[:, None] + sizes) / 2 - _EDGE).all(axis=2)
    weights = np.exp(scale * (scores[:, 1:].astype(np.float64) - scores[:, 1:].max(axis=1, keepdims=True)))
    weights *= overlaps[best]
    half = sizes[best] / 2
    middle = np.clip(weights @ middles / weights.sum(axis=1, keepdims=True), half, 1 - half)
    placed = np.hstack([middle - half, middle + half]).round(_DIGITS)
    is_whole = scores[:, 0] >= scores[:, 1:].max(axis=1)
    return [
        None if whole else (left, top, right, bottom)
        for whole, (left, top, right, bottom) in zip(is_whole.tolist(), placed.tolist(), strict=True)
    ]


def boxes_of(spec: str | None) -> tuple[Box, ...]:
    """The boxes of the regions that a manifest names; none without regions."""
    return () if spec is None else Pyramid.of(spec).boxes
