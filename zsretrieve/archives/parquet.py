"""Parquet files with a column of pictures."""

from __future__ import annotations

import itertools
import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zsretrieve.archives import columns, files, names
from zsretrieve.archives.caching import Recent
from zsretrieve.archives.remote import one_line
from zsretrieve.errors import ImageError, MissingImageError, SourceError

_KEPT_BYTES = 1 << 27
_OPEN_FILES = 16
_BUFFER_BYTES = 1 << 20
_NUMBER_ROWS = 1 << 16
# What a file stores once may stand in any number of its rows, and no size that it states tells how much that will be.
_TEXT_ROWS = 16
_IMAGE_ROWS = 1
_NEAR_ROWS = 64


@dataclass(frozen=True)
class _Value:
    """What one row holds."""

    data: bytes | None

    @property
    def weight(self) -> int:
        return 256 + len(self.data or b"")


# Decoded rows, by file and number, for all files together.
_values: Recent[_Value] = Recent(_KEPT_BYTES, lambda value: value.weight)


class Parquet:
    """The rows of a Parquet file; a member is the number of its row.

    Rows are decoded one by one and in the order of the file, whatever the size of a row group, so that in memory are
    a page, a row and the rows read last; reading far ahead or back within a group decodes it from its start.

    Raises
    ------
    SourceError
        If there is no such file, it is no Parquet file, or no column holds pictures.
    """

    damage: str | None = None

    def __init__(self, path: str) -> None:
        self._path = path
        self._state = files.state(path)
        with files.stream(path) as raw:
            opened = _open(path, raw)
            self._columns = columns.find(opened.schema_arrow, path)
            groups = [opened.metadata.row_group(n) for n in range(opened.metadata.num_row_groups)]
        self._starts = list(itertools.accumulate((group.num_rows for group in groups), initial=0))

    @property
    def mtime_ns(self) -> int:
        return self._state.mtime_ns

    def members(self) -> Iterator[tuple[str, str | None]]:
        """The numbers of the rows, and their labels."""
        if self._columns.label is None:
            yield from ((str(row), None) for row in range(self._starts[-1]))
            return
        row = 0
        with files.stream(self._path) as raw:
            opened = _open(self._path, raw)
            rows = _TEXT_ROWS if columns.is_text(opened.schema_arrow, self._columns.label) else _NUMBER_ROWS
            for batch in _batches(self._path, opened, rows, None, self._columns.label):
                for value in columns.values(batch.column(0)):
                    yield str(row), columns.label_of(value, self._columns)
                    row += 1

    def size(self, member: str) -> int:
        return len(self.read(member))

    def read(self, member: str) -> bytes:
        """The bytes of a picture. Raises ImageError with the reason."""
        row = int(member) if names.is_number(member) else -1
        if not 0 <= row < self._starts[-1]:
            raise MissingImageError("no such row in the file")
        data = self._value(row).data
        if data is None:
            raise ImageError("no image in this row")
        names.check_size(len(data))
        return data

    def _value(self, row: int) -> _Value:
        key = (self._path, self._state, row)
        found = _values.get(key)
        if found is not None:
            return found
        reader = _readers.obtain((self._path, self._state), lambda: _Reader(self._path, self._columns))
        with reader.lock:
            # Another thread may have decoded it while this one waited.
            found = _values.get(key)
            return found if found is not None else self._decode(reader, row)

    def _decode(self, reader: _Reader, row: int) -> _Value:
        group = bisect_right(self._starts, row) - 1
        first = self._starts[group]
        # The last rows before a group are not passed over: other threads are about to ask for them.
        if reader.row is None or not first - _NEAR_ROWS <= reader.row <= row:
            reader.start(group, first)
        while True:
            at = reader.row
            value = reader.next()
            _values.put((self._path, self._state, at), value)
            if at == row:
                return value


class _Reader:
    """An open file and the row that is decoded next, None if there is none. Used under its lock."""

    def __init__(self, path: str, found: columns.Columns) -> None:
        self.lock = threading.Lock()
        self.row: int | None = None
        self._path = path
        self._columns = found
        raw = files.stream(path)
        weakref.finalize(self, raw.close)
        self._file = _open(path, raw)
        self._batches: Iterator[Any] = iter(())
        self._next = 0

    def start(self, group: int, row: int) -> None:
        groups = list(range(group, self._file.metadata.num_row_groups))
        self._batches = _batches(self._path, self._file, _IMAGE_ROWS, groups, self._columns.leaf)
        self._next = self.row = row

    def next(self) -> _Value:
        """The next row."""
        try:
            column = next(self._batches).column(0)
        except (SourceError, StopIteration) as error:
            self.row = None
            raise ImageError(f"damaged in the archive: {one_line(error)}") from error
        # Flattening, unlike taking the field, keeps what is null in the struct itself.
        value = (column.flatten()[0] if self._columns.in_struct else column)[0]
        self._next += 1
        self.row = self._next
        return _Value(value.as_py())


_readers: Recent[_Reader] = Recent(_OPEN_FILES)


def _open(path: str, raw: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Buffered, so that a row group of any size is read in parts.
        return pq.ParquetFile(raw, pre_buffer=False, buffer_size=_BUFFER_BYTES)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(
            f"'{path}' is not a Parquet file, or is cut short: {one_line(error)}", hint="Check the file."
        ) from error


def _batches(path: str, opened: Any, rows: int, groups: list[int] | None, column: str) -> Iterator[Any]:
    import pyarrow as pa

    try:
        yield from opened.iter_batches(batch_size=rows, row_groups=groups, columns=[column], use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"'{path}' is damaged: {one_line(error)}", hint="Check the file.") from error
