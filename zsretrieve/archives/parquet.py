"""Parquet files with a column of pictures."""

from __future__ import annotations

import itertools
import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from zsretrieve.archives import columns, files, names
from zsretrieve.archives.caching import Recent
from zsretrieve.archives.remote import one_line
from zsretrieve.errors import ImageError, MissingImageError, SourceError

_CHUNK_BYTES = 1 << 24
_CHUNK_ROWS = 1024
_KEPT_BYTES = 1 << 27
_OPEN_FILES = 16
_BUFFER_BYTES = 1 << 20
_LABEL_ROWS = 1 << 16

# Decoded stretches of rows, by file, row group and number, for all files together.
_chunks: Recent[Any] = Recent(_KEPT_BYTES, lambda chunk: int(chunk.nbytes))


class Parquet:
    """The rows of a Parquet file; a member is the number of its row.

    Rows are decoded in stretches of some megabytes and in the order of the file, whatever the size of a row group;
    reading far ahead or back within one decodes it from its start.

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
        self._chunk_rows = [max(1, min(_CHUNK_ROWS, _CHUNK_BYTES * g.num_rows // _bytes_of(g))) for g in groups]

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
            for batch in _batches(self._path, _open(self._path, raw), _LABEL_ROWS, None, self._columns.label):
                for value in batch.column(0).to_pylist():
                    yield str(row), columns.label_of(value, self._columns)
                    row += 1

    def size(self, member: str) -> int:
        return int(self._value(member).as_buffer().size)

    def read(self, member: str) -> bytes:
        """The bytes of a picture. Raises ImageError with the reason."""
        value = self._value(member)
        names.check_size(value.as_buffer().size)
        data: bytes = value.as_py()
        return data

    def _value(self, member: str) -> Any:
        row = int(member) if member.isascii() and member.isdigit() else -1
        if not 0 <= row < self._starts[-1]:
            raise MissingImageError("no such row in the file")
        group = bisect_right(self._starts, row) - 1
        number, within = divmod(row - self._starts[group], self._chunk_rows[group])
        value = self._chunk(group, number)[within]
        if not value.is_valid:
            raise ImageError("no image in this row")
        return value

    def _chunk(self, group: int, number: int) -> Any:
        key = (self._path, self._state, group, number)
        found = _chunks.get(key)
        if found is not None:
            return found
        reader = _readers.obtain((self._path, self._state), lambda: _Reader(self._path, self._columns))
        with reader.lock:
            # Another thread may have decoded it while this one waited.
            found = _chunks.get(key)
            return found if found is not None else self._decode(reader, group, number)

    def _decode(self, reader: _Reader, group: int, number: int) -> Any:
        length = self._starts[group + 1] - self._starts[group]
        rows = self._chunk_rows[group]
        if reader.group != group or reader.number > number:
            reader.start(group, rows)
        while True:
            at = reader.number
            chunk = reader.next(min(rows, length - at * rows))
            _chunks.put((self._path, self._state, group, at), chunk)
            if at == number:
                return chunk


class _Reader:
    """An open file and how far one of its row groups is decoded. Used under its lock."""

    def __init__(self, path: str, found: columns.Columns) -> None:
        self.lock = threading.Lock()
        self.group = -1
        self.number = 0
        self._path = path
        self._columns = found
        raw = files.stream(path)
        weakref.finalize(self, raw.close)
        self._file = _open(path, raw)
        self._batches: Iterator[Any] = iter(())
        self._rest: Any = None

    def start(self, group: int, rows: int) -> None:
        self._batches = _batches(self._path, self._file, rows, [group], self._columns.leaf)
        self.group, self.number, self._rest = group, 0, None

    def next(self, rows: int) -> Any:
        """The bytes of the next rows, as one Arrow array."""
        import pyarrow as pa

        parts = [] if self._rest is None else [self._rest]
        try:
            while sum(map(len, parts)) < rows:
                column = next(self._batches).column(0)
                # Flattening, unlike taking the field, keeps what is null in the struct itself.
                parts.append(column.flatten()[0] if self._columns.in_struct else column)
        except (SourceError, StopIteration) as error:
            self.group = -1
            raise ImageError(f"damaged in the archive: {one_line(error)}") from error
        whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        self._rest = whole[rows:] if len(whole) > rows else None
        self.number += 1
        return whole[:rows]


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


def _bytes_of(group: Any) -> int:
    """The size of a whole row group in memory, at least 1."""
    return max(1, int(group.total_byte_size))
