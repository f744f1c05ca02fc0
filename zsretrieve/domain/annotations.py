"""Annotations: the classes of images and of rectangles in them, for the programs in which people label."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zsretrieve.domain.boxes import Box
from zsretrieve.domain.plain import Result
from zsretrieve.domain.records import Skipped


@dataclass(frozen=True)
class Annotation(Result):
    """A class of an image, or of a box in it; ``confidence`` is from 0 to 1, None if a person chose the class."""

    class_id: int
    confidence: float | None = None
    box: Box | None = None


@dataclass(frozen=True)
class AnnotatedImage(Result):
    """An image and its annotations, best first.

    ``path`` is as ``zsretrieve.images.opening`` opens it. ``width`` and ``height`` are pixels of the upright image, 0
    if unknown. ``rejected`` if the answer is "unknown": it has no annotations then.
    """

    path: str
    width: int
    height: int
    annotations: tuple[Annotation, ...] = ()
    rejected: bool = False


@dataclass(frozen=True)
class Annotations(Result):
    """Annotated images, and the classes that the annotations number from 0.

    ``has_boxes`` says which of the two kinds this is, also where no image has an annotation: either all annotations
    have a box, or none has. ``root`` is the folder, archive or URL that names of images are relative to, as that of a
    source. ``model`` names what annotated.
    """

    class_names: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    has_boxes: bool
    root: str = ""
    model: str = ""

    def of(self, images: tuple[AnnotatedImage, ...]) -> Annotations:
        """The same for other images."""
        return replace(self, images=images)

    def name_of(self, annotation: Annotation) -> str:
        """The name of an annotation's class."""
        return self.class_names[annotation.class_id]


@dataclass(frozen=True)
class HandedOver(Result):
    """A file or folder for another program: how many images and annotations it holds, and what was left out."""

    out: str
    images: int
    annotations: int
    rejected: int
    skipped: tuple[Skipped, ...] = ()
