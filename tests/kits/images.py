"""Small picture files for tests."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from zsretrieve.domain.settings import Reading
from zsretrieve.images.content import read_file
from zsretrieve.images.decoding import Decoded, decode


def picture(path: Path, size: tuple[int, int] = (8, 6), mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path, **options)
    return path


def turned_exif() -> Image.Exif:
    """The EXIF block of an image that is upright when it is turned by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def png(number: int) -> bytes:
    """The bytes of a PNG; each number gives others."""
    content = io.BytesIO()
    Image.new("RGB", (9 + number % 5, 7), (number % 256, number // 256 % 256, 40)).save(content, "PNG")
    return content.getvalue()


def open_image(path: Path, reading: Reading | None = None) -> Decoded:
    """A decoded file."""
    return decode(read_file(path), reading or Reading())
