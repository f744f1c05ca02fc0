"""Images that clients sent, kept in the user's cache so that a link to a search with one works again."""

from __future__ import annotations

import base64
import binascii
import re
import time

from PIL import Image

from zsretrieve.domain.settings import Reading
from zsretrieve.images.content import Content
from zsretrieve.images.decoding import decode
from zsretrieve.system.cache_dir import cache_folder
from zsretrieve.web.cached_files import CachedFiles
from zsretrieve.web.errors import HttpError, missing

_NAME = re.compile(r"[0-9a-f]{32}")


class Uploads:
    """Keeps images by their content.

    Parameters
    ----------
    max_pixels : int
        Larger images are refused before they are decoded.
    image_bytes : int
        Larger files are refused.
    most_bytes : int
        What all of them may take on the disk; the ones used longest ago are deleted.
    """

    def __init__(self, max_pixels: int, image_bytes: int, most_bytes: int) -> None:
        self._reading = Reading(max_pixels=max_pixels)
        self._image_bytes = image_bytes
        self._files = CachedFiles(cache_folder() / "uploads", most_bytes)

    def keep(self, data: bytes) -> tuple[str, int, int]:
        """Check and keep an image; its name, width and height. Raises ImageError, or HttpError."""
        content = self._checked(data)
        decoded = decode(content, self._reading)
        name = content.digest[:32]
        if not self._files.write(name, data):
            raise HttpError(503, "the server cannot keep the image", hint="Its disk may be full.")
        return name, decoded.width, decoded.height

    def content(self, name: str) -> Content:
        """The bytes of an image. Raises HttpError (404) if it was never sent, or is deleted by now."""
        data = self._files.read(name) if _NAME.fullmatch(name) else None
        if data is None:
            raise missing("this image is not kept here", "Send it again.")
        return Content(data, 0)

    def image(self, name: str, *, exif: bool) -> Image.Image:
        """An image that was sent, decoded. Raises as ``content``, and ImageError."""
        return decode(self.content(name), Reading(exif, max_pixels=self._reading.max_pixels)).image

    def from_base64(self, text: str, *, exif: bool) -> Image.Image:
        """An image in base64, decoded. Raises HttpError, ImageError."""
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise HttpError(400, "the image is not base64", hint="Send the bytes of a file in base64.") from error
        return self.from_bytes(data, exif=exif)

    def from_bytes(self, data: bytes, *, exif: bool) -> Image.Image:
        """An image, decoded. Raises HttpError, ImageError."""
        return decode(self._checked(data), Reading(exif, max_pixels=self._reading.max_pixels)).image

    def _checked(self, data: bytes) -> Content:
        if len(data) > self._image_bytes:
            raise HttpError(
                413,
                f"the image has {len(data):,} bytes, and the limit is {self._image_bytes:,}",
                hint="Make it smaller.",
            )
        return Content(data, time.time_ns())
