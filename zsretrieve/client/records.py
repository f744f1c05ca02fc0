"""The records of the library from the JSON of the API, and those that only a server has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from zsretrieve.api.hits import Hits
from zsretrieve.domain.duplicates import Duplicate, DuplicateGroup, DuplicateKind
from zsretrieve.domain.found import Explanation, Found, Matching, TermScore
from zsretrieve.domain.kinds import Expected
from zsretrieve.domain.plain import Result, float32, rebuilt
from zsretrieve.domain.queries import Query
from zsretrieve.domain.records import Changes, Classified, Hit, Item, Prediction, Skipped
from zsretrieve.domain.results import EvalReport, Run

# A server counts what was skipped, and does not name it.
_UNNAMED = Skipped("", "the server does not name it")
_Record = TypeVar("_Record")
_PRECISION = re.compile(r"prec@(\d+)")


@dataclass(frozen=True)
class Counted(Result):
    """A label or a folder of a gallery, and how many images have it."""

    name: str
    n: int


@dataclass(frozen=True)
class GalleryRecord(Result):
    """What a server says of a gallery.

    ``labels`` and ``folders`` are the most frequent ones, at most 1000, and ``first_date`` and ``last_date`` when the
    oldest and the newest file were changed; ``Client.gallery`` fills them in.
    """

    name: str
    n_images: int
    model: str
    dim: int
    index: str
    exact: bool
    revision: str
    precision: str
    has_labels: bool
    has_map: bool
    writable: bool
    holds_texts: bool = False
    labels: tuple[Counted, ...] = ()
    folders: tuple[Counted, ...] = ()
    first_date: str | None = None
    last_date: str | None = None
    n_skipped: int = 0


@dataclass(frozen=True)
class PrototypesRecord(Result):
    """What a server says of prototypes; ``galleries`` are the names of those that they fit."""

    name: str
    n_classes: int
    model: str
    galleries: tuple[str, ...]


@dataclass(frozen=True)
class Described(Result):
    """An image with its nearest classes, if prototypes were named, and its neighbours.

    ``missing`` is whether its file is not there any more.
    """

    item: Item
    missing: bool
    classes: tuple[Prediction, ...]
    neighbours: tuple[Hit, ...]


@dataclass(frozen=True)
class ClassCount(Result):
    """A class with the images that it is the best for: how many, their share, and the IDs of the 200 surest."""

    class_name: str
    n: int
    share: float
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Classes(Result):
    """How ``n`` images fall into classes, the most frequent first; ``results`` are those of IDs that were asked for.

    ``notes`` say what is wrong with the classes, such as that the model cannot distinguish some of them.
    """

    classes: tuple[ClassCount, ...]
    results: tuple[Classified, ...]
    n: int
    notes: tuple[str, ...] = ()


def read(kind: type[_Record], content: Any) -> _Record:
    """A record from its JSON; a score is exactly that of the library. Raises TypeError, ValueError, KeyError."""
    if isinstance(content, Mapping) and isinstance(score := content.get("score"), float):
        content = {**content, "score": float32(score)}
    return rebuilt(kind, content)


def gallery_of(content: Mapping[str, Any]) -> GalleryRecord:
    """A gallery."""
    counted = {
        plural: [{"name": one[single], "n": one["n"]} for one in content.get(plural, ())]
        for plural, single in (("labels", "label"), ("folders", "folder"))
    }
    return read(GalleryRecord, {**content, **counted})


def hits_of(content: Mapping[str, Any], query: Query) -> Hits:
    """A page of hits."""
    matching, records, expected = content["matching"], content["hits"], content.get("expected")
    terms = [[read(TermScore, term) for term in one["terms"]] for one in records if one.get("terms") is not None]
    found = Found(
        hits=tuple(read(Hit, one) for one in records),
        query=query,
        total=content["total"],
        offset=content["offset"],
        next=content["next"],
        revision=content["revision"],
        matching=None if matching is None else read(Matching, matching),
        explanation=Explanation(tuple(map(tuple, terms)), ()) if terms else None,
        is_exact=content["exact"],
        expected=None if expected is None else read(Expected, expected),
        n_missing=content["n_missing"],
    )
    return Hits.of(found)


def item_of(content: Mapping[str, Any]) -> Item:
    """An image; ``mtime_ns`` is in whole seconds, and ``digest`` is empty since the API has none."""
    seconds = int(datetime.fromisoformat(content["date"]).timestamp())
    return read(Item, {**content, "mtime_ns": seconds * 1_000_000_000, "digest": ""})


def described_of(content: Mapping[str, Any]) -> Described:
    """An image with its classes and neighbours."""
    return Described(
        item_of(content),
        content["missing"],
        tuple(read(Prediction, one) for one in content["classes"]),
        tuple(read(Hit, {**one, "rank": rank}) for rank, one in enumerate(content["neighbours"], 1)),
    )


def classes_of(content: Mapping[str, Any]) -> Classes:
    """Counts of classes, and predictions image by image."""
    results = []
    for _, group in groupby(content["predictions"], key=lambda row: row["id"]):
        rows = list(group)
        predictions = tuple(read(Prediction, row) for row in rows)
        results.append(Classified(rows[0]["path"], rows[0]["label"], predictions))
    counts = tuple(read(ClassCount, one) for one in content["classes"])
    return Classes(counts, tuple(results), content["n"], tuple(content.get("notes", ())))


def group_of(content: Mapping[str, Any]) -> DuplicateGroup:
    """A group of duplicates."""
    items = tuple(read(Duplicate, one) for one in content["items"])
    return DuplicateGroup(DuplicateKind(content["kind"]), min(one.score for one in items), items[0].id, items)


def report_of(content: Mapping[str, Any]) -> EvalReport:
    """An evaluation; its ``run`` holds no images, since a server counts them and does not send each."""
    names = content["confusion"]["classes"]
    empty = np.empty((0, 1))
    run = Run(
        (), (), np.empty(0, np.int64), empty.astype(np.int64), empty.astype(np.float32), empty, tuple(names),
        (None,) * len(names), content["model"], content["templates"],
    )  # fmt: skip
    rates = {found[1]: key for key in content if (found := _PRECISION.fullmatch(key)) and content[key] is not None}
    fields = {
        **content,
        "run": run,
        "prec_at": {k: content[key] for k, key in rates.items()},
        "prec_interval": {k: content[f"{key}_interval"] for k, key in rates.items()},
        "mean_interval": content["mean_per_class_recall_interval"],
        "skipped": unnamed(content["n_skipped"]),
        "unlabelled": content["n_unlabelled"],
        "n_by_number": content["n_labels_as_numbers"],
    }
    return read(EvalReport, fields)


def changes_of(content: Mapping[str, Any]) -> Changes:
    """What a job has done to a gallery."""
    return read(Changes, {**content, "skipped": unnamed(content["skipped"])})


def unnamed(n: int) -> list[dict[str, Any]]:
    """Inputs that were skipped, of which a server says only how many."""
    return [_UNNAMED.to_dict()] * n
