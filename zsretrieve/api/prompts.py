"""Class names and templates: the bundled sets, files, and the labels of images."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsretrieve.domain import prompts as _prompts
from zsretrieve.domain.errors import ClassMappingError, PromptError
from zsretrieve.domain.names import SYNSET, composed, number_in
from zsretrieve.domain.plain import Result
from zsretrieve.domain.prompts import ClassList, TemplateList
from zsretrieve.domain.records import PathLike, PromptSet
from zsretrieve.domain.wording import counted
from zsretrieve.encoders.catalog.bundled_prompts import provide

# A bundled set's name, a file, a comma-separated list, or the names or templates themselves.
Prompts = PathLike | Sequence[str]

_log = logging.getLogger("zsretrieve")


@dataclass(frozen=True)
class PromptSetInfo(Result):
    """A bundled set, with its numbers of class names and of templates."""

    name: str
    classes: int
    templates: int
    source: str


@dataclass(frozen=True)
class PromptSetContent:
    """What a bundled set or a file holds: classes, templates or both."""

    classes: ClassList | None
    templates: TemplateList | None

    def to_dict(self) -> dict[str, Any]:
        """``class_names``, ``class_keys``, ``prompts`` and ``templates``, as far as there are any."""
        content: dict[str, Any] = {}
        if self.classes is not None:
            content["class_names"] = list(self.classes.names)
            if any(self.classes.keys):
                content["class_keys"] = list(self.classes.keys)
            if self.classes.prompts:
                content["prompts"] = [list(group) for group in self.classes.prompts]
        if self.templates is not None:
            content["templates"] = list(self.templates.templates)
        return content


def prompt_sets() -> list[PromptSetInfo]:
    """The bundled sets, sorted by name."""
    return [
        PromptSetInfo(
            info.name,
            len(read_classes(info.name).names) if info.has_classes else 0,
            len(read_templates(info.name).templates) if info.has_templates else 0,
            info.source,
        )
        for info in _prompts.bundled_sets()
    ]


def read_prompt_set(name: PathLike) -> PromptSetContent:
    """The content of a bundled set or a file. Raises PromptError if it holds neither classes nor templates."""
    classes: ClassList | None = None
    templates: TemplateList | None = None
    failure: PromptError | None = None
    try:
        classes = read_classes(name)
    except PromptError as error:
        failure = error
    try:
        templates = read_templates(name)
    except PromptError:
        if failure is not None:
            if os.path.exists(name):
                raise failure from None
            known = ", ".join(info.name for info in _prompts.bundled_sets())
            raise PromptError(f"there is no set or file '{name}'", hint=f"Bundled sets: {known}.") from failure
    return PromptSetContent(classes, templates)


def read_prompts(classes: Prompts, templates: Prompts | None = None) -> PromptSet:
    """Class names put into templates.

    Parameters
    ----------
    classes : str, path or sequence of str
        A bundled set's name, a file, a comma-separated list, or the names.
    templates : str, path or sequence of str, optional
        A bundled set's name, a file, one template, or the templates; by default what the class set asks for, else
        ``standard``.

    Raises
    ------
    PromptError
        If either cannot be read.
    """
    class_list = read_classes(classes)
    if templates is None and class_list.prompts:
        return _prompts.expand(class_list, None)
    if templates is None:
        templates = class_list.default_templates or _prompts.DEFAULT_TEMPLATES
    return _prompts.expand(class_list, read_templates(templates))


def read_classes(classes: Prompts) -> ClassList:
    """Class names as ``read_prompts`` takes them."""
    found = _prompts.read_classes(Path(classes) if isinstance(classes, os.PathLike) else classes, provide)
    if found.form is not None:
        _log.info(f"'{found.source}' holds {counted(len(found.names), 'class', 'classes')}: {found.form}")
    return found


def read_templates(templates: Prompts) -> TemplateList:
    """Templates as ``read_prompts`` takes them."""
    found = _prompts.read_templates(Path(templates) if isinstance(templates, os.PathLike) else templates, provide)
    if found.form is not None:
        _log.info(f"'{found.source}' holds {counted(len(found.templates), 'template')}: {found.form}")
    return found


def names_of_labels(labels: Sequence[str]) -> ClassList:
    """Class names for labels: the labels with underscores read as spaces; or if all of them are synset ids of
    ImageNet-1k, its classes.

    Raises ClassMappingError if all labels are numbers, or one was a number in its source, or is a synset ID that is not
    in ImageNet-1k.
    """
    if all(SYNSET.fullmatch(label) for label in labels):
        known = read_classes(_prompts.OF_SYNSETS)
        if set(labels) <= set(known.keys):
            return known
    numbers = {label for label in labels if number_in(label) is not None}
    for label in labels:
        is_number = label in numbers and (label.startswith("#") or len(numbers) == len(labels))
        if SYNSET.fullmatch(label) or is_number or not label.strip("_ "):
            raise ClassMappingError(
                f"the label '{label}' is not a name that fits into a template",
                hint="Name the `classes`: a set or a file, with a key for each name.",
            )
    spaced = (" ".join(label.replace("_", " ").split()) for label in labels)
    names = {composed(name): name for name in spaced}.values()
    return ClassList(tuple(names), (None,) * len(names), "labels of the gallery")
