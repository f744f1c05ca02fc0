"""Parts of decoded images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from zsretrieve.domain.boxes import Box


def part(image: Image.Image, box: Box) -> Image.Image:
    """The part of an upright image in a box, at least one pixel."""
    x0, y0, x1, y1 = (round(share * side) for share, side in zip(box, (image.width, image.height) * 2, strict=True))
    x0, y0 = min(x0, image.width - 1), min(y0, image.height - 1)
    return image.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
