"""Images as the API shows them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from zsretrieve.api.maps import has_map
from zsretrieve.domain.plain import shortest
from zsretrieve.domain.ranking import rescored
from zsretrieve.domain.records import Item
from zsretrieve.evaluation.classify import classify_vectors
from zsretrieve.images import opening
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.items import column_of
from zsretrieve.web.galleries import Revision

_LISTED = 1000
_NEIGHBOURS = 12


def shown(text: str) -> str:
    """A name as JSON can hold it: bytes that are not UTF-8 are written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def iso(mtime_ns: int) -> str:
    """A time in UTC to the second, in ISO 8601."""
    seconds = min(max(mtime_ns // 1_000_000_000, -62_000_000_000), 253_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def item_dict(gallery: Gallery, item: Item, *, is_local: bool, missing: bool | None = None) -> dict[str, Any]:
    """The record of an image or a text. Whole paths and addresses of servers are shown on this machine alone.

    ``missing`` is whether its file is not there, looked at here where it is not known.
    """
    path = _shown_path(item.path, is_local=is_local)
    if missing is None:
        missing = item.text is None and opening.is_away(gallery.path_of(item))
    return {
        "id": item.id,
        "name": os.path.basename(path) if item.text is None else item.text,
        "path": path,
        "folder": os.path.dirname(path),
        "label": None if item.label is None else shown(item.label),
        "width": item.width,
        "height": item.height,
        "bytes": item.bytes,
        "date": iso(item.mtime_ns),
        "missing": missing,
        "text": item.text,
        "image": None if item.image is None else _shown_path(item.image, is_local=is_local),
    }


def _shown_path(path: str, *, is_local: bool) -> str:
    if not is_local and (os.path.isabs(path) or opening.is_url(path)):
        path = os.path.basename(path.rpartition(opening.MEMBER)[2])
    return shown(path)


@dataclass(frozen=True)
class _Totals:
    """How many images have each label, and are in each folder."""

    labels: Counter[str]
    folders: Counter[str]


def _totals(gallery: Gallery) -> _Totals:
    """Counted once for each revision, without making a million items."""
    known = gallery.memo.get("totals")
    if not isinstance(known, _Totals):
        labels = Counter(label for label in column_of(gallery.items, "label") if label is not None)
        known = _Totals(labels, Counter(map(os.path.dirname, column_of(gallery.items, "path"))))
        gallery.memo["totals"] = known
    return known


def gallery_dict(revision: Revision, *, writable: bool) -> dict[str, Any]:
    """The record of a gallery."""
    gallery = revision.gallery
    return {
        "name": revision.name,
        "n_images": len(gallery.items),
        "model": gallery.space.model,
        "dim": gallery.space.dim,
        "index": gallery.manifest.factory,
        "exact": gallery.approximate is None,
        "revision": revision.key,
        "precision": gallery.manifest.encoding.precision,
        "has_labels": _totals(gallery).labels.total() > 0,
        "has_map": has_map(gallery),
        "holds_texts": gallery.manifest.holds_texts,
        "writable": writable,
    }


def gallery_detail(revision: Revision, *, writable: bool, is_local: bool) -> dict[str, Any]:
    """The record of a gallery with its most frequent labels and folders."""
    totals, times = _totals(revision.gallery), revision.gallery.mtimes_ns
    folders = Counter(
        {name: n for name, n in totals.folders.items() if is_local or not (os.path.isabs(name) or opening.is_url(name))}
    )
    return gallery_dict(revision, writable=writable) | {
        "labels": [{"label": shown(label), "n": n} for label, n in totals.labels.most_common(_LISTED)],
        "folders": [{"folder": shown(folder), "n": n} for folder, n in folders.most_common(_LISTED)],
        "first_date": iso(int(times.min())) if len(times) else None,
        "last_date": iso(int(times.max())) if len(times) else None,
        "n_skipped": len(revision.gallery.manifest.skipped),
    }


def nearest_classes(revision: Revision, id_: int, prototypes: Prototypes) -> list[dict[str, Any]]:
    """The classes nearest to an image of the gallery, best first."""
    vectors = revision.gallery.index.stored(np.array([revision.row_of(id_)]))
    return [one.to_dict() for one in classify_vectors(vectors, prototypes)[0]]


def neighbours(revision: Revision, id_: int, *, is_local: bool) -> list[dict[str, Any]]:
    """The images nearest to one of the gallery, without itself."""
    gallery, row = revision.gallery, revision.row_of(id_)
    k = min(_NEIGHBOURS + 1, len(gallery.items))
    vector = gallery.index.stored(np.array([row]))
    rows = gallery.index.search(vector, k)[1]
    scores = rescored(vector, rows, gallery.index.stored)
    return [
        item_dict(gallery, gallery.items[other], is_local=is_local) | {"score": shortest(score)}
        for score, other in zip(scores[0].tolist(), rows[0].tolist(), strict=True)
        if other != row
    ][:_NEIGHBOURS]
