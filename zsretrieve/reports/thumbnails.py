"""Small copies of pictures, as texts that stand in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from zsretrieve import addresses
from zsretrieve.errors import ImageError
from zsretrieve.images import decode, own_pixel_limit
from zsretrieve.records import Preprocessing

SIDE = 192
_QUALITY = 80
# Few, since each may hold a decoded picture.
_THREADS = 4
# What decoders of JPEG take as the size that is needed.
_SMALL = Preprocessing((SIDE, SIDE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic", "longest")


@dataclass(frozen=True)
class Thumbnail:
    """A picture of at most 192 x 192 pixels as a data URI, or None; ``problem`` says what is wrong with its file."""

    uri: str | None
    width: int = 0
    height: int = 0
    problem: str | None = None


def thumbnails(
    pictures: Sequence[tuple[str, str]], *, exif: bool = True, max_pixels: int | None = None
) -> dict[str, Thumbnail]:
    """Read pictures again and make them small.

    Parameters
    ----------
    pictures : sequence of (address, digest)
        The digest that the file had when it was encoded; empty where it is not known. A file that has another now is
        shown and said to have changed.
    exif, max_pixels
        See ``zsretrieve.images.decode``.

    Returns
    -------
    dict of address to Thumbnail
    """
    wanted = dict(pictures)

    def made(address: str) -> Thumbnail:
        return _thumbnail(address, wanted[address], exif, max_pixels)

    with own_pixel_limit(), ThreadPoolExecutor(_THREADS, thread_name_prefix="thumbnail") as pool:
        return dict(zip(wanted, pool.map(made, wanted), strict=True))


def _thumbnail(address: str, digest: str, exif: bool, max_pixels: int | None) -> Thumbnail:
    try:
        content = addresses.read(address)
        # As the model sees it: without transparency, whatever lies below it.
        image = decode(content, exif=exif, max_pixels=max_pixels, fast_for=_SMALL).image.convert("RGB")
    except ImageError as error:
        return Thumbnail(None, problem=error.message)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    # A fresh image: colour profiles and comments of the original are not for the page.
    Image.frombytes("RGB", image.size, image.tobytes()).save(data, "JPEG", quality=_QUALITY)
    uri = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
    changed = "changed since it was encoded" if digest and content.digest != digest else None
    return Thumbnail(uri, image.width, image.height, changed)
