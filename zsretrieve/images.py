"""Opening one picture: read, decode, orient, or say why not."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from zsretrieve.errors import ImageError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".j2k"}
    | {".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".mpo", ".apng"}
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})
# Modes that open_clip's own preprocessing converts to RGB as the published numbers did. Converting them earlier
# would resize other pixels and so move the vectors.
_PASSED_ON = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"})
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A decoded picture, its turned copy and its conversion to RGB, some of them at once.
_BYTES_PER_PIXEL = 16
_LEAST_LIMIT, _GREATEST_LIMIT = 64_000_000, 2_000_000_000
# Pictures beyond this are decoded one at a time, however many threads there are.
_LARGE_PIXELS = 32_000_000
_one_large = threading.Lock()
_READ_ATTEMPTS = 3


@dataclass(frozen=True)
class Content:
    """The bytes of a file, before they are a picture."""

    data: bytes
    mtime_ns: int

    @cached_property
    def digest(self) -> str:
        """The sha256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Picture:
    """A decoded picture and what is known of its file. ``digest`` is the sha256 of the file's bytes."""

    image: Image.Image
    width: int
    height: int
    bytes: int
    mtime_ns: int
    digest: str


def is_image_name(name: str) -> bool:
    """Whether a file name ends like a picture's."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def open_picture(path: str | Path, *, exif: bool = True, max_pixels: int | None = None) -> Picture:
    """Read and decode a picture file. Parameters and errors are those of ``decode`` and ``read_file``."""
    return decode(read_file(path), exif=exif, max_pixels=max_pixels)


def read_file(path: str | Path) -> Content:
    """Read a file that may be anything, and may be written to meanwhile.

    Raises
    ------
    ImageError
        If it cannot be read, or changes again and again while it is; the message is the reason alone.
    """
    try:
        # Looked at before it is opened: opening a pipe may block, and opening a device may do things.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError("not a regular file")
        for _ in range(_READ_ATTEMPTS):
            with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
                before = os.fstat(file.fileno())
                data = file.read()
                after = os.fstat(file.fileno())
            if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, len(data)):
                return Content(data, before.st_mtime_ns)
    except OSError as error:
        raise ImageError((error.strerror or str(error)).lower()) from error
    raise ImageError("changed while it was being read")


def decode(content: Content, *, exif: bool = True, max_pixels: int | None = None) -> Picture:
    """Decode a picture.

    Parameters
    ----------
    content : Content
    exif : bool
        Turn the picture upright as its EXIF orientation says.
    max_pixels : int, optional
        Larger pictures are refused before they are decoded; ``default_max_pixels()`` by default.

    Raises
    ------
    ImageError
        If it cannot be decoded; the message is the reason alone, without the path.
    """
    if not content.data:
        raise ImageError("empty file")
    limit = default_max_pixels() if max_pixels is None else max_pixels
    image = _decode(content.data, exif, limit)
    return Picture(image, image.width, image.height, len(content.data), content.mtime_ns, content.digest)


@functools.cache
def default_max_pixels() -> int:
    """How many pixels a picture may have: what half of this machine's free memory decodes, at least 64 million."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        free = 0
    with contextlib.suppress(OSError, ValueError, StopIteration):
        # What the system could free counts too: its file cache alone may fill the memory.
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024
    return min(max(free // 2 // _BYTES_PER_PIXEL, _LEAST_LIMIT), _GREATEST_LIMIT)


@contextlib.contextmanager
def own_pixel_limit() -> Iterator[None]:
    """Put Pillow's own limit out of force, so that ``max_pixels`` alone decides."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode(data: bytes, exif: bool, limit: int) -> Image.Image:
    try:
        if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
            _register_heif()
        image: Image.Image = Image.open(io.BytesIO(data))
        pixels = image.width * image.height
        if pixels > limit:
            raise ImageError(
                f"too many pixels: {pixels / 1e6:,.0f} million, and the limit is {limit / 1e6:,.0f} (--max-megapixels)"
            )
        with _one_large if pixels > _LARGE_PIXELS else contextlib.nullcontext():
            image.load()
            return _for_preprocessing(_upright(image) if exif else image)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("not a readable image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels: {error}") from error
    except MemoryError as error:
        raise ImageError("out of memory while decoding") from error
    except Exception as error:  # a decoder may raise anything at all, and one file must not end a run
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"damaged image: {reason}") from error


@functools.cache
def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError("HEIC, which needs: pip install pillow-heif") from error
    pillow_heif.register_heif_opener()


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; a damaged EXIF block is no reason to lose a sound picture."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow's parser raises whatever the damage leads it to
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _for_preprocessing(image: Image.Image) -> Image.Image:
    if image.mode in _PASSED_ON:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Pillow would clip these to 0..255; their own range is kept instead.
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        most = float(values.max(initial=0.0))
        if image.mode == "F" and most <= 1:
            top = 1.0
        elif image.mode in ("F", "I") and most <= 255:
            top = 255.0
        else:
            top = max(65535.0, most)
        return Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8))
    return image.convert("RGB")
