"""Classes, evaluations and duplicates of a gallery."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsretrieve.api.comparison import compare
from zsretrieve.api.duplicates import find_duplicates
from zsretrieve.api.evaluation import evaluate
from zsretrieve.api.handover import gallery_annotations
from zsretrieve.api.prompts import read_prompts
from zsretrieve.api.prototypes import make_prototypes
from zsretrieve.domain.duplicates import DuplicateGroup
from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.plain import plain, shortest
from zsretrieve.domain.prompts import bundled_sets
from zsretrieve.domain.results import EvalReport
from zsretrieve.domain.settings import AnnotationForm
from zsretrieve.domain.vectors import Rows
from zsretrieve.encoders.loading import Model
from zsretrieve.evaluation.classify import classify_vectors
from zsretrieve.handover import coco, label_studio
from zsretrieve.handover.writing import usable
from zsretrieve.prototypes.text import BuiltPrototypes
from zsretrieve.store.indexes import Prototypes
from zsretrieve.web.errors import HttpError
from zsretrieve.web.galleries import Revision
from zsretrieve.web.items import item_dict, shown

_BLOCK = 8192
_CSV = ("id", "path", "label", "width", "height", "bytes", "date")


class Memo:
    """The last few values that take long to make; each is made once, however many ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of a key, made by ``make`` if there is none."""
        with self._lock:
            making = self._locks.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            try:
                value = make()
            finally:
                with self._lock:
                    self._locks.pop(key, None)
            with self._lock:
                self._values[key] = value
                while len(self._values) > self._most:
                    self._values.popitem(last=False)
            return value

    def keep(self, is_wanted: Callable[[Any], bool]) -> None:
        """Forget the values whose keys are not wanted any more, and with them what they hold open."""
        with self._lock:
            for key in [key for key in self._values if not is_wanted(key)]:
                del self._values[key]


def prototypes_of(
    labels: Sequence[str], templates: str | None, revision: Revision, model: Model, most: int
) -> BuiltPrototypes:
    """Prototypes of class names, made now from ``most`` prompts at most. Raises PromptError, HttpError (400)."""
    if templates is not None and templates not in {one.name for one in bundled_sets() if one.has_templates}:
        raise HttpError(
            400, f"there are no templates '{templates}'", hint="Leave them out, or give a bundled set's name."
        )
    prompts = read_prompts(list(labels), templates)
    n = sum(map(len, prompts.prompts))
    if n > most:
        raise HttpError(400, f"these classes take {n} prompts, more than {most}", hint="Make an index of them.")
    return make_prototypes(prompts, model.named(revision.gallery.space.model), device=model.compute.device)


@dataclass(frozen=True)
class Images:
    """Some rows of a gallery, and what is wanted of them.

    The ``k`` best classes of each, None for none; and the IDs of ``listed`` images of each class, the surest first.
    """

    revision: Revision
    rows: Rows
    k: int | None
    listed: int
    is_local: bool


def classified(images: Images, built: BuiltPrototypes) -> dict[str, Any]:
    """How many of some images are nearest to each class, and the k best classes of each if they are wanted."""
    revision, rows, prototypes = images.revision, images.rows, built.prototypes
    index, names = revision.gallery.index, prototypes.prompts.class_names
    ids = revision.gallery.ids[rows]
    best = np.empty(len(rows), dtype=np.int64)
    chance = np.empty(len(rows))
    predictions: list[dict[str, Any]] = []
    k = 1 if images.k is None else min(images.k, len(names))

    def described(row: int) -> dict[str, Any]:
        record = item_dict(revision.gallery, revision.gallery.items[row], is_local=images.is_local, missing=False)
        return {key: record[key] for key in ("id", "path", "label")}

    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        answers = classify_vectors(index.stored(rows[part]), prototypes, k)
        best[part] = [one[0].class_id for one in answers]
        chance[part] = [one[0].probability for one in answers]
        if images.k is not None:
            predictions += [
                {**image, **one.to_dict()}
                for image, found in zip(map(described, rows[part].tolist()), answers, strict=True)
                for one in found
            ]
    classes = []
    for number, name in enumerate(names):
        places = np.flatnonzero(best == number)
        surest = places[np.argsort(-chance[places], kind="stable")][: images.listed]
        share = len(places) / len(rows) if len(rows) else 0.0
        classes.append({"class_name": name, "n": len(places), "share": share, "ids": ids[surest].tolist()})
    classes.sort(key=lambda one: -one["n"])
    return {"classes": classes, "predictions": predictions, "n": len(rows), "notes": built.notes()}


def duplicates(revision: Revision, near: float, memo: Memo) -> Sequence[DuplicateGroup]:
    """All groups of duplicates, kept for the next page. Raises RankError."""
    groups: Sequence[DuplicateGroup] = memo.get(
        (revision, "duplicates", near), lambda: find_duplicates(revision.gallery, near=near)
    )
    return groups


def group_dict(revision: Revision, group: DuplicateGroup, *, is_local: bool) -> dict[str, Any]:
    """The record of a group."""
    gallery = revision.gallery
    items = [
        {
            **item_dict(gallery, revision.item(one.id), is_local=is_local),
            "score": shortest(one.score),
            "digest": one.digest,
        }
        for one in group.items
    ]
    return {"kind": group.kind.value, "items": items}


def evaluated(revision: Revision, prototypes: Prototypes, memo: Memo) -> EvalReport:
    """The evaluation of the labelled images, kept for their cells. Raises ClassMappingError, HttpError (400)."""

    def make() -> EvalReport:
        try:
            return evaluate(revision.gallery, prototypes)
        except SourceError as error:
            raise HttpError(400, "no image of this gallery has a label", hint="Evaluation needs labels.") from error

    report: EvalReport = memo.get((revision, "evaluation", _Same(prototypes)), make)
    return report


class _Same:
    """An object as a key, by what it is rather than by what it holds; it is kept alive meanwhile."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


def evaluation_dict(report: EvalReport) -> dict[str, Any]:
    """All figures, and the matrix of true and predicted classes by their places in ``classes``."""
    run = report.run
    n = len(run.class_names)
    pairs, counts = np.unique(run.truth * n + run.ranked[:, 0], return_counts=True)
    cells = [[*divmod(pair, n), count] for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)]
    return {**report.to_dict(), "confusion": {"classes": list(run.class_names), "cells": cells}}


def cell(revision: Revision, report: EvalReport, true: str, predicted: str) -> Rows:
    """The rows of one class that were classified as another, in the order of the gallery. Raises HttpError (404)."""
    run = report.run
    wanted = []
    for name in (true, predicted):
        if name not in run.class_names:
            raise HttpError(404, f"there is no class '{name}'", hint="The evaluation lists them.")
        wanted.append([place for place, known in enumerate(run.class_names) if known == name])
    inside = np.isin(run.truth, wanted[0]) & np.isin(run.ranked[:, 0], wanted[1])
    gallery = revision.gallery
    paths = {run.paths[place] for place in np.flatnonzero(inside).tolist()}
    return np.array([row for row, item in enumerate(gallery.items) if gallery.path_of(item) in paths], dtype=np.int64)


def compared(
    revision: Revision, first: Prototypes, second: Prototypes, memo: Memo, *, is_local: bool
) -> dict[str, Any]:
    """The difference of two evaluations; a flip has the record of its image. Raises ClassMappingError, HttpError."""
    content = compare(evaluated(revision, first, memo).run, evaluated(revision, second, memo).run).to_dict()
    gallery = revision.gallery
    item_of = {gallery.path_of(item): item for item in gallery.items}
    flips = [
        {**flip, **item_dict(gallery, item_of[flip["path"]], is_local=is_local)} for flip in plain(content["flips"])
    ]
    return {**content, "flips": flips}


def exported(revision: Revision, ids: Sequence[int], form: str, label: str | None, *, is_local: bool) -> str:
    """Images as a list of paths, a table, or annotations. Paths are whole on this machine alone."""
    gallery = revision.gallery
    items = [revision.item(number) for number in ids]
    if form not in ("paths", "csv"):
        annotations = gallery_annotations(gallery, ids, label=label)
        if form == "coco":
            annotations, _ = usable(annotations, AnnotationForm.COCO)
        known = {gallery.path_of(item): item_dict(gallery, item, is_local=is_local, missing=False) for item in items}
        names = [known[image.path]["path"] for image in annotations.images]
        if form == "coco":
            return coco.text(annotations, names)
        urls = [
            label_studio.address(image.path, name, is_here=is_local)
            for image, name in zip(annotations.images, names, strict=True)
        ]
        files = label_studio.files(annotations, names, urls)
        return files[label_studio.TASKS if form == "label-studio" else label_studio.SETUP]
    if form == "paths":
        lines = [
            shown(gallery.path_of(item))
            if is_local
            else item_dict(gallery, item, is_local=False, missing=False)["path"]
            for item in items
        ]
        return "".join(f"{line}\n" for line in lines)
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(_CSV)
    for item in items:
        record = item_dict(gallery, item, is_local=is_local, missing=False)
        if is_local:
            record["path"] = shown(os.path.abspath(gallery.path_of(item)))
        table.writerow([record[column] for column in _CSV])
    return text.getvalue()
