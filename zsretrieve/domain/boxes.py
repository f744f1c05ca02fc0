"""Rectangles in images."""

from __future__ import annotations

from typing import TypeAlias

# left, top, right and bottom, as shares of the width and the height of the upright image.
Box: TypeAlias = tuple[float, float, float, float]
