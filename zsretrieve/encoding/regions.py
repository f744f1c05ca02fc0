"""Encoding images with their regions: each tile as an image of its own, by the model's own preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from zsretrieve.domain.boxes import Box
from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.ports import ImageEncoder, Pixels
from zsretrieve.domain.records import Encoding, Head, Preprocessing, Space
from zsretrieve.domain.regions import seen
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoding.prefetch import Loads
from zsretrieve.images.parts import part


def crops(preprocessing: Preprocessing) -> bool:
    """Whether a model sees the square middle of an image."""
    return preprocessing.resize_mode.endswith("shortest")


class TiledModel:
    """A model that encodes images with their regions.

    Parameters
    ----------
    model : Loads
        Loaded when this is.
    boxes : tuple of Box
        Of the regions.
    """

    def __init__(self, model: Loads[ImageEncoder], boxes: tuple[Box, ...]) -> None:
        self._model = model
        self._boxes = boxes

    def load(self) -> ImageEncoder:
        """The model's own encoder where there are no regions."""
        return self._encoder if self._boxes else self._model.load()

    @cached_property
    def _encoder(self) -> TiledEncoder:
        return TiledEncoder(self._model.load(), self._boxes)


class TiledEncoder:
    """ImageEncoder port whose rows are bundles, see ``zsretrieve.store.rows``: an image, then its regions.

    A batch holds the images whose tiles fill a batch of the model.
    """

    def __init__(self, encoder: ImageEncoder, boxes: tuple[Box, ...]) -> None:
        self._encoder = encoder
        self._boxes = boxes
        self.batch_size = max(1, encoder.batch_size // (1 + len(boxes)))
        self.concurrency = encoder.concurrency

    @property
    def space(self) -> Space:
        return self._encoder.space

    @property
    def head(self) -> Head:
        return self._encoder.head

    @property
    def encoding(self) -> Encoding:
        return self._encoder.encoding

    def prepare(self, image: Image.Image) -> Pixels:
        """The image and its regions, of shape (1 + r, ...); a tile too thin for the model is the image again.

        Raises ImageError as the model's own does.
        """
        whole = self._encoder.prepare(image)
        return np.stack([whole, *(self._tile(image, box, whole) for box in self._boxes)])

    def _tile(self, image: Image.Image, box: Box, whole: Pixels) -> Pixels:
        if crops(self.space.preprocessing):
            box = seen(box, image.width, image.height)
        try:
            return self._encoder.prepare(part(image, box))
        except (ImageError, ValueError):
            return whole

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        tiles = [tile for image in batch for tile in image]
        size = self._encoder.batch_size
        parts = [self._encoder.encode_prepared(tiles[start : start + size]) for start in range(0, len(tiles), size)]
        return np.concatenate(parts).reshape(len(batch), -1)
