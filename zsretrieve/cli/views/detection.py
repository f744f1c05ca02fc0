"""Objects in images, and their average precision, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsretrieve.cli import output
from zsretrieve.domain.wording import counted

if TYPE_CHECKING:
    from zsretrieve.domain.detections import AveragePrecision, Detections

# Of a table for programs, also where nothing was found.
COLUMNS = ("path", "class_id", "class_name", "score", "left", "top", "width", "height")


def show(found: Detections) -> None:
    """One row for each object, and for each image without one."""
    table = output.table("image", "class", "score", "left, top, width, height", right=("score",))
    for image in found.images:
        path = output.path_cell(image.path)
        for one in image.detections:
            box = ", ".join(f"{edge:.0f}" for edge in image.pixels(one))
            table.add_row(path, output.cell(one.class_name), f"{one.score:.4f}", box)
        if not image.detections:
            table.add_row(path, "none", "", "")
    output.show(table)


def show_precision(figures: AveragePrecision) -> None:
    """The average precision of each class, and their mean."""
    table = output.table("class", "AP", "AP50", "AP75", "objects", right=("AP", "AP50", "AP75", "objects"))
    rows = [(output.cell(one.class_name), one.ap, one.ap50, one.ap75, one.n_objects) for one in figures.classes]
    for name, *values, n_objects in (*rows, ("mean", figures.ap, figures.ap50, figures.ap75, figures.n_objects)):
        table.add_row(name, *("" if value is None else f"{value:.4f}" for value in values), str(n_objects))
    output.show(table, f"Average precision in {counted(figures.n_images, 'image')}")
    if figures.n_unknown:
        output.note(f"{counted(figures.n_unknown, 'image is', 'images are')} not in the ground truth and do not count")
    if figures.n_missing:
        images = counted(figures.n_missing, "image of the ground truth is", "images of the ground truth are")
        output.note(f"{images} not among the images and do not count")
