"""What the prompt lab works on: a labelled gallery and its classes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from zsretrieve import prompts as _prompts
from zsretrieve import wiring
from zsretrieve.api.opening import PathLike, is_index, open_gallery
from zsretrieve.errors import ClassMappingError, SourceError
from zsretrieve.prompts import ClassList
from zsretrieve.records import PromptSet
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.verbs.labelled import class_ids

Classes = ClassList | PathLike | Sequence[str] | None

_OF_SYNSETS = "imagenet1k"
_SYNSET, _NUMBER = re.compile(r"n\d{8}"), re.compile(r"#\d+")


def lab_gallery(gallery: Gallery | PathLike) -> Gallery:
    """Open a gallery for the lab. Raises SourceError, with the command that builds one, if it is something else."""
    if isinstance(gallery, Gallery):
        return gallery
    if not is_index(gallery):
        raise SourceError(
            f"'{os.fspath(gallery)}' is no gallery, and the prompt lab works on images that are encoded already",
            hint=f"Build one first: zsretrieve index gallery '{os.fspath(gallery)}' indexes/labelled",
        )
    return open_gallery(gallery, device="cpu")


def lab_classes(gallery: Gallery, classes: Classes | Prototypes = None) -> ClassList:
    """The classes that pictures are scored on.

    Parameters
    ----------
    gallery : Gallery
    classes : optional
        A list as ``read_prompts`` takes it, or prototypes, whose classes are taken. By default the labels of the
        gallery are the names, underscores read as spaces; where all labels are synset ids of ImageNet-1k, its classes.

    Raises
    ------
    PromptError
        If the list cannot be read.
    SourceError
        If no picture has a label.
    ClassMappingError
        If the labels are no names.
    """
    if isinstance(classes, ClassList):
        return classes
    if isinstance(classes, Prototypes):
        prompts = classes.prompts
        return ClassList(prompts.class_names, prompts.class_keys, prompts.classes_source)
    if classes is not None:
        return _prompts.read_classes(Path(classes) if isinstance(classes, os.PathLike) else classes, wiring.provide)
    labels = sorted({item.label for item in gallery.items if item.label is not None})
    if not labels:
        raise SourceError(
            "none of the images of the gallery has a label",
            hint="Labels are taken when a gallery is built: from folder names, or with --ground-truth FILE.",
        )
    return names_of_labels(labels)


def names_of_labels(labels: Sequence[str]) -> ClassList:
    """What labels are called in a text: themselves, underscores read as spaces; or where all of them are synset ids of
    ImageNet-1k, its classes.

    Raises ClassMappingError if they are no names.
    """
    if all(_SYNSET.fullmatch(label) for label in labels):
        known = _prompts.read_classes(_OF_SYNSETS, wiring.provide)
        if set(labels) <= set(known.keys):
            return known
    for label in labels:
        if _SYNSET.fullmatch(label) or _NUMBER.fullmatch(label) or not label.strip("_ "):
            raise ClassMappingError(
                f"the label '{label}' is no name that could be put into a template",
                hint="Name the classes: --classes SET or FILE, with a key for each name.",
            )
    names = dict.fromkeys(" ".join(label.replace("_", " ").split()) for label in labels)
    return ClassList(tuple(names), (None,) * len(names), "labels of the gallery")


def check_gallery_labels(gallery: Gallery, prompts: PromptSet) -> None:
    """Raise ClassMappingError or SourceError, before a model is loaded, if labels are missing or of other classes."""
    class_ids([item.label for item in gallery.items], prompts)
