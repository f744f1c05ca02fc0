"""The items of a gallery as a Parquet file. Paths and labels are bytes, since a file name need not be UTF-8."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

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

# Whoever asks for more items than this one by one gets them all made at once.
_FEW = 256


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


class Items(Sequence[Item]):
    """The items of a table, each made when it is asked for: of a large gallery a search shows ten.

    Parameters
    ----------
    table : pyarrow.Table
        In the columns of ``SCHEMA``.
    order : int64 of shape (n,), optional
        Item i is row ``order[i]`` of the table; all rows as they stand by default.
    """

    def __init__(self, table: pa.Table, order: NDArray[np.int64] | None = None) -> None:
        self._table = table
        self._columns = table.columns
        self._order = order
        self._asked = 0
        self._made: tuple[Item, ...] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Items], order: NDArray[np.int64]) -> Items:
        """The rows ``order`` of several, one after the other."""
        places = np.cumsum([0, *(len(part._table) for part in parts)])
        before = [part._rows() + start for part, start in zip(parts, places[:-1], strict=True)]
        rows = np.concatenate([np.empty(0, dtype=np.int64), *before])[order]
        tables = [part._table for part in parts]
        whole = tables[0] if len(tables) == 1 else pa.concat_tables([SCHEMA.empty_table(), *tables])
        return cls(whole, None if np.array_equal(rows, np.arange(len(whole))) else rows)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids, int64 of shape (n,)."""
        # Arrow's own to_numpy loads pandas where that is installed.
        chunks = [np.from_dlpack(chunk) for chunk in self._table.column("id").chunks]
        found = np.concatenate([np.empty(0, dtype=np.int64), *chunks])
        return found if self._order is None else found[self._order]

    def __len__(self) -> int:
        return len(self._table) if self._order is None else len(self._order)

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, place: int | slice) -> Item | tuple[Item, ...]:
        if self._made is None and not isinstance(place, slice):
            self._asked += 1
            if self._asked > _FEW:
                self._made = self[:]
        if self._made is not None:
            return self._made[place]
        if not isinstance(place, slice):
            row = range(len(self))[place] if self._order is None else int(self._order[place])
            return _item([column[row].as_py() for column in self._columns])
        start, stop, step = place.indices(len(self))
        if self._order is None and step == 1:
            columns = [column.slice(start, max(0, stop - start)).to_pylist() for column in self._columns]
            return tuple(_item(values) for values in zip(*columns, strict=True))
        rows = np.ascontiguousarray(self._rows()[place])
        taken = self._table.take(pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)]))
        return tuple(_item(values) for values in zip(*(column.to_pylist() for column in taken.columns), strict=True))

    def __iter__(self) -> Iterator[Item]:
        if self._made is None:
            self._made = self[:]
        return iter(self._made)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Items | tuple):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Items({len(self)})"

    def _rows(self) -> NDArray[np.int64]:
        return np.arange(len(self._table)) if self._order is None else self._order


def ids_of(items: Sequence[Item]) -> NDArray[np.int64]:
    """The ids of items, int64 of shape (n,)."""
    return items.ids if isinstance(items, Items) else np.array([item.id for item in items], dtype=np.int64)


def read(path: Path) -> Items:
    """Read items in order. Raises IntegrityError if the file is damaged or of another form."""
    try:
        # Through read_table it would come by way of data sets, which load pandas where that is installed.
        with pq.ParquetFile(path) as file:
            found = file.read()
        if not found.schema.equals(SCHEMA):
            raise IntegrityError(f"'{path}' is damaged: it has other columns", hint="Build the index again.")
        found.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:  # a damaged schema holds names that are no UTF-8
        message = " ".join(str(error).split())[:200]
        raise IntegrityError(f"'{path}' is damaged: {message}", hint="Build the index again.") from error
    return Items(found)


def _item(values: Sequence[Any]) -> Item:
    id_, path, label, width, height, size, mtime, digest = values
    return Item(
        id_, os.fsdecode(path), None if label is None else os.fsdecode(label), width, height, size, mtime, digest
    )
