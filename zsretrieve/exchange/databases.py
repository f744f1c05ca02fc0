"""Galleries for the bulk imports of vector databases: a folder of Parquet files of bounded size.

The metadata of each file's schema name the database, by which such an export is recognised, and the model that encodes
queries for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zsretrieve.domain.records import Item
from zsretrieve.domain.settings import Form
from zsretrieve.exchange import parquet
from zsretrieve.store import items as item_table
from zsretrieve.store.indexes import Gallery

FORM = b"zsretrieve.form"
MODEL = b"zsretrieve.model"

# Of vectors in a file; as much as Milvus' own writer puts into one by default.
_FILE_BYTES = 2**29
_PART = re.compile(r"part_\d+\.parquet")
# As those of a gallery, but text is text, which databases can filter by.
_COLUMNS = pa.schema(
    [field.with_type(pa.string()) if field.type == pa.binary() else field for field in item_table.SCHEMA]
)


def is_ours(folder: Path, form: Form) -> bool:
    """Whether a folder holds an export for this database and nothing else."""
    try:
        parts = list(folder.iterdir())
    except OSError:
        return False
    return bool(parts) and all(
        _PART.fullmatch(part.name) and not part.is_symlink() and parquet.metadata_of(part).get(FORM) == form.encode()
        for part in parts
    )


def write_gallery(
    folder: Path, gallery: Gallery, form: Form, dtype: np.dtype[Any], part_rows: int | None = None
) -> None:
    """Write a gallery for a database, ``part_rows`` images per file, by default 512 MiB of vectors."""
    folder.mkdir()
    dim, count = gallery.space.dim, len(gallery.items)
    # Milvus wants lists of any length, LanceDB those of one length.
    vectors = pa.list_(pa.from_numpy_dtype(dtype), -1 if form is Form.MILVUS else dim)
    schema = _COLUMNS.append(pa.field(parquet.VECTOR, vectors, nullable=False))
    schema = schema.with_metadata({FORM: form.encode(), MODEL: os.fsencode(gallery.space.model)})
    rows = part_rows or _FILE_BYTES // (dim * dtype.itemsize)
    starts = range(0, max(count, 1), rows)
    width = len(str(len(starts)))
    for number, start in enumerate(starts):
        part = folder / f"part_{str(number).zfill(width)}.parquet"
        parquet.write_rows(
            part, schema, gallery, range(start, min(start + rows, count)), lambda some: _table(gallery, some)
        )


def _table(gallery: Gallery, items: Sequence[Item]) -> pa.Table:
    shown = [
        replace(one, path=parquet.visible(gallery.path_of(one)), label=one.label and parquet.visible(one.label))
        for one in items
    ]
    return item_table.table(shown).cast(_COLUMNS)
