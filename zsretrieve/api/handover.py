"""Annotations for labelling tools, and images sorted into folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zsretrieve.api.indexes import open_gallery
from zsretrieve.domain.annotations import Annotations, HandedOver
from zsretrieve.domain.arguments import check_fields
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.settings import AnnotationForm
from zsretrieve.gallery import selecting as _selecting
from zsretrieve.handover import writing as _writing
from zsretrieve.handover.writing import How
from zsretrieve.images import opening
from zsretrieve.store.indexes import Gallery
from zsretrieve.system import atomic


@dataclass(frozen=True)
class Handover:
    """Where annotations are written for other programs, and images sorted by their classes.

    Parameters
    ----------
    export : path, optional
        The annotations: a file of ``coco``, ``cvat`` or ``csv``, a folder of the other forms.
    form : AnnotationForm or str, optional
        ``label-studio``, ``coco``, ``yolo``, ``cvat``, ``csv`` or ``fiftyone``; with ``export``.
    sort_into : path, optional
        A folder for the images themselves, with one folder per class. Originals are never moved or changed.
    copy : bool
        Copy images, rather than make symbolic links, where ``sort_into`` or YOLO's form holds images. Images in
        archives or behind URLs are always copied, and so are all where the file system has no links.
    images_at : str, optional
        For Label Studio: what comes before the name of an image in its URL, in place of a file of Label Studio's
        machine.
    force : bool
        Replace earlier outputs of the same form, unless something in them was changed since.

    Raises
    ------
    UsageError
        If parameters contradict each other, or the form is unknown.
    """

    export: PathLike | None = None
    form: AnnotationForm | str | None = None
    sort_into: PathLike | None = None
    copy: bool = False
    images_at: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.export is None) != (self.form is None):
            raise UsageError("`export` and `form` go together", hint="Give both: a place, and what to write there.")
        try:
            form = None if self.form is None else AnnotationForm(self.form)
        except ValueError:
            raise UsageError(
                f"'{self.form}' is not a form of annotations", hint=f"Use {', '.join(AnnotationForm)}."
            ) from None
        object.__setattr__(self, "form", form)
        if self.copy and self.sort_into is None and form is not AnnotationForm.YOLO:
            raise UsageError(
                "`copy` has no effect: no images are put into a folder", hint="Add `sort_into`, or leave `copy` out."
            )
        if self.images_at is not None and form is not AnnotationForm.LABEL_STUDIO:
            raise UsageError("`images_at` goes with label-studio", hint="Use `form` label-studio, or leave it out.")

    def check(self) -> None:
        """Raise, before the work, if something cannot be written: OutputExistsError, IndexFolderError, UsageError."""
        atomic.check_apart(self.export, self.sort_into)
        if self.export is not None and self.form is not None:
            atomic.check_output(Path(self.export), _writing.KINDS[AnnotationForm(self.form)], force=self.force)
        if self.sort_into is not None:
            atomic.check_output(Path(self.sort_into), _writing.SORTED, force=self.force)


def hand_over(annotations: Annotations, to: Handover, *, on_stage: OnStage | None = None) -> tuple[HandedOver, ...]:
    """Write annotations for labelling tools, and sort images into folders: one result for each output.

    Each output is written beside its place and renamed once complete.

    Parameters
    ----------
    annotations : Annotations
        From ``Classification.annotations`` or ``gallery_annotations``.
    to : Handover
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    OutputExistsError
        If something is there already, unless it was written by this function and ``force`` is given.
    UsageError
        If images are inside what would be replaced.
    SourceError
        If no image can be used, or a class has a name that the form cannot hold.
    IndexFolderError
        If the system refuses to write.
    """
    to.check()
    for out in (to.export, to.sort_into):
        if out is not None:
            _check_outside(annotations, Path(out))
    done = []
    if to.export is not None and to.form is not None:
        how = How(to.copy, to.images_at, to.force, progress_of(on_stage, "writing annotations"))
        done.append(_writing.write(annotations, Path(to.export), AnnotationForm(to.form), how))
    if to.sort_into is not None:
        how = How(copy=to.copy, force=to.force, on_progress=progress_of(on_stage, "sorting images"))
        done.append(_writing.sort(annotations, Path(to.sort_into), how))
    return tuple(done)


def _check_outside(annotations: Annotations, out: Path) -> None:
    """Raise UsageError if an image, or the archive that holds it, is inside a folder that would be replaced."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    inside = f"{os.path.realpath(out)}{os.sep}"
    for image in annotations.images:
        archive, _ = opening.split(image.path) or (image.path, "")
        folder, name = os.path.split(archive)
        # A link there is one to the image, and new ones would lead to it.
        places = (os.path.realpath(archive), os.path.join(os.path.realpath(folder or "."), name))
        if not opening.is_url(archive) and any(place.startswith(inside) for place in places):
            raise UsageError(f"'{image.path}' is in '{out}', which would be replaced", hint="Give another output.")


def gallery_annotations(
    gallery: Gallery | PathLike, ids: Sequence[int] | None = None, *, label: str | None = None
) -> Annotations:
    """The labels of a gallery's images as annotations, or one ``label`` for all.

    Parameters
    ----------
    gallery : Gallery or path
    ids : sequence of int, optional
        The images; all by default.
    label : str, optional
        In place of the labels that the images have.

    Raises
    ------
    QueryError
        If there is no image with one of the IDs.
    UsageError
        If it is a gallery of texts.
    """
    opened = gallery if isinstance(gallery, Gallery) else open_gallery(gallery, device="cpu")
    return _selecting.annotations_of(opened, ids, label)
