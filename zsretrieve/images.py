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
from zsretrieve.records import Preprocessing

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
_ON_ITS_SIDE = frozenset(turn for orientation, turn in _TURNS.items() if orientation >= 5)
_JPEG = frozenset({"JPEG", "MPO"})
# A decoded picture, its turned copy and its conversion to RGB, some of them at once.
_BYTES_PER_PIXEL = 16
_LEAST_LIMIT, _GREATEST_LIMIT = 64_000_000, 2_000_000_000
# Pictures beyond this are decoded one at a time, however many threads there are.
_LARGE_PIXELS = 32_000_000
_one_large = threading.Lock()
_READ_ATTEMPTS = 3
_pillows_limit = threading.Lock()
_without_it = 0  # how many blocks have Pillow's own limit out of force, in all threads
_limit_before: int | None = None


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
    """A decoded picture and what is known of its file. ``digest`` is the sha256 of the file's bytes.

    ``width`` and ``height`` are those of the file, upright; the image may have been decoded at a part of them.
    """

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


def decode(
    content: Content, *, exif: bool = True, max_pixels: int | None = None, fast_for: Preprocessing | None = None
) -> Picture:
    """Decode a picture.

    Parameters
    ----------
    content : Content
    exif : bool
        Turn the picture upright as its EXIF orientation says.
    max_pixels : int, optional
        Larger pictures are refused before they are decoded; ``default_max_pixels()`` by default.
    fast_for : Preprocessing, optional
        Decode a JPEG at a half, a quarter or an eighth of its size, if that is no smaller than what this
        preprocessing resizes it to. The pixels are not quite those of an exact decoding.

    Raises
    ------
    ImageError
        If it cannot be decoded; the message is the reason alone, without the path.
    """
    if not content.data:
        raise ImageError("empty file")
    limit = default_max_pixels() if max_pixels is None else max_pixels
    image, (width, height) = _decode(content.data, exif, limit, fast_for)
    return Picture(image, width, height, len(content.data), content.mtime_ns, content.digest)


def resized_size(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """The (width, height) that a picture of (width, height) pixels is resized to, before it is cropped or padded."""
    width, height = size
    target_height, target_width = preprocessing.size
    if preprocessing.resize_mode == "squash":
        return target_width, target_height
    if preprocessing.resize_mode == "shortest" and target_height == target_width:
        longer = int(target_height * max(size) / min(size))
        return (target_width, longer) if width <= height else (longer, target_height)
    ratios = (height / target_height, width / target_width)
    ratio = max(ratios) if preprocessing.resize_mode == "longest" else min(ratios)
    return round(width / ratio), round(height / ratio)


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
    """Put Pillow's own limit out of force, so that ``max_pixels`` alone decides.

    The limit is the whole process's: of blocks in several threads the first puts it aside and the last puts it back.
    """
    global _without_it, _limit_before
    with _pillows_limit:
        if not _without_it:
            _limit_before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _without_it += 1
    try:
        yield
    finally:
        with _pillows_limit:
            _without_it -= 1
            if not _without_it:
                Image.MAX_IMAGE_PIXELS = _limit_before


def _decode(data: bytes, exif: bool, limit: int, fast_for: Preprocessing | None) -> tuple[Image.Image, tuple[int, int]]:
    """The picture, and the size that its file has, both turned upright if ``exif`` asks for it."""
    try:
        if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
            _register_heif()
        image: Image.Image = Image.open(io.BytesIO(data))
        pixels = image.width * image.height
        if pixels > limit:
            raise ImageError(
                f"too many pixels: {pixels / 1e6:,.0f} million, and the limit is {limit / 1e6:,.0f} (--max-megapixels)"
            )
        full = None if fast_for is None else _reduced(image, exif, fast_for)
        with _one_large if image.width * image.height > _LARGE_PIXELS else contextlib.nullcontext():
            image.load()
            turn = _turn(image) if exif else None
            size = _turned(full or image.size, turn)
            return _for_preprocessing(image if turn is None else image.transpose(turn)), size
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


def _reduced(image: Image.Image, exif: bool, preprocessing: Preprocessing) -> tuple[int, int] | None:
    """Have a JPEG decoded at no more of its size than needed; tells its full size, or None if it is no JPEG."""
    if image.format not in _JPEG:
        return None
    full = image.size
    turn = _turn(image) if exif else None
    width, height = _turned(resized_size(_turned(full, turn), preprocessing), turn)
    image.draft(image.mode, (max(width, 1), max(height, 1)))
    return full


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns it upright as its EXIF orientation says; a damaged EXIF block is no reason to lose a sound picture."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow's parser raises whatever the damage leads it to
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _turned(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    return size[::-1] if turn in _ON_ITS_SIDE else size


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
