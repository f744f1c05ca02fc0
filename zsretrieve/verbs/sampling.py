"""Some pictures of a source, as an encoder sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from zsretrieve import addresses
from zsretrieve.errors import ImageError
from zsretrieve.images import decode, own_pixel_limit
from zsretrieve.ports import Encoder, Pixels
from zsretrieve.sources import Source, SourceFile
from zsretrieve.verbs.ahead import Reading


def sample(source: Source, encoder: Encoder, reading: Reading, count: int) -> list[Pixels]:
    """Prepared pictures from all over a source, in its order; what cannot be read is passed over.

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
                image = decode(content, exif=reading.exif, max_pixels=reading.max_pixels).image
                found.append(encoder.prepare(image))
    return found


def _spread(files: Sequence[SourceFile], count: int) -> Iterator[SourceFile]:
    """All files: first ``count`` from even distances, then those between."""
    step = max(1, len(files) // count)
    for start in range(step):
        yield from files[start::step]
