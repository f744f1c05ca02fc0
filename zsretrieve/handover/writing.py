"""Writing annotations for another program, and sorting images into folders by their classes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from zsretrieve.domain.annotations import AnnotatedImage, Annotations, HandedOver
from zsretrieve.domain.errors import ImageError, SourceError
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.settings import AnnotationForm, Reading
from zsretrieve.handover import coco, cvat, fiftyone, label_studio, placing, table, yolo
from zsretrieve.handover.names import Names, folder_name, names_of
from zsretrieve.handover.placing import Placing
from zsretrieve.handover.texts import fits_xml
from zsretrieve.images import opening
from zsretrieve.images.decoding import decode, own_pixel_limit
from zsretrieve.system.atomic import OutputKind, replacing

_log = logging.getLogger("zsretrieve")

_SORTED = "sorted"
_UNLESS = "; one in which anything was added, removed or changed since is not replaced"
SORTED = OutputKind(True, partial(placing.is_ours, form=_SORTED), "sorted folder", _UNLESS)
_FOLDERS = (AnnotationForm.LABEL_STUDIO, AnnotationForm.YOLO, AnnotationForm.FIFTYONE)
KINDS = {
    **{form: OutputKind(True, partial(placing.is_ours, form=form), unless=_UNLESS) for form in _FOLDERS},
    AnnotationForm.COCO: OutputKind(False, coco.is_ours),
    AnnotationForm.CVAT: OutputKind(False, cvat.is_ours),
    AnnotationForm.CSV: OutputKind(False, table.is_ours),
}
# Where images go that are not there as files, and those without a class.
_EXTRACTED, _UNKNOWN = "images", "unknown"


@dataclass(frozen=True)
class How:
    """How files are written: ``copy`` images rather than link to them, the URL that ``images_at`` begins those of
    images with, and ``force`` to replace an earlier output.
    """

    copy: bool = False
    images_at: str | None = None
    force: bool = False
    on_progress: OnProgress | None = None


def write(annotations: Annotations, out: Path, form: AnnotationForm, how: How) -> HandedOver:
    """Write annotations in the form of another program, see ``api.handover.hand_over``."""
    kept, skipped = usable(annotations, form)
    with replacing(out, KINDS[form], force=how.force) as part:
        if not KINDS[form].is_folder:
            part.write_text(_text(kept, form), encoding="utf-8")
            _note_archives(kept)
        else:
            folder = Placing(part, form, copy=how.copy, one_per_stem=form is AnnotationForm.YOLO)
            kept, unread = _fill(folder, kept, Path(os.path.realpath(out)), form, how)
            folder.finish()
            skipped += unread
    return _handed_over(out, kept, skipped)


def sort(annotations: Annotations, out: Path, how: How) -> HandedOver:
    """Sort images into folders by their classes, see ``api.handover.hand_over``."""
    with replacing(out, SORTED, force=how.force) as part:
        folder = Placing(part, _SORTED, copy=how.copy)
        kept, skipped = _placed(annotations, _sorting(folder, annotations), how)
        folder.finish()
    return _handed_over(out, kept, skipped)


def _handed_over(out: Path, kept: Annotations, skipped: list[Skipped]) -> HandedOver:
    count = sum(len(image.annotations) for image in kept.images)
    rejected = sum(image.rejected for image in kept.images)
    return HandedOver(str(out), len(kept.images), count, rejected, tuple(skipped))


def _text(annotations: Annotations, form: AnnotationForm) -> str:
    match form:
        case AnnotationForm.COCO:
            return coco.text(annotations, names_of(annotations))
        case AnnotationForm.CVAT:
            return cvat.text(annotations, names_of(annotations))
        case _:
            return table.text(annotations)


def _fill(
    folder: Placing, annotations: Annotations, out: Path, form: AnnotationForm, how: How
) -> tuple[Annotations, list[Skipped]]:
    """Write the files of a form into a folder that will be at ``out``."""
    if form is AnnotationForm.YOLO and not annotations.has_boxes:
        return _placed(annotations, _sorting(folder, annotations, yolo.TRAIN), how)
    places: list[str] = []

    def put(image: AnnotatedImage) -> None:
        if form is AnnotationForm.YOLO:
            places.append(folder.put(image.path, yolo.IMAGES))
        elif how.images_at is not None:
            places.append("")
        elif placing.is_file(image.path):
            places.append(os.path.join(os.getcwd(), image.path))
        elif form is AnnotationForm.LABEL_STUDIO and opening.is_url(image.path) and not opening.split(image.path):
            places.append(image.path)
        else:
            places.append(f"{out}/{_EXTRACTED}/{folder.put(image.path, _EXTRACTED)}")

    kept, skipped = _placed(annotations, put, how)
    match form:
        case AnnotationForm.YOLO:
            files = yolo.files(kept, places)
        case AnnotationForm.FIFTYONE:
            files = fiftyone.files(kept, places)
        case _:
            names = names_of(kept)
            files = label_studio.files(kept, names, _urls(names, places, how.images_at))
    for place, text in files.items():
        folder.write(place, text)
    return kept, skipped


def _urls(names: list[str], places: list[str], images_at: str | None) -> list[str]:
    if images_at is not None:
        return [f"{images_at}{label_studio.quoted(name)}" for name in names]
    return [place if opening.is_url(place) else label_studio.local_url(place) for place in places]


def _sorting(folder: Placing, annotations: Annotations, below: str | None = None) -> Callable[[AnnotatedImage], None]:
    """Puts an image into the folder of each of its classes, which are in the folder ``below``, or beside them."""
    outside = Names()
    outside.take(placing.LISTING)
    if below is not None:
        outside.take(below)
    names = outside if below is None else Names()
    of_class = {name: names.take(folder_name(name)) for name in dict.fromkeys(annotations.class_names)}
    unknown = outside.take(_UNKNOWN)

    def put(image: AnnotatedImage) -> None:
        classes = dict.fromkeys(of_class[annotations.name_of(one)] for one in image.annotations)
        for name in classes:
            folder.put(image.path, name if below is None else f"{below}/{name}")
        if not classes:
            folder.put(image.path, unknown)

    return put


def _placed(
    annotations: Annotations, put: Callable[[AnnotatedImage], None], how: How
) -> tuple[Annotations, list[Skipped]]:
    """Those images that can be put where they belong, and the others."""
    kept, skipped = [], []
    for done, image in enumerate(annotations.images, 1):
        try:
            put(image)
            kept.append(image)
        except ImageError as error:
            skipped.append(Skipped(image.path, error.message))
        if how.on_progress is not None:
            how.on_progress(done, len(annotations.images))
    return _some(annotations, kept, skipped)


def usable(annotations: Annotations, form: AnnotationForm) -> tuple[Annotations, list[Skipped]]:
    """Images with what a form needs, a size and a name that it can hold, and the others. SourceError if none has."""
    needs_size = annotations.has_boxes or form in (AnnotationForm.COCO, AnnotationForm.CVAT)
    kept, skipped = [], []
    for image in annotations.images:
        try:
            if form is AnnotationForm.CVAT and not fits_xml(image.path):
                raise ImageError("its name holds a character that XML does not allow")
            kept.append(_sized(image) if needs_size and not image.width else image)
        except ImageError as error:
            skipped.append(Skipped(image.path, error.message))
    return _some(annotations, kept, skipped)


def _some(
    annotations: Annotations, kept: list[AnnotatedImage], skipped: list[Skipped]
) -> tuple[Annotations, list[Skipped]]:
    """What is kept and what is not. Raises SourceError if nothing is: that takes the place of no earlier output."""
    if skipped and not kept:
        raise SourceError(
            f"none of the images can be used; '{skipped[0].path}': {skipped[0].reason}",
            hint="Check that the images are where they were.",
        )
    return annotations.of(tuple(kept)), skipped


def _sized(image: AnnotatedImage) -> AnnotatedImage:
    """An image whose size nobody knew, such as one of imported vectors. Raises ImageError."""
    with own_pixel_limit():
        decoded = decode(opening.read(image.path), Reading())
    return replace(image, width=decoded.width, height=decoded.height)


def _note_archives(annotations: Annotations) -> None:
    count = sum(opening.split(image.path) is not None for image in annotations.images)
    if count:
        _log.info(f"{count} of the images are in archives, where other programs do not find them: extract these")
