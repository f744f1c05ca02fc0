"""A map as an SVG file: a dot for each image, coloured by label, and the labels where they fit."""

from __future__ import annotations

import colorsys
import html
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.maps import Caption, Map
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.wording import counted
from zsretrieve.reports.charts import COLOURS, visible

_SIDE, _MARGIN = 1000, 40
# Without labels, and among others that have one.
_PLAIN, _UNLABELLED = "#3b6fb6", "#a3a9b3"
# Each hue is as far as can be from those before it.
_GOLDEN = 0.618034
_LONGEST, _SIZE = 24, 13
# Dots at least this wide, and so wide that a small map is not empty.
_LEAST, _MOST, _INK = 1.5, 9.0, 220.0


def check_map_plot(path: PathLike) -> None:
    """Raise SourceError, before anything is computed, if a plot of a map cannot be written to a file."""
    file = Path(path)
    if file.suffix.lower() != ".svg":
        raise SourceError(f"the plot of a map must be named .svg, not '{file.name}'", hint="Give another name.")
    if not file.parent.is_dir() or file.is_dir():
        raise SourceError(f"'{file}' cannot be written: no such folder", hint="Check the path.")


def plot_map(made: Map, path: PathLike) -> None:
    """Draw a map into an SVG file, which browsers show and which can be enlarged.

    Raises SourceError as ``check_map_plot`` does, and if the system refuses to write.
    """
    check_map_plot(path)
    try:
        Path(path).write_text(_svg(made), encoding="utf-8")
    except OSError as error:
        raise SourceError(f"'{path}' cannot be written: {error.strerror or error}", hint="Check the path.") from error


def _svg(made: Map) -> str:
    captions = made.captions
    colours = {caption.label: _hue(number) for number, caption in enumerate(captions)}
    whole = _SIDE + 2 * _MARGIN
    alt = f"Map of {counted(len(made.ids), 'image')}, by {made.method}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {whole}" role="img" '
        f'aria-label="{html.escape(alt)}" font-family="system-ui, sans-serif" font-size="{_SIZE}">'
        f'<rect width="{whole}" height="{whole}" fill="#fff"/>{"".join(_dots(made, colours))}'
        f"{''.join(map(_text, _apart(captions)))}</svg>\n"
    )


def _dots(made: Map, colours: dict[str, str]) -> Iterator[str]:
    """One path for each label. Dots that would cover each other are drawn once, so a large map stays a small file."""
    width = float(np.clip(_INK / np.sqrt(len(made.ids)), _LEAST, _MOST))
    numbers = {label: number for number, label in enumerate(colours)}
    of = np.array([-1 if label is None else numbers[label] for label in made.labels], np.int64)
    x, y = _pixels(made.xy).T
    dots = np.unique(np.column_stack([of, x, y]), axis=0)
    names: list[str | None] = [None, *colours]
    for number in np.unique(dots[:, 0]).tolist():
        label = names[number + 1]
        colour = colours[label] if label is not None else _UNLABELLED if colours else _PLAIN
        path = "".join(f"M{left} {top}h0" for left, top in dots[dots[:, 0] == number, 1:].tolist())
        title = "" if label is None else f"<title>{html.escape(visible(label))}</title>"
        yield (
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-opacity="0.7" stroke-width="{width:.2f}" '
            f'stroke-linecap="round">{title}</path>'
        )


def _pixels(xy: np.ndarray) -> np.ndarray:
    """Whole pixels of places in the unit square, y downwards."""
    flipped = np.column_stack([xy[:, 0], 1 - xy[:, 1]])
    return np.asarray(np.rint(_MARGIN + _SIDE * flipped), dtype=np.int64)


def _apart(captions: tuple[Caption, ...]) -> Iterator[tuple[float, float, str]]:
    """Captions that do not cover those of labels with more images."""
    boxes = np.empty((0, 4))
    for caption in captions:
        text = visible(caption.label)
        text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
        (x, y), half = _pixels(np.array([[caption.x, caption.y]]))[0].tolist(), 0.3 * _SIZE * len(text)
        x = min(max(x, half + 4), _SIDE + 2 * _MARGIN - half - 4)
        box = np.array([x - half, y - _SIZE, x + half, y + 4])
        if not ((boxes[:, :2] < box[2:]) & (boxes[:, 2:] > box[:2])).all(axis=1).any():
            boxes = np.vstack([boxes, box])
            yield x, y, text


def _text(placed: tuple[float, float, str]) -> str:
    x, y, text = placed
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle" fill="{COLOURS["ink"]}" stroke="#fff" stroke-width="3" '
        f'stroke-opacity="0.85" paint-order="stroke">{html.escape(text)}</text>'
    )


def _hue(number: int) -> str:
    red, green, blue = colorsys.hls_to_rgb((0.58 + number * _GOLDEN) % 1, (0.42, 0.55)[number % 2], 0.6)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
