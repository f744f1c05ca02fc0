"""What runs on the nodes: decoders, which prepare images on processors, and encoders, which hold the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from zsretrieve.cluster import storage, unit_files
from zsretrieve.cluster.unit_files import EncodedUnit, Skips, Unit
from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.records import Encoding, Head, Item, Skipped, Space
from zsretrieve.domain.settings import Compute
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders import preprocessing
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.prefetch import Prefetch, Ready
from zsretrieve.images.sources import Source


@dataclass(frozen=True)
class Description:
    """What a manifest names of an encoder, and its batch size."""

    space: Space
    head: Head
    encoding: Encoding
    batch_size: int


@dataclass(frozen=True)
class Decoded:
    """A unit ready for the model.

    ``items`` have as ID the place of their file in the unit. ``pixels`` are those of each digest once, in the order of
    the first item of that digest.
    """

    items: tuple[Item, ...]
    pixels: list[Pixels]
    skipped: Skips
    scaled: tuple[str, ...]


@dataclass(frozen=True)
class _Preparer:
    """What of an encoder prepares images, without its weights."""

    space: Space
    batch_size: int

    def prepare(self, image: Image.Image) -> Pixels:
        return preprocessing.prepare(image, self.space.preprocessing)

    def load(self) -> _Preparer:
        return self


class Decoder:
    """Reads, decodes and resizes the images of units.

    Parameters
    ----------
    source : Source
        Without its files.
    threads : int
    """

    def __init__(self, source: Source, threads: int) -> None:
        self._source = source
        self._threads = threads

    def ready(self) -> None:
        """Return once the worker runs."""

    def decode(self, unit: Unit) -> tuple[Skips, Decoded]:
        """What was skipped of a unit, and the unit ready for the model."""
        reading = replace(unit.recipe.reading, workers=self._threads)
        preparer = _Preparer(unit.recipe.space, unit.recipe.batch_size)
        prefetch = Prefetch(self._source, unit.files, reading, lambda _: None, preparer, lambda _: None)
        prefetch.encoder = preparer
        items: list[Item] = []
        skipped: list[tuple[int, Skipped]] = []
        pixels: dict[str, Pixels] = {}
        for place, (file, outcome) in enumerate(prefetch.images()):
            if isinstance(outcome, ImageError):
                skipped.append((place, Skipped(file.path, outcome.message)))
            else:
                items.append(outcome.item)
                pixels.setdefault(outcome.item.digest, _pixels(outcome))
        return tuple(skipped), Decoded(tuple(items), list(pixels.values()), tuple(skipped), tuple(prefetch.scaled))


class Encoder:
    """Encodes decoded units, and writes them to the shared storage.

    Parameters
    ----------
    name : str, optional
        Of the model.
    compute : Compute
    place : str
        The storage.
    """

    def __init__(self, name: str | None, compute: Compute, place: str) -> None:
        self._model = Model(name, compute)
        self._place = place

    def ready(self) -> Description:
        """Load the model."""
        encoder = self._model.load()
        return Description(encoder.space, encoder.head, encoder.encoding, encoder.batch_size)

    def encode(self, unit: Unit, decoded: Decoded) -> None:
        """Encode a unit, and write its file."""
        vectors = self._encoded(decoded.pixels)
        row_of: dict[str, int] = {}
        rows = [row_of.setdefault(item.digest, len(row_of)) for item in decoded.items]
        encoded = EncodedUnit(decoded.items, vectors[rows], decoded.skipped, decoded.scaled)
        storage.write(self._place, unit.name, unit_files.to_bytes(encoded))

    def _encoded(self, pixels: Sequence[Pixels]) -> Vectors:
        encoder = self._model.load()
        size = encoder.batch_size
        starts = range(0, len(pixels), size)
        parts = [encoder.encode_prepared(pixels[start : start + size]) for start in starts]
        return np.concatenate(parts) if parts else np.empty((0, encoder.space.dim), dtype=np.float32)


def _pixels(ready: Ready) -> Pixels:
    assert ready.pixels is not None
    return ready.pixels
