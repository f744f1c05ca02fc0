"""The objects in images as one self-contained HTML page: thumbnails with their boxes, and the average precision."""

from __future__ import annotations

from pathlib import Path

from zsretrieve.domain.detections import BoxLimits, Detection, Detections
from zsretrieve.domain.settings import Reading
from zsretrieve.reports.look import STYLE, environment, file_text, markup
from zsretrieve.reports.pages import IMAGES, write_page
from zsretrieve.reports.thumbnails import link, thumbnails

_SIDE = 480
# Neighbouring classes differ most: the golden angle, in degrees.
_ANGLE = 137.5


def write_detections(
    path: Path, found: Detections, limits: BoxLimits, reading: Reading, *, images: int = IMAGES
) -> None:
    """Write the page of detections. It needs no other file, and a click on an image opens it.

    Parameters
    ----------
    path : Path
        Where ``check_report`` allows to write. An earlier report is replaced.
    found : Detections
    limits : BoxLimits
        Which boxes were kept.
    reading : Reading
        How the images were read.
    images : int
        At most this many of those with objects are shown, as JPEG of at most 480 x 480 pixels.

    Raises
    ------
    IndexFolderError
        If the system refuses to write.
    """
    with_objects = [image for image in found.images if image.detections]
    shown = with_objects[:images]
    templates = environment()
    templates.filters |= {"colour": _colour, "figure": _figure, "pixel": "{:.1f}".format}
    page = templates.from_string(file_text("detections.html.j2")).render(
        found=found,
        kept=f"Score at least {limits.threshold:g}, overlap (IoU) at most {limits.iou:g}.",
        shown=shown,
        n_with_objects=len(with_objects),
        thumbnails=thumbnails([(image.path, "") for image in shown], reading, _SIDE),
        links={image.path: link(image.path, path.parent) for image in shown},
        style=markup(STYLE),
    )
    write_page(path, page)


def _colour(detection: Detection) -> str:
    return f"hsl({detection.class_id * _ANGLE % 360:.0f} 75% 42%)"


def _figure(value: float | None) -> str:
    """To four decimals; a dash for a class without objects."""
    return "\N{EN DASH}" if value is None else f"{value:.4f}"
