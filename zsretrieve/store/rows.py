"""The rows of a gallery: written segment by segment, read as one table in the order of ids.

Segments stand in the order of their commits. A segment first takes the ids in its ``removed.npy`` out of what is
older, then adds its own rows; a row replaces an older one of the same id.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import IntegrityError
from zsretrieve.records import Item, Manifest, Segment
from zsretrieve.store import files
from zsretrieve.store import items as item_table
from zsretrieve.store import manifest as passport
from zsretrieve.store.folder import SEGMENTS, Writer
from zsretrieve.store.items import Items
from zsretrieve.vectors import Rows, Vectors

VECTORS = "vectors.npy"
ITEMS = "items.parquet"
# The same bytes once more: a gallery whose items cannot be read has lost every name and every id.
ITEMS_COPY = "items.copy.parquet"
REMOVED = "removed.npy"

_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Part:
    """One segment, opened. ``vectors`` are float32 of shape (rows, dim), mapped from the file; ``removed`` are ids."""

    items: Sequence[Item]
    vectors: Vectors
    removed: NDArray[np.int64]


class LiveVectors:
    """The vectors of the rows that count, lying in several arrays.

    Parameters
    ----------
    parts : sequence of float32 arrays of shape (n_i, dim)
    order : int64 of shape (n,)
        Row i is row ``order[i]`` of all parts one after the other.
    dim : int
    """

    def __init__(self, parts: Sequence[Vectors], order: NDArray[np.int64], dim: int) -> None:
        self._parts = list(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self._order = order
        self.dim = dim

    @classmethod
    def of(cls, vectors: Vectors) -> LiveVectors:
        """All rows of one array."""
        return cls([vectors], np.arange(len(vectors)), vectors.shape[1])

    def __len__(self) -> int:
        return len(self._order)

    def take(self, rows: Rows) -> Vectors:
        """The vectors of rows, float32 of shape (len(rows), dim)."""
        places = self._order[rows]
        found = np.empty((len(places), self.dim), dtype=np.float32)
        part_of = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(part_of):
            mine = part_of == number
            found[mine] = self._parts[number][places[mine] - self._starts[number]]
        return found

    def whole(self) -> Vectors:
        """All of them, float32 of shape (n, dim): the file itself where one segment holds just these rows."""
        mapped = self.mapped()
        return self.take(np.arange(len(self))) if mapped is None else mapped

    def mapped(self) -> Vectors | None:
        """The file of the only segment, if it holds just these rows."""
        parts = self.in_order()
        return parts[0] if parts is not None and len(parts) == 1 else None

    def in_order(self) -> list[Vectors] | None:
        """The files of the segments, if these hold just these rows, one after the other."""
        if self._starts[-1] == len(self) and np.array_equal(self._order, np.arange(len(self))):
            return list(self._parts)
        return None

    def and_then(self, more: Vectors, order: NDArray[np.int64]) -> LiveVectors:
        """Rows of these and of further vectors, float32 of shape (m, dim), which come after them in ``order``."""
        places = np.concatenate([self._order, np.arange(self._starts[-1], self._starts[-1] + len(more))])
        return LiveVectors([*self._parts, more], places[order], self.dim)

    def blocks(self) -> Iterator[Vectors]:
        """All of them in order, a few thousand rows at a time."""
        for start in range(0, len(self), _BLOCK_ROWS):
            yield self.take(np.arange(start, min(start + _BLOCK_ROWS, len(self))))


@dataclass(frozen=True)
class Live:
    """The table that the segments of a gallery make: items in the order of ids, row i of ``vectors`` to item i."""

    items: Sequence[Item]
    vectors: LiveVectors


def write(writer: Writer, items: Sequence[Item], vectors: Vectors, removed: Sequence[int] = ()) -> Segment:
    """Write rows as a fresh segment, sorted by id, and seal it; a commit may then name it."""
    by_id = sorted(range(len(items)), key=lambda row: items[row].id)
    ordered = tuple(items[row] for row in by_id)
    return write_blocks(writer, ordered, [vectors[by_id]], vectors.shape[1], removed)


def write_live(writer: Writer, live: Live, removed: Sequence[int] = ()) -> Segment:
    """Write the rows that count as one fresh segment, block by block, and seal it."""
    return write_blocks(writer, live.items, live.vectors.blocks(), live.vectors.dim, removed)


def write_blocks(
    writer: Writer, items: Sequence[Item], blocks: Iterable[Vectors], dim: int, removed: Sequence[int] = ()
) -> Segment:
    """Write items, whose ids ascend, and their vectors as one fresh segment, and seal it.

    Parameters
    ----------
    blocks : iterable of float32 arrays of shape (some, dim)
        The vectors of the items, in their order.
    """
    folder = writer.new_segment()
    with files.written(writer.out):
        write_npy(folder / VECTORS, blocks, (len(items), dim), np.dtype(np.float32))
        _write_items(folder, items)
        _write_removed(folder, removed)
    writer.seal(folder)
    return Segment(folder.name, len(items), len(removed))


def write_npy(path: Path, blocks: Iterable[Vectors], shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    """Write an array of this shape block by block. Raises OSError, also when the disk is full."""
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            # Not through a memory map: where the disk is full, that kills the process.
            file.write(np.ascontiguousarray(block, dtype=dtype).data)


def read_part(folder: Path, manifest: Manifest, segment: Segment) -> Part:
    """Open one segment. Raises IntegrityError if its files are not what the passport says."""
    where = folder / SEGMENTS / segment.name
    items = item_table.read(where / ITEMS)
    vectors = read_vectors(where, segment.rows, manifest.space.dim)
    removed = read_removed(where, segment)
    if len(items) != segment.rows:
        raise damaged(where, f"{len(items)} items instead of {segment.rows}")
    return Part(items, vectors, removed)


def read_vectors(where: Path, rows: int, dim: int) -> Vectors:
    """Map the vectors of a segment. Raises IntegrityError."""
    vectors = _load(where / VECTORS)
    if vectors.shape != (rows, dim) or vectors.dtype != np.float32 or not vectors.flags.c_contiguous:
        raise damaged(where, f"its vectors are not float32 of shape ({rows}, {dim})")
    mapped: Vectors = vectors
    return mapped


def read_removed(where: Path, segment: Segment) -> NDArray[np.int64]:
    """The ids that a segment takes out of older ones. Raises IntegrityError."""
    if not segment.removed:
        return np.empty(0, dtype=np.int64)
    removed = _load(where / REMOVED)
    if removed.shape != (segment.removed,) or removed.dtype != np.int64:
        raise damaged(where, f"it does not hold {segment.removed} removed ids")
    return np.asarray(removed)


def read(folder: Path, manifest: Manifest) -> Live:
    """The rows that count, from all segments. Raises IntegrityError if any of them is not sound."""
    return joined([read_part(folder, manifest, segment) for segment in manifest.segments], manifest.space.dim)


def joined(parts: Sequence[Part], dim: int) -> Live:
    """The table that opened segments make, oldest first."""
    order = live_rows([item_table.ids_of(part.items) for part in parts], [part.removed for part in parts])
    vectors = LiveVectors([part.vectors for part in parts], order, dim)
    tables = [part.items for part in parts if isinstance(part.items, Items)]
    if tables and len(tables) == len(parts):
        return Live(Items.joined(tables, order), vectors)
    items = [item for part in parts for item in part.items]
    return Live(tuple(items[place] for place in order), vectors)


def live_rows(ids: Sequence[NDArray[np.int64]], removed: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Which rows of all segments, one after the other, count; in the order of their ids.

    The last word on an id counts: a row, or its removal. Within a segment removals come first.
    """
    said: list[NDArray[np.int64]] = []
    places: list[NDArray[np.int64]] = []
    start = 0
    for mine, gone in zip(ids, removed, strict=True):
        said += [gone, mine]
        places += [np.full(len(gone), -1, dtype=np.int64), np.arange(start, start + len(mine), dtype=np.int64)]
        start += len(mine)
    if not said:
        return np.empty(0, dtype=np.int64)
    of_id, place = np.concatenate(said), np.concatenate(places)
    by_id = np.argsort(of_id, kind="stable")
    of_id, place = of_id[by_id], place[by_id]
    last = np.append(of_id[1:] != of_id[:-1], True)[: len(of_id)]
    found: NDArray[np.int64] = place[last]
    return found[found >= 0]


def damaged(where: Path, what: str) -> IntegrityError:
    """The error for a segment that is not what it should be."""
    return IntegrityError(f"the segment '{where}' is damaged: {what}", hint=passport.REBUILD)


def _write_items(folder: Path, items: Sequence[Item]) -> None:
    item_table.write(folder / ITEMS, items)
    shutil.copyfile(folder / ITEMS, folder / ITEMS_COPY)


def _write_removed(folder: Path, removed: Sequence[int]) -> None:
    if removed:
        np.save(folder / REMOVED, np.array(sorted(removed), dtype=np.int64))


def _load(path: Path) -> NDArray[Any]:
    try:
        loaded: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy hands a damaged header to Python's own parser, which raises anything
        raise damaged(path.parent, " ".join(str(error).split())[:200]) from error
    return loaded
