"""Heat maps: how well a text fits each part of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from zsretrieve.domain.plain import Result, shortest
from zsretrieve.domain.vectors import Scores

if TYPE_CHECKING:
    from PIL import Image

    from zsretrieve.domain.boxes import Box


class HeatMethod(StrEnum):
    """What is compared with a text: the vectors of a model's patches, or of tiles; ``auto`` is patches if possible."""

    AUTO = "auto"
    PATCHES = "patches"
    TILES = "tiles"


@dataclass(frozen=True)
class HeatMap(Result):
    """The scores of a text over an image: float32 of shape (rows, columns), from the upper left corner."""

    text: str
    scores: Scores

    @property
    def low(self) -> float:
        return float(self.scores.min())

    @property
    def high(self) -> float:
        return float(self.scores.max())

    @property
    def peak(self) -> tuple[float, float]:
        """The middle of the cell of the highest score, in shares of the width and the height."""
        rows, columns = self.scores.shape
        row, column = divmod(int(self.scores.argmax()), columns)
        return (column + 0.5) / columns, (row + 0.5) / rows

    def to_dict(self) -> dict[str, Any]:
        """The scores as lists of rows, and their range."""
        return {
            "text": self.text,
            "low": shortest(self.low),
            "high": shortest(self.high),
            "peak": list(self.peak),
            "scores": [[shortest(score) for score in row] for row in self.scores.tolist()],
        }


@dataclass(frozen=True)
class Look(Result):
    """The heat maps of texts over an image, all of one grid.

    ``path`` is None for an image in memory, and ``image`` the upright image itself. ``method`` is how they were made,
    and ``reason`` why not from patches, None if they were or tiles were asked for.
    """

    path: str | None
    width: int
    height: int
    model: str
    method: HeatMethod
    reason: str | None
    maps: tuple[HeatMap, ...]
    image: Image.Image = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the image."""
        return {name: value for name, value in super().to_dict().items() if name != "image"}


def windows(width: int, height: int, level: int) -> list[Box]:
    """Squares of an nth of the shorter side of an image, each half covered by the next, that cover all of it.

    Of a square image these are the tiles of that level of a ``Pyramid``.
    """
    side = min(width, height) / level

    def starts(length: int) -> list[float]:
        steps = math.ceil((length - side) / (side / 2) - 1e-9)
        return [(length - side) * step / max(steps, 1) for step in range(steps + 1)]

    return [
        (left / width, top / height, (left + side) / width, (top + side) / height)
        for top in starts(height)
        for left in starts(width)
    ]
