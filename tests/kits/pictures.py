"""Small pictures that differ, and encoders that count, stop or wait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from kits.hashing_encoder import HashingEncoder
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.vectors import Vectors


def picture(path: Path, number: int) -> Path:
    """A picture that only this number has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path)
    return path


def pictures(root: Path, count: int, first: int = 0) -> Path:
    """Pictures in three folders, which are their labels."""
    for number in range(first, first + count):
        picture(root / f"class {number % 3}" / f"{number:04}.png", number)
    return root


class Counting(HashingEncoder):
    """Counts what it encodes; stops before the batch that would make it more than ``at_most``."""

    def __init__(self, at_most: int | None = None, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.count = 0
        self._at_most = at_most

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if self._at_most is not None and self.count + len(batch) > self._at_most:
            raise KeyboardInterrupt
        self.count += len(batch)
        return super().encode_prepared(batch)
