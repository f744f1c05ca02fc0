"""Cached boxes of images, so that what was found once is found again without the model, also by an interrupted run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from zsretrieve.domain.ports import Known
from zsretrieve.domain.records import Encoding
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.cache.image_embeddings import DECODERS, is_too_large, with_size, without_size
from zsretrieve.encoders.cache.text_embeddings import versions
from zsretrieve.encoders.cache.vector_store import HOUR_NS, VectorFile
from zsretrieve.system.version import tool_version

DETECTIONS = VectorFile("detections.sqlite3", "detections", most=50_000, spare=5_000, noted_ns=30 * 24 * HOUR_NS)
# Of an image. A low threshold keeps thousands of boxes, each of six numbers.
_MOST_NUMBERS = 6_000


class CachedDetections:
    """ImageMemory port over a file of its own: boxes by the sha256 of their images, each after its width and height.

    Parameters
    ----------
    settings : str
        All that boxes depend on except the image: weights, device, precision, and what is looked for.
    reading : Reading
        How the images are read.
    floor : float
        The least score of the boxes. Boxes down to a lower score contain them.
    """

    def __init__(self, settings: str, reading: Reading, floor: float) -> None:
        self._reading = reading
        self._floor = np.float32(floor)
        described = [settings, reading.exif, reading.decoding, tool_version(), versions((*DECODERS, "torchvision"))]
        self._prefix = json.dumps(described).encode()

    def recall(self, digest: str) -> Known | None:
        key = self._key(digest)
        row = DETECTIONS.recall([key], None).get(key)
        if row is None:
            return None
        stored = without_size(row)
        floor, boxes = stored.vector[0], stored.vector[1:]
        return None if floor > self._floor or is_too_large(stored, self._reading) else replace(stored, vector=boxes)

    def keep(self, images: Mapping[str, Known], encoding: Encoding) -> None:  # noqa: ARG002
        DETECTIONS.remember(
            {
                self._key(digest): with_size(replace(image, vector=np.append(self._floor, image.vector)))
                for digest, image in images.items()
                if len(image.vector) <= _MOST_NUMBERS
            }
        )

    def _key(self, digest: str) -> bytes:
        return hashlib.sha256(self._prefix + digest.encode()).digest()
