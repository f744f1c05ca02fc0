"""Galleries of given vectors, without images."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kits.hashing_encoder import HashingEncoder
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.records import IndexKind, Item, Manifest, Segment
from zsretrieve.domain.vectors import Vectors
from zsretrieve.gallery.ingest import GalleryBuilder
from zsretrieve.store import indexes, rows
from zsretrieve.store.folder import Writer, creating, now, writing
from zsretrieve.store.index_files import write_index
from zsretrieve.store.items import SCHEMA
from zsretrieve.store.rows import LiveVectors

BACKEND = FaissBackend("cpu")
_AT_ONCE = 1_000_000


def vector_gallery(out: Path, vectors: Vectors) -> Path:
    """A gallery whose image i has vector i; its label is the last digit of i."""
    dim = vectors.shape[1]
    with creating(out) as writer:
        segment = rows.write_blocks(writer, [_item(number) for number in range(len(vectors))], [vectors], dim)
        _commit(writer, segment, vectors)
    return out


def region_gallery(out: Path, bundles: Vectors, spec: str = "pyramid:2") -> Path:
    """The same for images with regions; ``bundles`` are of shape (n, 1 + r, dim)."""
    count, _, dim = bundles.shape
    with creating(out) as writer:
        items = [_item(number) for number in range(count)]
        segment = rows.write(writer, items, bundles.reshape(count, -1), dim)
        _commit(writer, segment, np.ascontiguousarray(bundles[:, 0]), spec)
    return out


def streamed_gallery(out: Path, blocks: Iterable[Vectors], count: int, dim: int) -> Path:
    """As ``vector_gallery``, for vectors that come in blocks, ``count`` in all, and are never in memory together.

    The items are written as a table, since millions of ``Item`` take gigabytes, and have other digests.
    """
    with creating(out) as writer:
        with writer.new_segment() as folder:
            rows.write_npy(folder / rows.VECTORS, blocks, (count, dim), np.dtype(np.float32))
            with pq.ParquetWriter(folder / rows.ITEMS, SCHEMA, compression="zstd") as table:
                for start in range(0, count, _AT_ONCE):
                    table.write_table(_table(start, min(start + _AT_ONCE, count)))
            shutil.copyfile(folder / rows.ITEMS, folder / rows.ITEMS_COPY)
        _commit(writer, Segment(folder.name, count), rows.read_vectors(folder, count, dim))
    return out


def _commit(writer: Writer, segment: Segment, vectors: Vectors, regions: str | None = None) -> None:
    count, dim = vectors.shape
    encoder = HashingEncoder(dim)
    index = write_index(writer, indexes.index_of(LiveVectors.of(vectors), dim, BACKEND))
    writer.commit(
        Manifest(
            kind=IndexKind.GALLERY, space=encoder.space, head=encoder.head, encoding=encoder.encoding,
            count=count, factory="Flat", files={}, created=now(), tool_version="test", verified=now(),
            segments=(segment,), index=index, next_id=count, root=str(writer.out.parent.absolute()), regions=regions,
        )
    )  # fmt: skip


def put(out: Path, vectors: Mapping[int | None, Vectors] | Collection[Vectors]) -> None:
    """Replace the vectors of images by their IDs, or add images."""
    with writing(out) as writer:
        builder = GalleryBuilder(writer, *indexes.gallery_rows(writer), BACKEND)
        if isinstance(vectors, Mapping):
            for number, vector in vectors.items():
                builder.put(_item(number), vector)
        else:
            for vector in vectors:
                builder.put(_item(builder.new_id()), vector)
        builder.finish()


def _item(number: int) -> Item:
    return Item(number, f"{number:06}.jpg", str(number % 10), 9, 9, 0, 0, f"{number:064x}")


def _table(start: int, stop: int) -> pa.Table:
    """The items of ``_item`` for some numbers."""
    ids, count = pa.array(np.arange(start, stop, dtype=np.int64)), stop - start
    digits, ones = pc.cast(ids, pa.string()), pa.array(np.ones(count, np.int32))
    columns = {
        "id": ids,
        "path": pc.cast(pc.binary_join_element_wise(pc.utf8_lpad(digits, 6, "0"), ".jpg", ""), pa.binary()),
        "label": pc.cast(pc.utf8_slice_codeunits(digits, -1), pa.binary()),
        "width": pc.multiply(ones, 9), "height": pc.multiply(ones, 9),
        "bytes": pa.array(np.zeros(count, np.int64)), "mtime_ns": pa.array(np.zeros(count, np.int64)),
        "digest": pc.utf8_lpad(digits, 64, "0"),
    }  # fmt: skip
    return pa.table({name: pc.cast(column, SCHEMA.field(name).type) for name, column in columns.items()}, schema=SCHEMA)


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    """The share of the expected rows that were found, over all queries."""
    return float(np.mean([np.isin(want, have).mean() for have, want in zip(found, expected, strict=True)]))
