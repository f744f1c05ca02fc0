"""Cached vectors of images, so that a folder that is classified or evaluated again is only read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from zsretrieve.domain.ports import Known
from zsretrieve.domain.records import Encoding, Space
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.cache.text_embeddings import prefix_of
from zsretrieve.encoders.cache.vector_store import HOUR_NS, VectorFile

# 100,000 vectors are twice ImageNet's validation set, and 220 MB at 512 dimensions. A month between two updates: each
# image is looked up by itself, and a write takes longer than that.
IMAGES = VectorFile(
    "images.sqlite3", "images", most=100_000, spare=10_000, noted_ns=30 * 24 * HOUR_NS, page_bytes=1 << 14
)
# The packages that decode images.
DECODERS = ("pillow", "pillow-heif")


class CachedImages:
    """ImageMemory port over a file of its own: vectors by the sha256 of their images, each after its width and height.

    Parameters
    ----------
    space, settings, is_as_planned
        As for ``CachedQueries``.
    reading : Reading
        How the images are read.
    """

    def __init__(
        self,
        space: Space,
        settings: str,
        reading: Reading,
        is_as_planned: Callable[[Encoding], bool] = lambda _: True,
    ) -> None:
        self._width = space.dim + 2
        self._reading = reading
        self._is_as_planned = is_as_planned
        self._prefix = prefix_of(space, f"{settings}, exif {reading.exif}, {reading.decoding}", DECODERS)

    def recall(self, digest: str) -> Known | None:
        key = self._key(digest)
        row = IMAGES.recall([key], self._width).get(key)
        if row is None:
            return None
        known = without_size(row)
        return None if is_too_large(known, self._reading) else known

    def keep(self, images: Mapping[str, Known], encoding: Encoding) -> None:
        if self._is_as_planned(encoding):
            IMAGES.remember({self._key(digest): with_size(image) for digest, image in images.items()})

    def _key(self, digest: str) -> bytes:
        return hashlib.sha256(self._prefix + digest.encode()).digest()


def with_size(image: Known) -> Vectors:
    """What is stored of an image: its width and height before the rest, float32."""
    return np.array([image.width, image.height, *image.vector], dtype=np.float32)


def without_size(row: Vectors) -> Known:
    """The image that ``with_size`` stored."""
    return Known(int(row[0]), int(row[1]), row[2:])


def is_too_large(image: Known, reading: Reading) -> bool:
    """Whether an image exceeds the limit now: it is read again, and skipped with the reason."""
    return reading.max_pixels is not None and image.width * image.height > reading.max_pixels
