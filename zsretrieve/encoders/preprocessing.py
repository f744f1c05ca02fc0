"""Preparing images for a model with Pillow and NumPy alone, bit-equal to open_clip's or transformers' preprocessing.

All engines share this, and none needs torchvision. Pixels stay uint8 until they are on the model's device, which saves
three quarters of the memory and of the copying.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.records import RGB_FIRST, Preprocessing
from zsretrieve.images.decoding import resized_size

# At 224 pixels, this aspect ratio takes 30 MB before the crop.
_MAX_ASPECT = 200


def prepare(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize, crop or pad, and convert one image, in open_clip's order, or convert it first as transformers does.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode that converts to RGB. For open_clip's models it is resized in its own mode, as for the published
        figures.
    preprocessing : Preprocessing

    Returns
    -------
    uint8 of shape (height, width, 3)

    Raises
    ------
    ImageError
        If the image is so thin that resizing its shorter side would make it enormous.
    ValueError
        If it is so thin that nothing would be left of its shorter side.
    """
    theirs = preprocessing.resize_mode.startswith(RGB_FIRST)
    resized = _resized(_on_white(image) if theirs else image, preprocessing)
    fill = preprocessing.fill_color if preprocessing.resize_mode == "longest" else 0
    cropped = _cropped_or_padded(resized, preprocessing.size, fill, rounded=not theirs)
    return np.asarray(cropped if cropped.mode == "RGB" else cropped.convert("RGB"))


def _on_white(image: Image.Image) -> Image.Image:
    """In RGB, with what is transparent on white, as transformers converts images."""
    # Not has_transparency_data, which is also true of palettes with alpha.
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), over)
    return image.convert("RGB")


def _resized(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    shorter, longer = sorted(image.size)
    square = preprocessing.size[0] == preprocessing.size[1]
    if preprocessing.resize_mode.endswith("shortest") and longer > _MAX_ASPECT * shorter:
        raise ImageError(f"too thin to be resized: {image.width} x {image.height} pixels")
    size = resized_size(image.size, preprocessing)
    if size == image.size:
        return image
    # For sizes that are not square, open_clip ignores the configuration and resizes the shorter side bicubically.
    bilinear = preprocessing.interpolation == "bilinear" and (square or preprocessing.resize_mode != "shortest")
    return image.resize(size, Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC)


def _cropped_or_padded(image: Image.Image, size: tuple[int, int], fill: int, *, rounded: bool) -> Image.Image:
    """The middle of an image, padded to be large enough; ``size`` is (height, width).

    Of an odd margin, the odd pixel is cut at the end, or if ``rounded``, where an even number is cut at the start.
    """
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
    left, top = (image.width - width) / 2, (image.height - height) / 2
    left, top = (round(left), round(top)) if rounded else (math.floor(left), math.floor(top))
    return image.crop((left, top, left + width, top + height))
