"""COCO's JSON.

Boxes are as COCO's data format has them (https://cocodataset.org/#format-data). An annotation of a whole image has no
box, which is Datumaro's convention for labels of images (``coco_labels``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from zsretrieve.domain.annotations import AnnotatedImage, Annotation, Annotations
from zsretrieve.domain.boxes import in_pixels
from zsretrieve.handover.texts import json_object
from zsretrieve.system.atomic import begins_with
from zsretrieve.system.version import tool_version

_DESCRIPTION = "Annotations by zsretrieve"
# IDs count from 1: some programs take category 0 for the background.
_FIRST = 1


def text(annotations: Annotations, names: Sequence[str]) -> str:
    """The whole file; ``names`` are the images' ``file_name``."""
    images = [
        {"id": number, "file_name": name, "width": image.width, "height": image.height, **_rejected(image)}
        for number, (image, name) in enumerate(zip(annotations.images, names, strict=True), _FIRST)
    ]
    numbers = _categories(annotations)
    categories = [{"id": number, "name": name, "supercategory": ""} for name, number in numbers.items()]
    return json_object(
        {
            "info": {"description": _DESCRIPTION, "version": tool_version(), "model": annotations.model},
            "licenses": [],
            "categories": categories,
            "images": images,
            "annotations": list(_rows(annotations, numbers)),
        }
    )


def is_ours(file: Path) -> bool:
    """Whether a file begins as ``text`` does."""
    return begins_with(file, _DESCRIPTION.encode(), 100)


def _rejected(image: AnnotatedImage) -> dict[str, bool]:
    return {"rejected": True} if image.rejected else {}


def _categories(annotations: Annotations) -> dict[str, int]:
    """The ID of each name; classes of equal names are one category, since programs refuse two."""
    ids: dict[str, int] = {}
    for number, name in enumerate(annotations.class_names, _FIRST):
        ids.setdefault(name, number)
    return ids


def _rows(annotations: Annotations, categories: dict[str, int]) -> Iterator[dict[str, Any]]:
    numbers = count(_FIRST)
    for image_id, image in enumerate(annotations.images, _FIRST):
        for one in image.annotations:
            category = categories[annotations.name_of(one)]
            yield {"id": next(numbers), "image_id": image_id, "category_id": category, **_what(image, one)}


def _what(image: AnnotatedImage, annotation: Annotation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if annotation.box is not None:
        box = [round(side, 3) for side in in_pixels(annotation.box, image.width, image.height)]
        content = {"bbox": box, "area": round(box[2] * box[3], 3), "iscrowd": 0, "segmentation": []}
    if annotation.confidence is not None:
        content["score"] = annotation.confidence
    return content
