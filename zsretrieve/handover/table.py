"""Annotations as CSV, one row for each; an image without one has a row of its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zsretrieve.domain.annotations import Annotations
from zsretrieve.domain.boxes import in_pixels
from zsretrieve.system.atomic import begins_with

_BOX = ("x", "y", "width", "height")


def text(annotations: Annotations) -> str:
    """The whole file. Bytes of paths that are not UTF-8 are written as escapes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_columns(annotations.has_boxes))
    writer.writerows(_rows(annotations))
    return buffer.getvalue().encode("utf-8", "backslashreplace").decode()


def is_ours(file: Path) -> bool:
    """Whether a file begins as ``text`` does."""
    heads = [f"{','.join(_columns(has_boxes))}\n".encode() for has_boxes in (False, True)]
    return any(begins_with(file, head, len(head)) for head in heads)


def _columns(has_boxes: bool) -> tuple[str, ...]:
    box = _BOX if has_boxes else ()
    return ("path", "class_id", "class_name", "confidence", *box, "image_width", "image_height", "rejected")


def _rows(annotations: Annotations) -> Iterator[tuple[Any, ...]]:
    for image in annotations.images:
        end = (image.width, image.height, int(image.rejected))
        for one in image.annotations:
            sides = in_pixels(one.box, image.width, image.height) if one.box is not None else ()
            box = [round(side, 3) for side in sides]
            yield (image.path, one.class_id, annotations.name_of(one), one.confidence, *box, *end)
        if not image.annotations:
            yield (image.path, None, None, None, *((None,) * 4 if annotations.has_boxes else ()), *end)
