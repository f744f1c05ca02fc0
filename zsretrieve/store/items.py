"""The items of a gallery as a Parquet file. Paths and labels are bytes, since a file name need not be UTF-8."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.records import Item
from zsretrieve.domain.wording import one_line

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

# In a gallery of texts these come after them.
TEXT_SCHEMA = SCHEMA.append(pa.field("text", pa.string(), nullable=False)).append(pa.field("image", pa.binary()))

# After this many single items, all of them are made at once.
_FEW = 256


def write(path: Path, items: Sequence[Item]) -> None:
    """Write items in order."""
    pq.write_table(table(items), path, compression="zstd")


def table(items: Sequence[Item]) -> pa.Table:
    """Items in order, in the columns of ``SCHEMA``, or of ``TEXT_SCHEMA`` if they are texts."""
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
    if not items or items[0].text is None:
        return pa.table(columns, schema=SCHEMA)
    columns["text"] = [item.text for item in items]
    columns["image"] = [None if item.image is None else os.fsencode(item.image) for item in items]
    return pa.table(columns, schema=TEXT_SCHEMA)


class Items(Sequence[Item]):
    """The items of a table, each made when it is needed: of a large gallery a search shows ten.

    Parameters
    ----------
    table : pyarrow.Table
        In the columns of ``SCHEMA`` or ``TEXT_SCHEMA``.
    order : int64 of shape (n,), optional
        Item i is row ``order[i]`` of the table; by default row i.
    """

    def __init__(self, table: pa.Table, order: NDArray[np.int64] | None = None) -> None:
        self._table = table
        self._columns = table.columns
        self._order = order
        self._reads = 0
        self._all: tuple[Item, ...] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Items], order: NDArray[np.int64]) -> Items:
        """The rows ``order`` of several tables, concatenated."""
        places = np.cumsum([0, *(len(part._table) for part in parts)])
        before = [part._rows() + start for part, start in zip(parts, places[:-1], strict=True)]
        rows = np.concatenate([np.empty(0, dtype=np.int64), *before])[order]
        # A part without items has no columns of texts.
        tables = [part._table for part in parts if len(part._table)] or [SCHEMA.empty_table()]
        whole = tables[0] if len(tables) == 1 else pa.concat_tables(tables)
        return cls(whole, None if np.array_equal(rows, np.arange(len(whole))) else rows)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The IDs, int64 of shape (n,)."""
        return self._numbers("id")

    @property
    def mtimes_ns(self) -> NDArray[np.int64]:
        """The times of the files, int64 of shape (n,)."""
        return self._numbers("mtime_ns")

    def _numbers(self, column: str) -> NDArray[np.int64]:
        values = numbers(self._table.column(column), np.dtype(np.int64))
        return values if self._order is None else values[self._order]

    def column(self, name: str) -> list[Any]:
        """The values of a column, without making the items."""
        column = self._table.column(name)
        values: list[Any] = column.to_pylist() if self._order is None else _taken(column, self._order).to_pylist()
        return values

    def __len__(self) -> int:
        return len(self._table) if self._order is None else len(self._order)

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, place: int | slice) -> Item | tuple[Item, ...]:
        if self._all is None and not isinstance(place, slice):
            self._reads += 1
            if self._reads > _FEW:
                self._all = self[:]
        if self._all is not None:
            return self._all[place]
        if not isinstance(place, slice):
            row = range(len(self))[place] if self._order is None else int(self._order[place])
            return _item([column[row].as_py() for column in self._columns])
        start, stop, step = place.indices(len(self))
        if self._order is None and step == 1:
            columns = [column.slice(start, max(0, stop - start)).to_pylist() for column in self._columns]
            return tuple(_item(values) for values in zip(*columns, strict=True))
        taken = _taken(self._table, self._rows()[place])
        return tuple(_item(values) for values in zip(*(column.to_pylist() for column in taken.columns), strict=True))

    def __iter__(self) -> Iterator[Item]:
        if self._all is None:
            self._all = self[:]
        return iter(self._all)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Items | tuple):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Items({len(self)})"

    def _rows(self) -> NDArray[np.int64]:
        return np.arange(len(self._table)) if self._order is None else self._order


def ids_of(items: Sequence[Item]) -> NDArray[np.int64]:
    """The IDs of items, int64 of shape (n,)."""
    return items.ids if isinstance(items, Items) else np.array([item.id for item in items], dtype=np.int64)


def mtimes_of(items: Sequence[Item]) -> NDArray[np.int64]:
    """The times of the files of any items in nanoseconds, int64 of shape (n,)."""
    return items.mtimes_ns if isinstance(items, Items) else np.array([i.mtime_ns for i in items], dtype=np.int64)


def numbers(column: pa.ChunkedArray, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A column of numbers as an array. Arrow's own to_numpy loads pandas if that is installed."""
    return np.concatenate([np.empty(0, dtype=dtype), *(np.from_dlpack(chunk) for chunk in column.chunks)])


def column_of(items: Sequence[Item], name: Literal["path", "label", "digest"]) -> list[Any]:
    """One field of all items: texts, or None for an image without label."""
    if not isinstance(items, Items):
        return [getattr(item, name) for item in items]
    return [os.fsdecode(value) if isinstance(value, bytes) else value for value in items.column(name)]


def read(path: Path) -> Items:
    """Read items in order. Raises IntegrityError if the file is damaged or of another form."""
    try:
        # Not with read_table, which loads pandas if that is installed.
        with pq.ParquetFile(path) as file:
            rows = file.read()
        if not (rows.schema.equals(SCHEMA) or rows.schema.equals(TEXT_SCHEMA)):
            raise ValueError("it has other columns")
        rows.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:  # a damaged schema holds names that are not UTF-8
        raise IntegrityError(f"'{path}' is damaged: {one_line(error)}", hint="Build the index again.") from error
    return Items(rows)


def _taken(values: Any, rows: NDArray[np.int64]) -> Any:
    """Rows of a table or column. Arrow's own conversion of the row numbers loads pandas if that is installed."""
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    return values.take(pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)]))


def _item(values: Sequence[Any]) -> Item:
    id_, path, label, width, height, size, mtime, digest, *of_text = values
    text, image = of_text or (None, None)
    return Item(
        id_,
        os.fsdecode(path),
        None if label is None else os.fsdecode(label),
        width,
        height,
        size,
        mtime,
        digest,
        text,
        None if image is None else os.fsdecode(image),
    )
