"""The items of a gallery as a Parquet file. Paths and labels are bytes, since a file name need not be UTF-8."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zsretrieve.errors import IntegrityError
from zsretrieve.records import Item

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("path", pa.binary(), nullable=False),
        pa.field("label", pa.binary()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
    ]
)


def write(path: Path, items: Sequence[Item]) -> None:
    """Write items in order."""
    pq.write_table(table(items), path, compression="zstd")


def table(items: Sequence[Item]) -> pa.Table:
    """Items in order, in the columns of ``SCHEMA``."""
    columns = {
        "id": [item.id for item in items],
        "path": [os.fsencode(item.path) for item in items],
        "label": [None if item.label is None else os.fsencode(item.label) for item in items],
        "width": [item.width for item in items],
        "height": [item.height for item in items],
        "bytes": [item.bytes for item in items],
        "mtime_ns": [item.mtime_ns for item in items],
        "digest": [item.digest for item in items],
    }
    return pa.table(columns, schema=SCHEMA)


def read(path: Path) -> tuple[Item, ...]:
    """Read items in order. Raises IntegrityError if the file is damaged or of another form."""
    try:
        found = pq.read_table(path)
        if not found.schema.equals(SCHEMA):
            raise IntegrityError(f"'{path}' is damaged: it has other columns", hint="Build the index again.")
        columns = [found.column(name).to_pylist() for name in SCHEMA.names]
    except (OSError, pa.ArrowException) as error:
        message = " ".join(str(error).split())[:200]
        raise IntegrityError(f"'{path}' is damaged: {message}", hint="Build the index again.") from error
    return tuple(
        Item(i, os.fsdecode(p), None if label is None else os.fsdecode(label), width, height, size, mtime, digest)
        for i, p, label, width, height, size, mtime, digest in zip(*columns, strict=True)
    )
