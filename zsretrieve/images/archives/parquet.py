"""Parquet files with a column of images."""

from __future__ import annotations

import itertools
import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zsretrieve.domain.errors import ImageError, MissingImageError, SourceError
from zsretrieve.domain.wording import one_line
from zsretrieve.images.archives import columns, files
from zsretrieve.images.archives import members as names
from zsretrieve.images.archives.caching import Recent

_KEPT_BYTES = 1 << 27
_OPEN_FILES = 16
_BUFFER_BYTES = 1 << 20
_NUMBER_ROWS = 1 << 16
# A value stored once may be repeated in any number of rows, so no size in the file bounds the size in memory.
_TEXT_ROWS = 16
_IMAGE_ROWS = 1
_NEAR_ROWS = 64


@dataclass(frozen=True)
class _Value:
    """The image of one row."""

    data: bytes | None

    @property
    def weight(self) -> int:
        return 256 + len(self.data or b"")


# Decoded rows of all files, by file and number.
_values: Recent[_Value] = Recent(_KEPT_BYTES, lambda value: value.weight)


class Parquet:
    """The rows of a Parquet file; a member is the number of its row.

    Rows are decoded one by one in the order of the file, whatever the size of a row group, so that only a page, a row
    and the rows read last are in memory; reading far ahead or back within a group decodes it from its start.

    Raises
    ------
    SourceError
        If there is no such file, it is not a Parquet file, or no column holds images.
    """

    damage: str | None = None
    label_problem: str | None = None
    repeated = 0

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
        labels = columns.Labels(self._columns)
        if self._columns.label is None:
            yield from ((str(row), None) for row in range(self._starts[-1]))
        else:
            row = itertools.count()
            with files.stream(self._path) as raw:
                opened = _open(self._path, raw)
                rows = _TEXT_ROWS if columns.is_text(opened.schema_arrow, self._columns.label) else _NUMBER_ROWS
                for batch in _batches(self._path, opened, rows, None, self._columns.label):
                    yield from ((str(next(row)), label) for label in labels.read(batch.column(0)))
        self.label_problem = labels.problem

    def size(self, member: str) -> int:
        return len(self.read(member))

    def read(self, member: str) -> bytes:
        """The bytes of an image. Raises ImageError with the reason."""
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
        value = _values.get(key)
        if value is not None:
            return value
        reader = _readers.obtain((self._path, self._state), lambda: _Reader(self._path, self._columns))
        with reader.lock:
            # Another thread may have decoded it while this one waited.
            return _values.get(key) or self._decode(reader, row)

    def _decode(self, reader: _Reader, row: int) -> _Value:
        group = bisect_right(self._starts, row) - 1
        first = self._starts[group]
        # The last rows before a group are not skipped: other threads are about to need them.
        if reader.row is None or not first - _NEAR_ROWS <= reader.row <= row:
            reader.start(group, first)
        while True:
            at = reader.row
            value = reader.next()
            _values.put((self._path, self._state, at), value)
            if at == row:
                return value


def paths_in(path: str) -> Iterator[tuple[str, str | None]] | None:
    """The image files that the rows of a Parquet file name, and their labels; None if no column names files."""
    with files.stream(path) as raw:
        opened = _open(path, raw)
        found = columns.find_paths(opened.schema_arrow)
    return None if found is None else _named(path, *found)


def _named(path: str, name: str, found: columns.Columns) -> Iterator[tuple[str, str | None]]:
    wanted = [name] if found.label is None else [name, found.label]
    reader = columns.Labels(found)
    with files.stream(path) as raw:
        for batch in _batches(path, _open(path, raw), _NUMBER_ROWS, None, *wanted):
            paths = columns.texts(batch.column(name))
            labels = [None] * len(paths) if found.label is None else reader.read(batch.column(found.label))
            yield from ((one, label) for one, label in zip(paths, labels, strict=True) if one and "\0" not in one)


class _Reader:
    """An open file and the row that is decoded next, None if there is none. Use it under its lock."""

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
        # Flattening, unlike taking the field, keeps nulls of the struct itself.
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


def _batches(path: str, opened: Any, rows: int, groups: list[int] | None, *column: str) -> Iterator[Any]:
    import pyarrow as pa

    try:
        yield from opened.iter_batches(batch_size=rows, row_groups=groups, columns=list(column), use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"'{path}' is damaged: {one_line(error)}", hint="Check the file.") from error
