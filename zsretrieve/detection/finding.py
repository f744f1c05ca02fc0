"""Finding objects in the images of a source: batches, skips and caching are those of encoding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.detection.queries import Queries
from zsretrieve.domain.boxes import suppressed
from zsretrieve.domain.detections import TEXT_THRESHOLD, BoxLimits, DetectedImage, Detection
from zsretrieve.domain.detector import Detector
from zsretrieve.domain.ports import ImageMemory, OnProgress, Pixels
from zsretrieve.domain.records import Encoding, Skipped, Space
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.detection import DetectionModel
from zsretrieve.encoding.batches import Memory, encode_batches, nothing_readable, unread
from zsretrieve.images.sources import Source

# A class, a score and the four edges of a box.
_WIDTH = 6


class _Finder:
    """A detector with what it looks for, as ``encode_batches`` takes an encoder: the vector of an image are its boxes.

    ``load`` loads the detector and encodes what it looks for.
    """

    concurrency = 1

    def __init__(self, model: DetectionModel, queries: Queries, floor: float) -> None:
        self._model = model
        self._queries = queries
        self._floor = floor
        self._classes: Vectors | None = None

    def load(self) -> _Finder:
        if self._classes is None:
            self._classes = self._queries.encode(self._detector)
        return self

    @property
    def _detector(self) -> Detector:
        return self._model.load()

    @property
    def space(self) -> Space:
        return self._detector.space

    @property
    def encoding(self) -> Encoding:
        return self._detector.encoding

    @property
    def batch_size(self) -> int:
        return self._detector.batch_size

    def prepare(self, image: Image.Image) -> Pixels:
        return self._detector.prepare(image)

    def encode_prepared(self, batch: Sequence[Pixels]) -> list[Vectors]:
        assert self._classes is not None
        found = self._detector.detect(batch, self._classes)
        return [rows[rows[:, 1] >= self._floor].ravel() for rows in found]


def find(
    source: Source,
    model: DetectionModel,
    queries: Queries,
    limits: BoxLimits,
    reading: Reading,
    *,
    on_progress: OnProgress | None = None,
) -> tuple[tuple[DetectedImage, ...], tuple[Skipped, ...]]:
    """The objects in every readable image of a source, and what was skipped.

    Boxes are cached as soon as they are found, so an interrupted run picks up where it left off.

    Parameters
    ----------
    source : Source
    model : DetectionModel
        Loaded for the first image that is not cached.
    queries : Queries
    limits : BoxLimits
        With a threshold.
    reading : Reading
    on_progress : callable, optional
        Called with (files done, files in all).

    Raises
    ------
    SkippedInputError
        If ``reading`` is strict and an image cannot be used.
    SourceError
        If no image can be read.
    """
    assert limits.threshold is not None
    # Lower scores are cached, too, so that another threshold needs no model.
    floor = min(limits.threshold, TEXT_THRESHOLD)
    finder, pads = _Finder(model, queries, floor), model.open().pads
    memory = Memory(_cache(model, queries, reading, floor))
    skipped = list(unread(source, reading))
    images = []
    for batch in encode_batches(source, source.files, finder, reading, memory.get):
        memory.note(batch)
        memory.keep(finder)
        for seen in batch.seen:
            size = seen.item.width, seen.item.height
            found = kept(seen.vector.reshape(-1, _WIDTH), size, limits, queries.class_names, pads=pads)
            images.append(DetectedImage(source.address(seen.file), *size, found))
        skipped += batch.skipped
        if on_progress is not None:
            on_progress(batch.done, len(source.files))
    if not images:
        raise nothing_readable(skipped)
    return tuple(images), tuple(skipped)


def kept(
    rows: NDArray[np.float32], size: tuple[int, int], limits: BoxLimits, names: Sequence[str], *, pads: bool
) -> tuple[Detection, ...]:
    """The objects of an image, best first.

    Parameters
    ----------
    rows : float32 of shape (n, 6)
        See ``Detector.detect``.
    size : (width, height)
        Of the upright image.
    limits : BoxLimits
        With a threshold. Suppression takes boxes as the model predicts them, and all classes together, as transformers
        does for examples.
    names : sequence of str
        Of the classes.
    pads : bool
        Whether boxes are shares of a square with the image in its upper left corner; otherwise of the image.

    Returns
    -------
    tuple of Detection
        Boxes end at the edges of the image, and those outside it are left out.
    """
    assert limits.threshold is not None
    rows = rows[rows[:, 1] >= limits.threshold]
    rows = rows[suppressed(rows[:, 2:], rows[:, 1], limits.iou)]
    boxes = rows[:, 2:].astype(np.float64)
    if pads:
        boxes *= max(size) / np.array(size * 2)
    boxes = boxes.clip(0, 1)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return tuple(
        Detection(int(class_id), names[int(class_id)], score, (left, top, right, bottom))
        for (class_id, score), (left, top, right, bottom) in zip(
            rows[inside, :2].tolist(), boxes[inside].tolist(), strict=True
        )
    )[: limits.most]


def _cache(model: DetectionModel, queries: Queries, reading: Reading, floor: float) -> ImageMemory | None:
    """The boxes of earlier runs; None if the weights cannot be identified yet, or Python was built without SQLite."""
    settings = model.settings()
    if settings is None:
        return None
    try:
        from zsretrieve.encoders.cache.detections import CachedDetections
    except ImportError:
        return None
    return CachedDetections(f"{settings}, {queries.digest}", reading, floor)
