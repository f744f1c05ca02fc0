"""Some pictures of a source, as an encoder sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from zsretrieve import addresses
from zsretrieve.errors import ImageError
from zsretrieve.images import decode, own_pixel_limit
from zsretrieve.ports import Encoder, Pixels
from zsretrieve.sources import Source, SourceFile
from zsretrieve.verbs.ahead import Reading


def sample(source: Source, encoder: Encoder, reading: Reading, count: int) -> list[Pixels]:
    """Prepared pictures from all over a source; others stand in for those that cannot be read.

    Parameters
    ----------
    source : Source
    encoder : Encoder
        Prepares them.
    reading : Reading
    count : int
        How many at most.
    """
    found: list[Pixels] = []
    with own_pixel_limit():
        for file in _spread(source.files, count):
            if len(found) == count:
                break
            with contextlib.suppress(ImageError, MemoryError, OSError, ValueError, RuntimeError):
                content = addresses.read(source.address(file))
                fast_for = encoder.space.preprocessing if reading.fast else None
                picture = decode(content, exif=reading.exif, max_pixels=reading.max_pixels, fast_for=fast_for)
                found.append(encoder.prepare(picture.image))
    return found


def _spread(files: Sequence[SourceFile], count: int) -> Iterator[SourceFile]:
    """All files: first ``count`` at even distances from the first to the last, then those between."""
    places = np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int).tolist()
    yield from (files[place] for place in places)
    chosen = set(places)
    yield from (file for place, file in enumerate(files) if place not in chosen)
