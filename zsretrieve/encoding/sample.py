"""A sample of a source, as an encoder sees it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.ports import Encoder, Pixels
from zsretrieve.domain.settings import Reading
from zsretrieve.images import opening
from zsretrieve.images.decoding import decode, own_pixel_limit
from zsretrieve.images.sources import Source, SourceFile


def sample(source: Source, encoder: Encoder, reading: Reading, count: int) -> list[Pixels]:
    """At most ``count`` prepared images from all over a source; others replace those that cannot be read."""
    images: list[Pixels] = []
    with own_pixel_limit():
        for file in _spread(source.files, count):
            if len(images) == count:
                break
            with contextlib.suppress(ImageError, MemoryError, OSError, ValueError, RuntimeError):
                content = opening.read(source.address(file))
                images.append(encoder.prepare(decode(content, reading, encoder.space.preprocessing).image))
    return images


def _spread(files: Sequence[SourceFile], count: int) -> Iterator[SourceFile]:
    """All files: first ``count`` at even distances from the first to the last, then those between."""
    places = np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int).tolist()
    yield from (files[place] for place in places)
    chosen = set(places)
    yield from (file for place, file in enumerate(files) if place not in chosen)
