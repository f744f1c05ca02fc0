"""Annotations: the classes of images and of rectangles in them, for the programs in which people label."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zsretrieve.domain.boxes import Box
from zsretrieve.domain.errors import UsageError
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

    Raises
    ------
    UsageError
        If an annotation is of no class, or has a box where none has, or none where all have.
    """

    class_names: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    has_boxes: bool
    root: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        for image in self.images:
            for one in image.annotations:
                if not 0 <= one.class_id < len(self.class_names):
                    raise UsageError(
                        f"'{image.path}' is annotated with class {one.class_id}; there are {len(self.class_names)}",
                        hint="Classes are numbered from 0.",
                    )
                if (one.box is not None) is not self.has_boxes:
                    what = "no box" if self.has_boxes else "a box"
                    raise UsageError(
                        f"an annotation of '{image.path}' has {what}", hint="Annotate boxes or whole images, not both."
                    )

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
