"""Decoding one image, or the reason why it cannot be used."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.records import RGB_FIRST, Preprocessing
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.wording import one_line
from zsretrieve.images.content import Content

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})
# The formats that docs/files.md lists; MPO is one of JPEG. Of the others that Pillow reads, some allocate what a header
# says before any limit applies (ICNS), and some start another program (EPS). The common ones are first, and the modules
# of the rest are imported late.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "DIB")
_TILE_WIDTH, _TILE_LENGTH = 322, 323
# Images of more bits are scaled by the first of these that holds their greatest value.
_DEPTHS = tuple(float(2**bits - 1) for bits in (8, 10, 12, 14, 16))
# Modes that open_clip's own preprocessing converts to RGB as the published numbers did. Converting them earlier
# would resize other pixels and so change the vectors.
_PASSED_ON = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"})
_EXIF_ORIENTATION = 0x0112
# Where Pillow finds the orientation of an open image.
_ORIENTED = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACK: dict[Image.Transpose | None, Image.Transpose] = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset(turn for orientation, turn in _TURNS.items() if orientation >= 5)
_JPEG = frozenset({"JPEG", "MPO"})
# A decoded image, its turned copy and its conversion to RGB, some of them at once.
_BYTES_PER_PIXEL = 16
_LEAST_LIMIT, _GREATEST_LIMIT = 64_000_000, 2_000_000_000
# Images beyond this are decoded one at a time, however many threads there are.
_LARGE_PIXELS = 32_000_000
_one_large = threading.Lock()
_pillows_limit = threading.Lock()
_without_limit = 0  # blocks that suspend Pillow's own limit, in all threads
_limit_before: int | None = None


@dataclass(frozen=True)
class Decoded:
    """A decoded image. ``width`` and ``height`` are those of the file, upright; ``image`` may be smaller.

    ``scaled`` if it has more than 8 bits per channel and was scaled to 8 by the values that it uses.
    """

    image: Image.Image
    width: int
    height: int
    scaled: bool = False


def decode(content: Content, reading: Reading, preprocessing: Preprocessing | None = None) -> Decoded:
    """Decode an image.

    Parameters
    ----------
    content : Content
    reading : Reading
        Images above ``max_pixels``, by default ``default_max_pixels()``, are refused before they are decoded.
    preprocessing : Preprocessing, optional
        With ``reading.fast``, a JPEG is decoded at a half, a quarter or an eighth of its size, if that is at least
        what this resizes it to. The pixels are not quite those of an exact decoding.

    Raises
    ------
    ImageError
        If it cannot be decoded; the message is the reason alone, without the path.
    """
    if not content.data:
        raise ImageError("empty file")
    try:
        is_heif = content.data[4:8] == b"ftyp" and content.data[8:12] in _HEIF_BRANDS
        if is_heif:
            _register_heif()
        image: Image.Image = Image.open(io.BytesIO(content.data), formats=("HEIF",) if is_heif else _FORMATS)
        limit = default_max_pixels() if reading.max_pixels is None else reading.max_pixels
        pixels = _allocated(image)
        if pixels > limit:
            raise ImageError(
                f"too many pixels: {pixels / 1e6:,.0f} million, and the limit is {limit / 1e6:,.0f} (--max-megapixels)"
            )
        full = None
        if reading.fast and preprocessing is not None and image.format in _JPEG:
            full = image.size
            _draft(image, reading.exif, preprocessing)
        with _one_large if image.width * image.height > _LARGE_PIXELS else contextlib.nullcontext():
            turned = _turn(image) if image.format == "TIFF" and not reading.exif else None
            image.load()
            # Pillow itself turns TIFF files upright.
            turn = _turn(image) if reading.exif else _BACK.get(turned, turned)
            width, height = _turned(full or image.size, turn)
            prepared = for_preprocessing(_upright(image, turn))
            return Decoded(prepared, width, height, is_deep(image))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("not a readable image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels: {error}") from error
    except MemoryError as error:
        raise ImageError("out of memory while decoding") from error
    except Exception as error:  # a decoder may raise anything, and one file must not end a run
        raise ImageError(f"damaged image: {one_line(error)}") from error


def resized_size(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """The (width, height) that an image of (width, height) pixels is resized to, before it is cropped or padded."""
    width, height = size
    target_height, target_width = preprocessing.size
    mode = preprocessing.resize_mode.removeprefix(RGB_FIRST)
    if mode == "squash":
        return target_width, target_height
    if mode == "shortest" and target_height == target_width:
        longer = int(target_height * max(size) / min(size))
        return (target_width, longer) if width <= height else (longer, target_height)
    ratios = (height / target_height, width / target_width)
    ratio = max(ratios) if mode == "longest" else min(ratios)
    return round(width / ratio), round(height / ratio)


@functools.cache
def default_max_pixels() -> int:
    """How many pixels an image may have: what half of this machine's free memory can decode, at least 64 million."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        free = 0
    with contextlib.suppress(OSError, ValueError, StopIteration):
        # Includes what the system could free: its file cache alone may fill the memory.
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024
    return min(max(free // 2 // _BYTES_PER_PIXEL, _LEAST_LIMIT), _GREATEST_LIMIT)


@contextlib.contextmanager
def own_pixel_limit() -> Iterator[None]:
    """Suspend Pillow's own limit, so that ``max_pixels`` alone decides.

    The limit belongs to the whole process: of blocks in several threads the first suspends it, the last restores it.
    """
    global _without_limit, _limit_before
    with _pillows_limit:
        if not _without_limit:
            _limit_before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _without_limit += 1
    try:
        yield
    finally:
        with _pillows_limit:
            _without_limit -= 1
            if not _without_limit:
                Image.MAX_IMAGE_PIXELS = _limit_before


@functools.cache
def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError("HEIC, which needs: pip install pillow-heif") from error
    pillow_heif.register_heif_opener()


def _draft(image: Image.Image, exif: bool, preprocessing: Preprocessing) -> None:
    """Make Pillow decode a JPEG at no more of its size than needed."""
    turn = _turn(image) if exif else None
    width, height = _turned(resized_size(_turned(image.size, turn), preprocessing), turn)
    image.draft(image.mode, (max(width, 1), max(height, 1)))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns it upright by its EXIF orientation; a damaged EXIF block is no reason to lose a readable image."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow's parser raises anything
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """An image turned, without the tags by which whoever is given it would turn it again."""
    if turn is None:
        return image
    turned = image.transpose(turn)
    for tag in _ORIENTED:
        turned.info.pop(tag, None)
    return turned


def _turned(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    return size[::-1] if turn in _SIDEWAYS else size


def _allocated(image: Image.Image) -> int:
    """The pixels that decoding allocates: a TIFF's tiles may be larger than the image."""
    tags = getattr(image, "tag_v2", {})
    return max(image.width * image.height, int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0)))


def opened_image(image: Image.Image, reading: Reading) -> Image.Image:
    """An image that the caller opened, as ``decode`` gives it. Raises ImageError, with the reason alone."""
    try:
        turn = _turn(image) if reading.exif else None
        return for_preprocessing(_upright(image, turn))
    except ImageError:
        raise
    except Exception as error:  # as for ``decode``
        raise ImageError(f"damaged image: {one_line(error)}") from error


def is_deep(image: Image.Image) -> bool:
    """Whether an image has one channel of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def for_preprocessing(image: Image.Image) -> Image.Image:
    """An image in a mode that the models' preprocessing takes. Raises ImageError if no pixel has a value."""
    if image.mode in _PASSED_ON:
        return image
    if not is_deep(image):
        return image.convert("RGB")
    # Pillow would clip these to 0..255.
    values = np.asarray(image, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ImageError("no pixel has a finite value")
    low, top = _range(float(finite.min()), float(finite.max()), whole=image.mode != "F")
    shares = np.nan_to_num(np.clip((values - low) / (top - low), 0, 1))
    return Image.fromarray((shares * 255.0).astype(np.uint8))


def _range(lowest: float, highest: float, *, whole: bool) -> tuple[float, float]:
    """The values that become black and white: files seldom say how many of their bits they use, so their values do."""
    low = lowest if -highest <= lowest < 0 else 0.0  # values around 0; others below it mark what is missing
    if not whole and highest <= 1:
        return low, 1.0
    if whole or highest <= _DEPTHS[0]:
        return low, next((depth for depth in _DEPTHS if highest <= depth), highest)
    return low, highest
