"""Ground truths of objects: COCO's JSON, and how detections compare with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zsretrieve.domain.boxes import in_pixels
from zsretrieve.domain.detections import AveragePrecision, ClassPrecision, DetectedImage, Detection
from zsretrieve.domain.errors import ClassMappingError, SourceError
from zsretrieve.domain.names import composed, plain_name
from zsretrieve.domain.text_files import read_text
from zsretrieve.domain.wording import shorten
from zsretrieve.images.sources import Source
from zsretrieve.metrics.boxes import average_precision

_SHOWN = 5
_FORM = "Give COCO's JSON for detection, with images, categories, and annotations that have a bbox."


@dataclass(frozen=True)
class GroundTruth:
    """The objects in images.

    ``images`` are their IDs by every end of their paths, None where several images end alike; ``categories`` the IDs of
    classes by their plain names; ``objects`` are annotations as COCO has them.
    """

    path: Path
    images: dict[str, int | None]
    categories: dict[str, int]
    objects: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> GroundTruth:
        """Read COCO's JSON. Raises SourceError if it is something else."""
        text = read_text(path, SourceError)
        try:
            content = json.loads(text)
            categories = {plain_name(str(one["name"])): int(one["id"]) for one in content["categories"]}
            objects = tuple(_checked(one) for one in content["annotations"] if "bbox" in one)
            names = [(str(image["file_name"]), int(image["id"])) for image in content["images"]]
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:100]
            raise SourceError(f"'{path}' is not a ground truth of objects: {what}", hint=_FORM) from error
        if not objects:
            raise SourceError(f"'{path}' has no annotation with a bbox", hint=_FORM)
        images: dict[str, int | None] = {}
        for name, number in names:
            for end in _ends(name)[1:]:
                images[end] = number if end not in images else None
        return cls(path, images | {_ends(name)[0]: number for name, number in names}, categories, objects)

    def check(self, class_names: Sequence[str], source: Source) -> None:
        """Raise, before anything is found, if there would be nothing to compare.

        Raises
        ------
        ClassMappingError
            If a class is not among the categories.
        SourceError
            If no image of the source is in the ground truth.
        """
        unknown = [name for name in class_names if plain_name(name) not in self.categories]
        if unknown:
            raise ClassMappingError(
                f"'{self.path}' has no category for {shorten(unknown, _SHOWN)}",
                hint=f"It has: {shorten(sorted(self.categories), _SHOWN, '')}.",
            )
        if all(self.image_id(file.path) is None for file in source.files):
            raise SourceError(
                f"'{self.path}' names none of the images, such as '{source.files[0].path}'",
                hint="Its file_name must be the path of an image, or the end of it.",
            )

    def image_id(self, path: str) -> int | None:
        """The ID of an image by the longest end of its path that names one; None if none does."""
        return self._match(path)[0]

    def _match(self, path: str) -> tuple[int | None, int]:
        """The ID, and how many parts the end has that names it."""
        for end in _ends(path):
            if (found := self.images.get(end)) is not None:
                return found, end.count("/") + 1
        return None, 0

    def results(self, images: Sequence[DetectedImage]) -> list[dict[str, Any]]:
        """COCO's results: the objects of those images that are in the ground truth, by its numbers."""
        return coco_results(self._known(images).items(), lambda one: self.categories[plain_name(one.class_name)])

    def compare(self, images: Sequence[DetectedImage], class_names: Sequence[str]) -> AveragePrecision:
        """How right the objects of images are, for the classes that were looked for.

        Only images that are both here and in the ground truth count; of two that it names, that with the longer end,
        and of equals the first.
        """
        known = self._known(images)
        names = list(dict.fromkeys(plain_name(name) for name in class_names))
        category_ids = [self.categories[name] for name in names]
        asked = set(category_ids)
        objects = [one for one in self.objects if one["image_id"] in known and one["category_id"] in asked]
        figures = np.full((len(names), 3), np.nan)
        if objects:
            figures = average_precision(list(known), category_ids, objects, self.results(images))
        counted = [one["category_id"] for one in objects if not one["iscrowd"]]
        written = {plain_name(name): name for name in reversed(class_names)}
        ap, ap50, ap75 = np.nanmean(figures, axis=0) if counted else [np.nan] * 3
        return AveragePrecision(
            ap=_or_none(ap),
            ap50=_or_none(ap50),
            ap75=_or_none(ap75),
            n_images=len(known),
            n_objects=len(counted),
            n_unknown=len(images) - len(known),
            n_missing=len({number for number in self.images.values() if number is not None} - known.keys()),
            classes=tuple(
                ClassPrecision(written[name], counted.count(number), *map(_or_none, row))
                for name, number, row in zip(names, category_ids, figures.tolist(), strict=True)
            ),
        )

    def _known(self, images: Sequence[DetectedImage]) -> dict[int, DetectedImage]:
        known: dict[int, DetectedImage] = {}
        longest: dict[int, int] = {}
        for image in images:
            number, length = self._match(image.path)
            if number is not None and length > longest.get(number, 0):
                known[number], longest[number] = image, length
        return known


def coco_results(
    images: Iterable[tuple[int, DetectedImage]], category_id: Callable[[Detection], int]
) -> list[dict[str, Any]]:
    """COCO's results, one for each object: numbered images, and how classes are numbered."""
    return [
        {
            "image_id": number,
            "category_id": category_id(one),
            "bbox": list(in_pixels(one.box, image.width, image.height)),
            "score": one.score,
        }
        for number, image in images
        for one in image.detections
    ]


def _checked(annotation: dict[str, Any]) -> dict[str, Any]:
    """An annotation with whole numbers and a box of four numbers. Raises KeyError, TypeError or ValueError."""
    left, top, width, height = (float(edge) for edge in annotation["bbox"])
    return {
        "image_id": int(annotation["image_id"]),
        "category_id": int(annotation["category_id"]),
        "bbox": [left, top, width, height],
        "iscrowd": int(annotation.get("iscrowd") or 0),
    }


def _ends(path: str) -> list[str]:
    """A path and what is left of it without the first folders, the longest first."""
    parts = composed(path).replace("\\", "/").split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
