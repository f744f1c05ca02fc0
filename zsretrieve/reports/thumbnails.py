"""Small copies of images, embedded in a page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.records import Preprocessing
from zsretrieve.domain.settings import Reading
from zsretrieve.images import opening
from zsretrieve.images.decoding import decode, own_pixel_limit

SIDE = 192
_QUALITY = 80
# Few, since each may hold a decoded image.
_THREADS = 4


@dataclass(frozen=True)
class Thumbnail:
    """A small image as a data URI, or None; ``problem`` is what is wrong with its file."""

    uri: str | None
    width: int = 0
    height: int = 0
    problem: str | None = None


def thumbnails(images: Sequence[tuple[str, str]], reading: Reading, side: int = SIDE) -> dict[str, Thumbnail]:
    """Read images again and make them small.

    Parameters
    ----------
    images : sequence of (address, digest)
        The digest that the file had when it was encoded; empty if unknown. A file with another digest now is shown and
        marked as changed.
    reading : Reading
        ``exif`` and ``max_pixels`` count.
    side : int
        Neither width nor height is larger.

    Returns
    -------
    dict of address to Thumbnail
    """
    digests = dict(images)

    def thumbnail(address: str) -> Thumbnail:
        return _thumbnail(address, digests[address], reading, side)

    with own_pixel_limit(), ThreadPoolExecutor(_THREADS, thread_name_prefix="thumbnail") as pool:
        return dict(zip(digests, pool.map(thumbnail, digests), strict=True))


def link(address: str, folder: Path) -> str | None:
    """What opens an image from a page in ``folder``: a relative path or a URL; None for what no
    browser opens, such as a member of an archive.
    """
    if opening.split(address) is not None:
        return None
    if opening.is_url(address):
        return address if address.startswith(("https://", "http://")) else None
    return quote(os.fsencode(os.path.relpath(address, folder)))


def _thumbnail(address: str, digest: str, reading: Reading, side: int) -> Thumbnail:
    try:
        content = opening.read(address)
        # As the model sees it: without transparency, whatever is below it.
        decoded = decode(content, replace(reading, fast=True), _small(side))
    except ImageError as error:
        return Thumbnail(None, problem=error.message)
    image = decoded.image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    # Without the colour profile and the comments of the original.
    Image.frombytes("RGB", image.size, image.tobytes()).save(data, "JPEG", quality=_QUALITY)
    uri = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
    changed = "changed since it was encoded" if digest and content.digest != digest else None
    return Thumbnail(uri, image.width, image.height, changed)


def _small(side: int) -> Preprocessing:
    """The size that JPEG decoders need to aim for."""
    return Preprocessing((side, side), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic", "longest")
