"""Objects in images: examples of what to find, which boxes to keep, what was found, and how right that is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from zsretrieve.domain.annotations import AnnotatedImage, Annotation, Annotations
from zsretrieve.domain.arguments import Count, Share, check_fields
from zsretrieve.domain.boxes import Box, in_pixels
from zsretrieve.domain.errors import QueryError
from zsretrieve.domain.plain import Result, Table, shortest
from zsretrieve.domain.records import PathLike, Skipped
from zsretrieve.domain.wording import counted

# Least scores unless others are wanted: what transformers' own examples use, since those of examples are higher.
TEXT_THRESHOLD, EXAMPLE_THRESHOLD = 0.1, 0.6
# Pixels as JSON and CSV have them.
_DECIMALS = 4

_BOX = re.compile(r"(?P<image>.+)\[(?P<box>[^\[\]]*)\]", re.DOTALL)
_NAME = re.compile(r"(?P<name>[^/=\[\]]+)=(?P<image>.+)", re.DOTALL)


@dataclass(frozen=True)
class BoxLimits:
    """Which boxes of an image are kept.

    Parameters
    ----------
    threshold : float, optional
        The least score; by default 0.1 for classes and 0.6 for examples.
    iou : float
        Of two boxes that overlap by more than this, whatever their classes, the one of lower score is dropped;
        1 drops none.
    most : int
        The boxes of highest score that are kept.
    """

    threshold: Share | None = None
    iou: Share = 0.3
    most: Count = 100

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Example:
    """An image that shows an object to find.

    Parameters
    ----------
    image : path
        A path, a URL or an image in an archive.
    box : (left, top, width, height), optional
        The object, in pixels of the upright image. Without a box the model chooses the object in the whole image.
    name : str
        What the class is called; by default the image with its box, as it was written.

    Raises
    ------
    QueryError
        If the box is empty or begins outside the image.
    """

    image: PathLike
    box: tuple[float, ...] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.box is None:
            return
        starts, sides = self.box[:2], self.box[2:]
        if not (len(sides) == 2 and all(edge >= 0 for edge in starts) and all(side > 0 for side in sides)):
            raise QueryError(
                f"[{', '.join(f'{edge:g}' for edge in self.box)}] is not a box in '{self.image}'",
                hint="Give left, top, width and height in pixels, such as [10,20,64,48].",
            )

    @classmethod
    def parse(cls, text: str) -> Example:
        """The example that ``[NAME=]IMAGE[LEFT,TOP,WIDTH,HEIGHT]`` means. A file of that very name is the whole image.

        Raises QueryError if the box is not four numbers.
        """
        image, box, name = text, None, ""
        if not os.path.exists(image) and (named := _NAME.fullmatch(image)) is not None:
            name, image = named["name"].strip(), named["image"]
        if not os.path.exists(image) and (boxed := _BOX.fullmatch(image)) is not None:
            image = boxed["image"]
            try:
                box = tuple(float(edge) for edge in boxed["box"].split(","))
            except ValueError:
                box = ()
        return cls(image, box, name)

    @property
    def label(self) -> str:
        """The name of its class."""
        if self.name or self.box is None:
            return self.name or os.fspath(self.image)
        return f"{os.fspath(self.image)}[{','.join(f'{edge:g}' for edge in self.box)}]"

    def shares(self, width: int, height: int) -> Box | None:
        """The box in shares of its image's pixels. Raises QueryError if it is not inside the image."""
        if self.box is None:
            return None
        left, top, wide, high = self.box
        if left + wide > width or top + high > height:
            raise QueryError(
                f"the box of '{self.label}' reaches beyond the image, which has {width} x {height} pixels",
                hint="Give left, top, width and height in pixels of the upright image.",
            )
        return left / width, top / height, (left + wide) / width, (top + high) / height


@dataclass(frozen=True)
class Detection:
    """An object: its class, how sure the model is from 0 to 1, and its box in shares of the upright image."""

    class_id: int
    class_name: str
    score: float
    box: Box


@dataclass(frozen=True)
class DetectedImage:
    """The objects in an image of so many pixels when it is upright, best first."""

    path: str
    width: int
    height: int
    detections: tuple[Detection, ...]

    def pixels(self, detection: Detection) -> list[float]:
        """Left, top, width and height of a box in pixels, as COCO has them."""
        return [round(edge, _DECIMALS) for edge in in_pixels(detection.box, self.width, self.height)]

    def to_dict(self) -> dict[str, Any]:
        """``path``, ``width``, ``height`` and ``detections`` with their boxes in pixels."""
        detections = [
            {
                "class_id": one.class_id,
                "class_name": one.class_name,
                "score": shortest(one.score),
                "box": self.pixels(one),
            }
            for one in self.detections
        ]
        return {"path": self.path, "width": self.width, "height": self.height, "detections": detections}

    def rows(self) -> list[dict[str, Any]]:
        """One row for each object, for tables."""
        rows = []
        for one in self.to_dict()["detections"]:
            box = dict(zip(("left", "top", "width", "height"), one.pop("box"), strict=True))
            rows.append({"path": self.path, **one, **box})
        return rows


@dataclass(frozen=True)
class ClassPrecision(Result):
    """The average precision of one class, None if the ground truth has no object of it."""

    class_name: str
    n_objects: int
    ap: float | None
    ap50: float | None
    ap75: float | None


@dataclass(frozen=True)
class AveragePrecision(Result, Table):
    """COCO's average precision: over ten IoU from 0.5 to 0.95, and at 0.5 and 0.75.

    ``n_images`` were compared and hold ``n_objects`` of the classes. ``n_unknown`` images are not in the ground truth,
    and ``n_missing`` of the ground truth are not among the images: neither count.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    n_images: int
    n_objects: int
    n_unknown: int
    n_missing: int
    classes: tuple[ClassPrecision, ...]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each class."""
        return [one.to_dict() for one in self.classes]

    def __repr__(self) -> str:
        ap = "none" if self.ap is None else f"{self.ap:.4f}"
        return f"AveragePrecision({ap} of {counted(self.n_objects, 'object')} in {counted(self.n_images, 'image')})"


@dataclass(frozen=True)
class Detections(Result, Table):
    """The objects in the images of a source, what was skipped, and with a ground truth how right they are.

    ``root`` is the folder, archive or URL that names of images are relative to, and ``model`` the one that found them.
    """

    class_names: tuple[str, ...]
    images: tuple[DetectedImage, ...]
    skipped: tuple[Skipped, ...]
    root: str = ""
    model: str = ""
    average_precision: AveragePrecision | None = None

    def to_dict(self) -> dict[str, Any]:
        """``images``, ``skipped`` and, with a ground truth, ``average_precision``."""
        figures = {} if self.average_precision is None else {"average_precision": self.average_precision.to_dict()}
        return {
            "images": [image.to_dict() for image in self.images],
            "skipped": [skip.to_dict() for skip in self.skipped],
            **figures,
        }

    def __repr__(self) -> str:
        return f"Detections({self.summary}, {len(self.skipped)} skipped)"

    @property
    def summary(self) -> str:
        """How many objects are in how many of the images."""
        found = [len(image.detections) for image in self.images]
        of = f"{sum(map(bool, found))} of {counted(len(found), 'image')}"
        return f"{counted(sum(found), 'object')} in {of}"

    def rows(self) -> list[dict[str, Any]]:
        """One row for each object, as CSV has them."""
        return [row for image in self.images for row in image.rows()]

    def annotations(self) -> Annotations:
        """The same for the programs in which people label."""
        images = tuple(
            AnnotatedImage(
                image.path,
                image.width,
                image.height,
                tuple(Annotation(one.class_id, one.score, one.box) for one in image.detections),
            )
            for image in self.images
        )
        return Annotations(self.class_names, images, has_boxes=True, root=self.root, model=self.model)
