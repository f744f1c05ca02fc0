"""Galleries as one Parquet file: the columns of our items and the vectors.

The passport of the gallery travels in the metadata of the schema; such a file is known as an export of ours by it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zsretrieve.errors import SourceError
from zsretrieve.exchange.foreign import BLOCK_ROWS, IDS_END, Block, ForeignVectors, Form, checked, one_line
from zsretrieve.records import Encoding, Item, Manifest
from zsretrieve.store import items as item_table
from zsretrieve.store import manifest as passport
from zsretrieve.store.indexes import Gallery

VECTOR = "vector"
PASSPORT = b"zsretrieve.passport"

_MAGIC = b"PAR1"
_GROUP_ROWS = 2 * BLOCK_ROWS
# The list of skipped files in a passport may be long.
_LONGEST_TEXT = 2**31 - 1


def is_parquet(path: Path) -> bool:
    """Whether a file is, or at least calls itself, Parquet."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC or path.suffix == ".parquet"
    except OSError:
        return path.suffix == ".parquet"


def is_ours(path: Path) -> bool:
    """Whether a file is Parquet that an export of ours has written."""
    try:
        with _opened(path) as file:
            return PASSPORT in (file.schema_arrow.metadata or {})
    except SourceError:
        return False


def open_vectors(path: Path) -> ForeignVectors:
    """Open a Parquet file with the columns ``path`` and ``vector`` and, where they are, those of our items.

    Raises
    ------
    SourceError
        If it cannot be read, or a column is not what it must be.
    IndexFormatError
        If it holds a passport of ours that is damaged or of a newer version.
    """
    with _opened(path) as file:
        schema = file.schema_arrow
        for name in ("path", VECTOR):
            if name not in schema.names:
                raise SourceError(
                    f"'{path}' has no column '{name}'; its columns are {', '.join(schema.names)}",
                    hint="The columns path and vector are needed; docs/exchange.md lists the others.",
                )
        dim, dtype = _shape(file, path)
        table = file.read(columns=[name for name in item_table.SCHEMA.names if name in schema.names])
        items = read_items(table, path)
        manifest = read_passport(schema, path)
    return ForeignVectors(Form.PARQUET, path, items, dim, dtype, lambda: _blocks(path, dim), manifest)


def read_table(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """Those of the columns that a file has, with the metadata of its schema. Raises SourceError."""
    with _opened(path) as file:
        return file.read(columns=[name for name in columns if name in file.schema_arrow.names])


def read_items(table: pa.Table, where: Path) -> tuple[Item, ...]:
    """The items in a table with the column ``path`` and any others of our items. Raises SourceError."""
    columns: list[list[Any]] = []
    for field in item_table.SCHEMA:
        if field.name in table.column_names:
            column = read_column(table, field.name, field.type, where)
        else:
            column = list(range(len(table))) if field.name == "id" else [None] * len(table)
        if field.name == "id" and None in column:
            raise SourceError(f"row {column.index(None)} of '{where}' has no id", hint="Leave the column out.")
        columns.append(column)
    return checked([_item(*values) for values in zip(*columns, strict=True)], where)


def read_column(table: pa.Table, name: str, kind: pa.DataType, where: Path) -> list[Any]:
    """The values of a column, brought to a type. Raises SourceError if that cannot be done."""
    try:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if kind == pa.binary() and not _is_text(column.type):
            column = column.cast(pa.string())
        values: list[Any] = column.cast(kind).to_pylist()
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise SourceError(
            f"the column '{name}' of '{where}' cannot be read as {kind}: {one_line(error)}",
            hint="docs/exchange.md lists the columns and their types.",
        ) from error
    return values


def text(raw: bytes | None) -> str | None:
    """Bytes of a path or label as a file name keeps them."""
    return None if raw is None else os.fsdecode(raw)


def read_passport(schema: pa.Schema, where: Path) -> Manifest | None:
    """The passport of the gallery that was exported; None in a file of somebody else.

    Raises
    ------
    IndexFormatError
        If it is damaged or of a newer version.
    SourceError
        If its next id is too great.
    """
    raw = (schema.metadata or {}).get(PASSPORT)
    manifest = None if raw is None else passport.from_bytes(raw, where)
    if manifest is not None and manifest.next_id > IDS_END:
        raise SourceError(
            f"'{where}' says that the next id is {manifest.next_id}; ids must be below {IDS_END}",
            hint="Export the gallery again.",
        )
    return manifest


def passport_metadata(manifest: Manifest, *, half: bool) -> dict[bytes, bytes]:
    """The passport for the metadata of a schema, without what is said of files."""
    encoding = manifest.encoding
    if half:
        encoding = Encoding("imported", "float16", "unknown", encoding.exif)
    kept = replace(manifest, encoding=encoding, files={}, segments=(), index=None, building=None)
    return {PASSPORT: passport.to_bytes(kept)}


def write_gallery(path: Path, gallery: Gallery, dtype: np.dtype[Any]) -> None:
    """Write everything that a gallery holds."""
    dim = gallery.space.dim
    vectors = pa.list_(pa.from_numpy_dtype(dtype), dim)
    schema = item_table.SCHEMA.append(pa.field(VECTOR, vectors, nullable=False))
    schema = schema.with_metadata(passport_metadata(gallery.manifest, half=dtype == np.float16))
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["label"]) as writer:
        for start in range(0, len(gallery.items), _GROUP_ROWS):
            items = gallery.items[start : start + _GROUP_ROWS]
            rows = gallery.live.take(np.arange(start, start + len(items))).astype(dtype, copy=False)
            table = item_table.table(items)
            column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=vectors)
            writer.write_table(pa.Table.from_arrays([*table.columns, column], schema=schema))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, thrift_string_size_limit=_LONGEST_TEXT) as file:
            yield file
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise SourceError(
            f"'{path}' cannot be read as Parquet: {one_line(error)}", hint="Check the file, or write it again."
        ) from error


def _shape(file: pq.ParquetFile, path: Path) -> tuple[int, np.dtype[Any]]:
    kind = file.schema_arrow.field(VECTOR).type
    lists = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not lists or not pa.types.is_floating(kind.value_type):
        raise SourceError(
            f"the column '{VECTOR}' of '{path}' holds {kind}, not lists of floating numbers",
            hint="A vector is a list of float32, of the same length in every row.",
        )
    dtype = np.dtype(kind.value_type.to_pandas_dtype())
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size, dtype
    first = next(file.iter_batches(batch_size=1, columns=[VECTOR]), None)
    return (0 if first is None or not len(first) else len(first.column(0)[0].as_py() or ())), dtype


def _blocks(path: Path, dim: int) -> Iterator[Block]:
    start = 0
    with _opened(path) as file:
        for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=[VECTOR]):
            yield _matrix(batch.column(0), dim, start, path)
            start += len(batch)


def _matrix(column: pa.Array, dim: int, start: int, path: Path) -> NDArray[Any]:
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
    if (lengths != dim).any():
        row = int(np.argmax(lengths != dim))
        length = f"a vector of {lengths[row]} numbers instead of {dim}" if lengths[row] >= 0 else "no vector"
        raise SourceError(f"row {start + row} of '{path}' has {length}", hint="Leave such rows out.")
    flat = column.flatten()
    if flat.null_count:
        row = int(np.argmax(flat.is_null().to_numpy(zero_copy_only=False))) // dim
        raise SourceError(f"row {start + row} of '{path}' has a vector with empty places", hint="Leave such rows out.")
    matrix: NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(len(column), dim)
    return matrix


def _item(number: int, path: bytes | None, label: bytes | None, *sizes_and_digest: Any) -> Item:
    *sizes, digest = sizes_and_digest
    width, height, size, mtime_ns = (known or 0 for known in sizes)
    return Item(number, text(path) or "", text(label) or None, width, height, size, mtime_ns, digest or "")


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)
