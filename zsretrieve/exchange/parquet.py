"""Galleries as one Parquet file: the columns of the items, and the vectors.

The metadata of the schema hold the gallery's manifest, by which an export of this program is recognised.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.kinds import FLAT
from zsretrieve.domain.records import Encoding, Item, Manifest
from zsretrieve.domain.settings import Form
from zsretrieve.domain.wording import one_line
from zsretrieve.exchange.foreign import BLOCK_ROWS, IDS_END, Block, ForeignVectors, checked
from zsretrieve.store import items as item_table
from zsretrieve.store import manifest as manifests
from zsretrieve.store.indexes import Gallery

VECTOR = "vector"
MANIFEST = b"zsretrieve.passport"

_MAGIC = b"PAR1"
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
_GROUP_ROWS = 2 * BLOCK_ROWS
# The list of skipped files in a manifest may be long.
_LONGEST_TEXT = 2**31 - 1


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, or at least named so."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC or path.suffix == ".parquet"
    except OSError:
        return path.suffix == ".parquet"


def is_ours(path: Path) -> bool:
    """Whether a file is an export of this program."""
    return MANIFEST in metadata_of(path)


def metadata_of(path: Path) -> dict[bytes, bytes]:
    """The metadata of a file's schema; empty if it cannot be read as Parquet."""
    try:
        with _opened(path) as file:
            return file.schema_arrow.metadata or {}
    except SourceError:
        return {}


def open_vectors(path: Path) -> ForeignVectors:
    """Open a Parquet file with the columns ``path`` and ``vector`` and, optionally, those of items.

    Raises
    ------
    SourceError
        If it cannot be read, or a column is missing or has a wrong type.
    IndexFormatError
        If it holds a manifest that is damaged or of a newer version.
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
        manifest = read_manifest(schema, path)
        columns = item_table.TEXT_SCHEMA if manifest is not None and manifest.holds_texts else item_table.SCHEMA
        table = file.read(columns=[name for name in columns.names if name in schema.names])
        items = read_items(table, path, columns)
    return ForeignVectors(Form.PARQUET, path, items, dim, dtype, lambda: _blocks(path, dim), manifest)


def read_table(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """Columns of a file, as far as it has them, with the metadata of its schema. Raises SourceError."""
    with _opened(path) as file:
        return file.read(columns=[name for name in columns if name in file.schema_arrow.names])


def read_items(table: pa.Table, where: Path, schema: pa.Schema = item_table.SCHEMA) -> tuple[Item, ...]:
    """The items in a table with the column ``path`` and any other columns of ``schema``. Raises SourceError."""
    columns: list[list[Any]] = []
    for field in schema:
        if field.name in table.column_names:
            column = read_column(table, field.name, field.type, where)
        else:
            column = list(range(len(table))) if field.name == "id" else [None] * len(table)
        if field.name == "id" and None in column:
            raise SourceError(f"row {column.index(None)} of '{where}' has no ID", hint="Leave the column out.")
        columns.append(column)
    return checked([_item(*values) for values in zip(*columns, strict=True)], where)


def read_column(table: pa.Table, name: str, kind: pa.DataType, where: Path) -> list[Any]:
    """The values of a column, cast to a type. Raises SourceError if that is impossible."""
    try:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if kind == pa.binary() and not _is_any(column.type, *_TEXTS):
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


def visible(text: str) -> str:
    """A path or label as text: bytes that are not UTF-8 are escaped."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def read_manifest(schema: pa.Schema, where: Path) -> Manifest | None:
    """The manifest of the exported gallery; None in a file of another program.

    Raises
    ------
    IndexFormatError
        If it is damaged or of a newer version.
    SourceError
        If its next ID is too high.
    """
    raw = (schema.metadata or {}).get(MANIFEST)
    manifest = None if raw is None else manifests.from_bytes(raw, where)
    if manifest is not None and manifest.next_id > IDS_END:
        raise SourceError(
            f"'{where}' has the next ID {manifest.next_id}; IDs must be below {IDS_END}",
            hint="Export the gallery again.",
        )
    return manifest


def manifest_metadata(manifest: Manifest, *, half: bool) -> dict[bytes, bytes]:
    """The manifest for the metadata of a schema, without its files."""
    encoding = manifest.encoding
    if half:
        encoding = Encoding("imported", "float16", "unknown", encoding.exif)
    kept = replace(
        manifest, encoding=encoding, files={}, segments=(), index=None, building=None, factory=FLAT, approximate=None
    )
    return {MANIFEST: manifests.to_bytes(kept)}


def write_gallery(path: Path, gallery: Gallery, dtype: np.dtype[Any]) -> None:
    """Write everything in a gallery."""
    vectors = pa.list_(pa.from_numpy_dtype(dtype), gallery.space.dim)
    columns = item_table.TEXT_SCHEMA if gallery.manifest.holds_texts else item_table.SCHEMA
    schema = columns.append(pa.field(VECTOR, vectors, nullable=False))
    schema = schema.with_metadata(manifest_metadata(gallery.manifest, half=dtype == np.float16))
    write_rows(path, schema, gallery, range(len(gallery.items)), item_table.table)


def write_rows(
    path: Path, schema: pa.Schema, gallery: Gallery, rows: range, table_of: Callable[[Sequence[Item]], pa.Table]
) -> None:
    """Write rows of a gallery, one row group in memory at a time.

    Parameters
    ----------
    schema : pyarrow.Schema
        The columns of ``table_of``, then ``vector`` as lists of float32 or float16.
    table_of : callable
        Makes the columns but the vectors from items.
    """
    vectors = schema.field(VECTOR).type
    dtype = vectors.value_type.to_pandas_dtype()
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["label"]) as writer:
        for start in rows[::_GROUP_ROWS]:
            group = np.arange(start, min(start + _GROUP_ROWS, rows.stop))
            table = table_of(gallery.items[start : start + len(group)])
            flat = pa.array(gallery.live.take(group).astype(dtype, copy=False).ravel())
            column = pa.FixedSizeListArray.from_arrays(flat, gallery.space.dim).cast(vectors)
            writer.write_table(pa.Table.from_arrays([*table.columns, column], schema=schema))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, thrift_string_size_limit=_LONGEST_TEXT) as file:
            yield file
    except FileNotFoundError as error:
        raise SourceError(f"there is no file '{path}'", hint="Check the path.") from error
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise SourceError(
            f"'{path}' cannot be read as Parquet: {one_line(error)}", hint="Check the file, or write it again."
        ) from error


def _shape(file: pq.ParquetFile, path: Path) -> tuple[int, np.dtype[Any]]:
    kind = file.schema_arrow.field(VECTOR).type
    lists = _is_any(kind, pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    if not lists or not pa.types.is_floating(kind.value_type):
        raise SourceError(
            f"the column '{VECTOR}' of '{path}' holds {kind}, not lists of floating-point numbers",
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
        raise SourceError(f"row {start + row} of '{path}' has a vector with nulls", hint="Leave such rows out.")
    matrix: NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(len(column), dim)
    return matrix


def _item(number: int, path: bytes | None, label: bytes | None, *others: Any) -> Item:
    width, height, size, mtime_ns = (known or 0 for known in others[:4])
    digest, said, image = (*others[4:], None, None)[:3]
    name, of = text(path) or "", text(label) or None
    return Item(number, name, of, width, height, size, mtime_ns, digest or "", said, text(image))


def _is_any(kind: pa.DataType, *tests: Callable[[pa.DataType], bool]) -> bool:
    return any(test(kind) for test in tests)
