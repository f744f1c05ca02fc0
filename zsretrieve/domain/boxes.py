"""Rectangles in images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# left, top, right and bottom, as shares of the width and the height of the upright image.
Box: TypeAlias = tuple[float, float, float, float]


def in_pixels(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    """The left, top, width and height of a box in pixels, as COCO has them."""
    left, top, right, bottom = box
    return left * width, top * height, (right - left) * width, (bottom - top) * height


def ious(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """The intersection over union of each of n boxes with each of m, of shape (n, m); 0 where both are empty."""
    one, other = np.asarray(one, np.float64).reshape(-1, 4), np.asarray(other, np.float64).reshape(-1, 4)
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    area, other_area = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other))
    union = area[:, None] + other_area[None, :] - common
    shares: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shares


def suppressed(boxes: Sequence[Box] | NDArray[Any], scores: Sequence[float] | NDArray[Any], most: float) -> list[int]:
    """Which of n boxes stay if each removes those of lower score that overlap it by more than ``most`` (IoU).

    Greedy non-maximum suppression: the places of those that stay, best first; of equal scores the earlier one is first.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    stay: list[int] = []
    # One against those that stay: all against all would take 100 bytes a pair, and a detector has thousands of boxes.
    for place in order.tolist():
        if not (ious(corners[place], corners[stay]) > most).any():
            stay.append(place)
    return stay
