"""Images for browsers: thumbnails, made once and kept on the disk, and whole images in forms that browsers show."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from zsretrieve.domain.records import Item, Preprocessing
from zsretrieve.domain.settings import Reading
from zsretrieve.images import opening
from zsretrieve.images.content import Content
from zsretrieve.images.decoding import decode
from zsretrieve.store.indexes import Gallery
from zsretrieve.system.cache_dir import cache_folder
from zsretrieve.web.cached_files import CachedFiles
from zsretrieve.web.errors import missing

SIZES = (128, 256, 512)
_FORM = 1  # of the thumbnails; another number makes all of them again
_QUALITY = {128: 80, 256: 80, 512: 82}
_WHOLE_SIDE, _WHOLE_QUALITY = 4096, 90
_HEAD = 32


@dataclass(frozen=True)
class Picture:
    """An image to send: ``content``, or a ``path`` to send it from. ``is_lasting`` if it may be kept by ``etag``."""

    media_type: str
    etag: str
    content: bytes | None = None
    path: Path | None = None
    is_lasting: bool = True


class Pictures:
    """Makes and keeps the images of galleries.

    Parameters
    ----------
    max_pixels : int
        Larger images are refused before they are decoded.
    most_bytes : int
        What the thumbnails on the disk may take.
    """

    def __init__(self, max_pixels: int, most_bytes: int) -> None:
        self.reading = Reading(max_pixels=max_pixels)
        self._files = CachedFiles(cache_folder() / "thumbnails", most_bytes)

    def etag(self, item: Item, size: int) -> str:
        """What identifies a thumbnail: the digest of the image, its size and the form of thumbnails."""
        known = item.digest or f"{item.path}\0{item.bytes}\0{item.mtime_ns}"
        return _key(known, size)

    def thumbnail(self, gallery: Gallery, item: Item, size: int) -> Picture:
        """An image of a gallery, at most ``size`` pixels wide and high. Raises HttpError (404), ImageError."""
        _refuse_text(item)
        key = self.etag(item, size)
        kept = self._files.read(key)
        if kept is not None:
            return Picture(_sniff(kept[:_HEAD]) or "image/jpeg", key, kept)
        content = _read(gallery.path_of(item))
        made = self._small(content, size)
        # What the file holds now may be another image than the one that was encoded.
        lasting = not item.digest or content.digest == item.digest
        if lasting:
            self._files.write(key, made)
        return Picture(
            _sniff(made) or "image/jpeg", key if lasting else _key(content.digest, size), made, None, lasting
        )

    def thumbnail_of(self, content: Content, size: int) -> Picture:
        """A thumbnail of an image that was sent. Raises ImageError."""
        key = _key(content.digest, size)
        made = self._files.read(key)
        if made is None:
            made = self._small(content, size)
            self._files.write(key, made)
        return Picture(_sniff(made) or "image/jpeg", key, made)

    def whole(self, gallery: Gallery, item: Item) -> Picture:
        """An image as its file is where browsers show such files, else a JPEG. Raises HttpError (404), ImageError."""
        _refuse_text(item)
        address = gallery.path_of(item)
        if opening.split(address) is None and not opening.is_url(address):
            found = _file(address)
            if found is not None:
                return found
        content = _read(address)
        media_type = _sniff(content.data[:_HEAD])
        if media_type is not None:
            return Picture(media_type, content.digest[:32], content.data)
        image = decode(content, self.reading).image.convert("RGB")
        image.thumbnail((_WHOLE_SIDE, _WHOLE_SIDE), Image.Resampling.LANCZOS)
        return Picture("image/jpeg", f"{content.digest[:32]}-jpeg", _encoded(image, _WHOLE_QUALITY))

    def base64_jpeg(self, gallery: Gallery, item: Item, size: int) -> bytes:
        """The JPEG of an image, at most ``size`` pixels wide and high. Raises HttpError (404), ImageError."""
        picture = self.thumbnail(gallery, item, size)
        assert picture.content is not None
        if picture.media_type == "image/jpeg":
            return picture.content
        return _encoded(Image.open(io.BytesIO(picture.content)).convert("RGB"), _QUALITY[size])

    def _small(self, content: Content, size: int) -> bytes:
        fast = Reading(self.reading.exif, max_pixels=self.reading.max_pixels, fast=True)
        aim = Preprocessing((size, size), (0.0,) * 3, (1.0,) * 3, "bicubic", "longest")
        image = decode(content, fast, aim).image
        is_clear = image.mode in ("RGBA", "LA") or "transparency" in image.info
        image = image.convert("RGBA" if is_clear else "RGB")
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
        if not is_clear:
            return _encoded(image, _QUALITY[size])
        data = io.BytesIO()
        Image.frombytes("RGBA", image.size, image.tobytes()).save(data, "WEBP", quality=_QUALITY[size], method=2)
        return data.getvalue()


def _encoded(image: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    # Without the place and the comments that the original may hold.
    Image.frombytes("RGB", image.size, image.tobytes()).save(data, "JPEG", quality=quality)
    return data.getvalue()


def _refuse_text(item: Item) -> None:
    if item.text is not None:
        raise missing("this is a text, which has no pixels", "Its record has the text.")


def _read(address: str) -> Content:
    if opening.is_away(address):
        raise missing("the file of this image is not there", "It was moved or deleted after it was indexed.")
    return opening.read(address)


def _file(address: str) -> Picture | None:
    """A file that can be sent as it is; None if it cannot."""
    try:
        # Looked at before it is opened: opening a pipe may block.
        state = os.stat(address)
        if not stat.S_ISREG(state.st_mode):
            return None
        with open(address, "rb") as file:
            media_type = _sniff(file.read(_HEAD))
    except OSError:
        return None
    if media_type is None:
        return None
    etag = hashlib.sha256(f"{address}\0{state.st_size}\0{state.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return Picture(media_type, etag.hexdigest()[:32], None, Path(address))


def _sniff(head: bytes) -> str | None:
    """The type of a file that browsers show as an image; by its bytes, since its name says nothing certain."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return None


def _key(known: str, size: int) -> str:
    return hashlib.sha256(f"{known}\0{size}\0{_FORM}".encode("utf-8", "surrogateescape")).hexdigest()[:40]
