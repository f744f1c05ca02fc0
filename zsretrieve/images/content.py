"""Image files before they are decoded: their names, and their bytes read whole."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from zsretrieve.domain.errors import ImageError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".j2k"}
    | {".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".mpo", ".apng"}
)
_READ_ATTEMPTS = 3

_RAW = "camera raw: export JPEG files, or extract the previews with exiftool -b -PreviewImage"
_CONVERT = "not read: convert to PNG"
_VIDEO = "video: extract frames with ffmpeg"
# What to do with other files that show something, by suffix.
_ADVICE = {
    **dict.fromkeys(
        (".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw",
         ".x3f", ".3fr", ".erf", ".kdc", ".mrw", ".mos", ".iiq", ".raw"),
        _RAW,
    ),
    ".jxl": "JPEG XL: convert with djxl",
    **dict.fromkeys((".svg", ".svgz", ".eps", ".ai", ".pdf"), "not pixels: render as PNG"),
    **dict.fromkeys((".psd", ".psb", ".xcf", ".kra"), "layers: export as PNG"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mts", ".3gp"), _VIDEO),
    **dict.fromkeys(
        (".ico", ".icns", ".cur", ".dds", ".jpx", ".jpf", ".jxr", ".exr", ".hdr", ".dcm", ".fits", ".bpg",
         ".flif", ".qoi"),
        _CONVERT,
    ),
}  # fmt: skip
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Content:
    """The bytes of a file, before they are decoded."""

    data: bytes
    mtime_ns: int

    @cached_property
    def digest(self) -> str:
        """The sha256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def advice(suffix: str) -> str | None:
    """What would make the files with a suffix readable; None if they are not images of any kind."""
    return _ADVICE.get(suffix.lower())


def looks_like_image(path: str) -> bool:
    """Whether a file, whatever its name, begins like a common image."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(_MAGIC) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def read_file(path: str | Path) -> Content:
    """Read a file that may be anything, and may be written to meanwhile.

    Raises
    ------
    ImageError
        If it cannot be read, or keeps changing while it is read; the message is the reason alone.
    """
    try:
        # Checked before it is opened: opening a pipe may block, and opening a device may do things.
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
