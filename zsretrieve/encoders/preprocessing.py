"""Pictures as a model wants them, in Pillow and NumPy alone, bit-equal to open_clip's own preprocessing.

Every engine shares this, and none needs torchvision for it. The pixels stay uint8 until they are where the model
runs: a quarter of the memory and of the copying, and scaling them is free beside the model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from zsretrieve.errors import ImageError
from zsretrieve.images import resized_size
from zsretrieve.records import Preprocessing

# At 224 pixels this side ratio makes a picture of 30 MB on its way to the crop.
_MAX_ASPECT = 200


def prepare(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize, crop or pad, and convert one picture, in the order in which open_clip does it.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode that converts to RGB. It is resized in its own mode, as the published numbers did it.
    preprocessing : Preprocessing

    Returns
    -------
    uint8 of shape (height, width, 3)

    Raises
    ------
    ImageError
        If the picture is so thin that resizing its shorter side would make it enormous.
    ValueError
        If it is so thin that nothing would be left of its shorter side.
    """
    resized = _resized(image, preprocessing)
    fill = preprocessing.fill_color if preprocessing.resize_mode == "longest" else 0
    cropped = _cropped_or_padded(resized, preprocessing.size, fill)
    return np.asarray(cropped if cropped.mode == "RGB" else cropped.convert("RGB"))


def _resized(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    shorter, longer = sorted(image.size)
    square = preprocessing.size[0] == preprocessing.size[1]
    if preprocessing.resize_mode == "shortest" and longer > _MAX_ASPECT * shorter:
        raise ImageError(f"too thin to be resized: {image.width} x {image.height} pixels")
    size = resized_size(image.size, preprocessing)
    if size == image.size:
        return image
    # For sizes that are not square, open_clip resizes the shorter side bicubically whatever the configuration says.
    bilinear = preprocessing.interpolation == "bilinear" and (square or preprocessing.resize_mode != "shortest")
    return image.resize(size, Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC)


def _cropped_or_padded(image: Image.Image, size: tuple[int, int], fill: int) -> Image.Image:
    """The middle of a picture, after a border has made it large enough; ``size`` is (height, width)."""
    height, width = size
    wider, higher = max(width - image.width, 0), max(height - image.height, 0)
    if wider or higher:
        bands = len(image.getbands())
        border = (wider // 2, higher // 2, (wider + 1) // 2, (higher + 1) // 2)
        padded = ImageOps.expand(image, border, (fill,) * bands if bands > 1 else fill)
        if image.mode == "P":
            padded.putpalette(image.getpalette() or [])
        image = padded
    if image.size == (width, height):
        return image
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
