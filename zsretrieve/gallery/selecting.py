"""Some images of a gallery: given another label, or taken into a gallery of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from zsretrieve.domain.annotations import AnnotatedImage, Annotation, Annotations
from zsretrieve.domain.errors import QueryError, UsageError
from zsretrieve.domain.kinds import FLAT
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.records import Changes
from zsretrieve.domain.vectors import Rows
from zsretrieve.gallery.ingest import GalleryBuilder
from zsretrieve.store import rows as row_files
from zsretrieve.store.folder import creating, now, writing
from zsretrieve.store.index_files import write_index
from zsretrieve.store.indexes import Gallery, gallery_rows, index_of, open_gallery
from zsretrieve.store.rows import LiveVectors


def label_images(out: Path, labels: Mapping[int, str | None], backend: IndexBackend) -> Changes:
    """See ``api.selecting.label_images``."""
    with writing(out) as writer:
        manifest, live = gallery_rows(writer)
        builder = GalleryBuilder(writer, manifest, live, backend)
        changed = 0
        for number, label in labels.items():
            if number not in builder.ids:
                raise _unknown(number)
            item = builder.item(number)
            if item.label != label:
                builder.rewrite(replace(item, label=label))
                changed += 1
        if changed:
            builder.finish()
        return Changes(changed=changed, unchanged=len(live.items) - changed)


def subset(gallery: Gallery, ids: Collection[int], out: Path, backend: IndexBackend) -> Gallery:
    """See ``api.selecting.subset``."""
    rows = _rows_of(gallery, ids)
    items = [gallery.items[row] for row in rows.tolist()]
    dim = gallery.space.dim
    with creating(out) as writer:
        segment = row_files.write(writer, items, gallery.bundles(rows), dim)
        manifest = replace(
            gallery.manifest, segments=(), index=None, files={}, created=now(), count=len(items), skipped=(),
            origins=(), generation=1, factory=FLAT, approximate=None,
        )  # fmt: skip
        vectors = LiveVectors.of(row_files.read_part(out, manifest, segment).vectors)
        writer.commit(
            replace(manifest, segments=(segment,), index=write_index(writer, index_of(vectors, dim, backend)))
        )
    return open_gallery(out, backend)


def annotations_of(gallery: Gallery, ids: Sequence[int] | None, label: str | None) -> Annotations:
    """See ``api.handover.gallery_annotations``."""
    if gallery.manifest.holds_texts:
        raise UsageError("this is a gallery of texts, not of images", hint="Give a gallery of images.")
    items = gallery.items if ids is None else [gallery.items[_row_of(gallery, number)] for number in ids]
    labels = [label or item.label for item in items]
    names = sorted({name for name in labels if name is not None})
    number = {name: class_id for class_id, name in enumerate(names)}
    images = tuple(
        AnnotatedImage(
            gallery.path_of(item), item.width, item.height, () if name is None else (Annotation(number[name]),)
        )
        for item, name in zip(items, labels, strict=True)
    )
    return Annotations(tuple(names), images, has_boxes=False, root=gallery.manifest.root or "", model="labels")


def _rows_of(gallery: Gallery, ids: Collection[int]) -> Rows:
    return np.array(sorted({_row_of(gallery, number) for number in ids}), dtype=np.int64)


def _row_of(gallery: Gallery, number: int) -> int:
    row = gallery.row_of(number)
    if row is None:
        raise _unknown(number)
    return row


def _unknown(number: int) -> QueryError:
    return QueryError(f"there is no image {number} in the gallery", hint="It may have been removed; search again.")
