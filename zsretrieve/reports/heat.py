"""Heat maps as a PNG file: the image once for each text, its colours covered by how well its parts fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.heat import HeatMap, Look
from zsretrieve.domain.records import PathLike
from zsretrieve.system.atomic import OutputKind, check_output, replacing

_SUFFIX = ".png"
_MARK, _MARK_WITHIN = b"zsretrieve look", 1024
# The longer side of each image in pixels, at least and at most; small ones are enlarged.
_LEAST, _MOST = 320, 1024
_GAP, _SIZE, _BAR = 12, 15, 10
# From the lowest to the highest score: anchors of matplotlib's inferno, which is monotonous in lightness.
_COLOURS = np.array(
    [(0, 0, 4), (50, 10, 94), (120, 28, 109), (187, 55, 84), (237, 105, 37), (251, 181, 26), (252, 255, 164)], float
)
# How much of the image they cover where it fits least and most.
_COVER = (0.45, 0.7)


def check_heat_map(path: PathLike) -> None:
    """Raise, before anything is computed, if ``write_heat_map`` could not write there.

    An earlier heat map is replaced, no other file.

    Raises
    ------
    SourceError
        If it is not named .png.
    OutputExistsError, IndexFolderError
        If there is another file, or the folder cannot be written.
    """
    file = Path(path)
    if file.suffix.lower() != _SUFFIX:
        raise SourceError(f"a heat map must be named {_SUFFIX}, not '{file.name}'", hint="Give another name.")
    check_output(file, _KIND, force=True)


def write_heat_map(look: Look, path: PathLike) -> None:
    """Draw what ``zsretrieve.look`` found into a PNG file: the image for each text side by side, in one scale.

    Written beside and renamed; an earlier heat map there is replaced. Raises as ``check_heat_map`` does.
    """
    check_heat_map(path)
    about = PngImagePlugin.PngInfo()
    about.add_text("Software", _MARK.decode())
    with replacing(Path(path), _KIND, force=True) as beside:
        drawn(look).save(beside, "PNG", pnginfo=about)


def drawn(look: Look) -> Image.Image:
    """What ``write_heat_map`` writes."""
    low, high = min(one.low for one in look.maps), max(one.high for one in look.maps)
    scale = min(max(_LEAST / max(look.image.size), 1.0), _MOST / max(look.image.size))
    size = (max(1, round(look.width * scale)), max(1, round(look.height * scale)))
    # What is transparent is on white, as people see it.
    opaque = Image.alpha_composite(Image.new("RGBA", look.image.size, "white"), look.image.convert("RGBA"))
    image = np.asarray(opaque.convert("RGB").resize(size, Image.Resampling.LANCZOS), dtype=np.float64)
    width = max(size[0], _LEAST // 2)
    font = ImageFont.load_default(_SIZE)
    head = _GAP + _SIZE + _GAP // 2
    whole = Image.new(
        "RGB", (_GAP + len(look.maps) * (width + _GAP), head + size[1] + _GAP + _BAR + _SIZE + 2 * _GAP), "white"
    )
    pen = ImageDraw.Draw(whole)
    for number, heat in enumerate(look.maps):
        left = _GAP + number * (width + _GAP)
        pen.text((left, _GAP // 2), _fitting(heat.text, width, font), fill="black", font=font)
        whole.paste(_covered(image, heat, low, high), (left, head))
    _legend(whole, pen, (_GAP, head + size[1] + _GAP), (low, high), font)
    return whole


def _covered(image: NDArray[np.float64], heat: HeatMap, low: float, high: float) -> Image.Image:
    size = (image.shape[1], image.shape[0])
    shares = (heat.scores - low) / ((high - low) or 1.0)
    smooth = Image.fromarray(shares.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    fits = np.clip(np.asarray(smooth, dtype=np.float64), 0.0, 1.0)
    cover = (_COVER[0] + (_COVER[1] - _COVER[0]) * fits)[..., None]
    return Image.fromarray(np.rint((1 - cover) * image + cover * _colours(fits)).astype(np.uint8))


def _colours(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour of each share from 0 to 1, of shape (..., 3)."""
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(shares, places, channel) for channel in _COLOURS.T], axis=-1)


def _legend(
    whole: Image.Image,
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    ends: tuple[float, float],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    left, top = corner
    width = min(whole.width - 2 * _GAP, _LEAST)
    bar = _colours(np.broadcast_to(np.linspace(0, 1, width), (_BAR, width)))
    whole.paste(Image.fromarray(np.rint(bar).astype(np.uint8)), corner)
    low, high = (f"{end:.3f}" for end in ends)
    pen.text((left, top + _BAR + 3), low, fill="black", font=font)
    pen.text((left + width, top + _BAR + 3), high, fill="black", font=font, anchor="ra")
    pen.text((left + width // 2, top + _BAR + 3), "score", fill="black", font=font, anchor="ma")


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """A text in one line, cut to a width."""
    line = " ".join(text.split())
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return _MARK in file.read(_MARK_WITHIN)


_KIND = OutputKind(is_folder=False, is_ours=_is_ours, name="heat map")
