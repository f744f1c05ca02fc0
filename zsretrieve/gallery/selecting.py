"""Some images of a gallery: given another label, or taken into a gallery of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from zsretrieve.domain.errors import QueryError
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


def _rows_of(gallery: Gallery, ids: Collection[int]) -> Rows:
    rows = set()
    for number in ids:
        row = gallery.row_of(number)
        if row is None:
            raise _unknown(number)
        rows.add(row)
    return np.array(sorted(rows), dtype=np.int64)


def _unknown(number: int) -> QueryError:
    return QueryError(f"there is no image {number} in the gallery", hint="It may have been removed; search again.")
