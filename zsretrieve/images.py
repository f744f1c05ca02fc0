"""Opening one picture: read, decode, orient, or say why not."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import stat
from dataclasses import dataclass
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


def open_picture(path: str | Path, *, exif: bool = True) -> Picture:
    """Read and decode a picture.

    Parameters
    ----------
    path : str or Path
    exif : bool
        Turn the picture upright as its EXIF orientation says.

    Raises
    ------
    ImageError
        If it cannot be read or decoded; the message is the reason alone, without the path.
    """
    try:
        # Looked at before it is opened: opening a pipe may block, and opening a device may do things.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError("not a regular file")
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            state = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise ImageError((error.strerror or str(error)).lower()) from error
    if not content:
        raise ImageError("empty file")
    image = _decode(content, exif)
    return Picture(
        image, image.width, image.height, len(content), state.st_mtime_ns, hashlib.sha256(content).hexdigest()
    )


def _decode(content: bytes, exif: bool) -> Image.Image:
    try:
        if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
            _register_heif()
        image: Image.Image = Image.open(io.BytesIO(content))
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
