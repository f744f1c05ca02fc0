"""The rows of a gallery: written segment by segment, read as one table in the order of IDs.

Segments are in the order of their commits. A segment first removes the IDs in its ``removed.npy`` from older segments,
then adds its own rows; a row replaces an older one of the same ID. The rows that remain are the live rows.

Where regions have vectors, too, each row has those of its image in another file. A **bundle** is all of a row in one
array, float32 of shape ((1 + r) * dim,): the vector of the image, then those of its r regions.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.records import Item, Manifest, Segment
from zsretrieve.domain.regions import boxes_of
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.domain.wording import one_line
from zsretrieve.store import items as item_table
from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import SEGMENTS, Writer
from zsretrieve.store.items import Items

VECTORS = "vectors.npy"
REGIONS = "regions.npy"
ITEMS = "items.parquet"
# A copy of the same bytes: a gallery whose items cannot be read has lost every path and every ID.
ITEMS_COPY = "items.copy.parquet"
REMOVED = "removed.npy"

# Numbers in a block: 16 MB, 8192 rows at 512 dimensions.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Part:
    """An open segment. ``vectors`` are float32 of shape (rows, dim), mapped from the file; ``removed`` are IDs.

    ``regions`` are those of the regions, row by row, float32 of shape (rows, r * dim), r being 0 without regions.
    """

    items: Sequence[Item]
    vectors: Vectors
    removed: NDArray[np.int64]
    regions: Vectors

    def bundle(self, row: int) -> Vectors:
        """All vectors of a row."""
        return np.concatenate([self.vectors[row], self.regions[row]])


class LiveVectors:
    """The vectors of the live rows, which may be in several arrays.

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

    @property
    def parts(self) -> Sequence[Vectors]:
        """The arrays that hold them, and perhaps others that are not live."""
        return self._parts

    def places(self, start: int, stop: int) -> Rows:
        """Where rows ``start`` to ``stop`` are among all rows of the arrays, one array after the other."""
        return self._order[start:stop]

    def rows_of_parts(self) -> list[Rows]:
        """For each array the row of each of its vectors, int64 of shape (n_i,); -1 for one that is not live."""
        rows = np.full(self._starts[-1], -1, dtype=np.int64)
        rows[self._order] = np.arange(len(self))
        return np.split(rows, self._starts[1:-1])

    def take(self, rows: Rows) -> Vectors:
        """The vectors of rows, float32 of shape (len(rows), dim)."""
        places = self._order[rows]
        vectors = np.empty((len(places), self.dim), dtype=np.float32)
        part_of = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(part_of):
            within = part_of == number
            vectors[within] = self._parts[number][places[within] - self._starts[number]]
        return vectors

    def whole(self) -> Vectors:
        """All of them, float32 of shape (n, dim): the mapped file if one segment holds exactly these rows."""
        parts = self.in_order()
        return parts[0] if parts is not None and len(parts) == 1 else self.take(np.arange(len(self)))

    def in_order(self) -> list[Vectors] | None:
        """The files of the segments, if these hold exactly these rows in this order."""
        if self._starts[-1] == len(self) and np.array_equal(self._order, np.arange(len(self))):
            return list(self._parts)
        return None

    def and_then(self, more: Vectors, order: NDArray[np.int64]) -> LiveVectors:
        """Rows ``order`` of these vectors followed by ``more``, float32 of shape (m, dim)."""
        places = np.concatenate([self._order, np.arange(self._starts[-1], self._starts[-1] + len(more))])
        return LiveVectors([*self._parts, more], places[order], self.dim)

    def blocks(self) -> Iterator[Vectors]:
        """All of them in order, a few thousand rows at a time."""
        step = max(1, _BLOCK // max(1, self.dim))
        for start in range(0, len(self), step):
            yield self.take(np.arange(start, min(start + step, len(self))))


@dataclass(frozen=True)
class Live:
    """The live rows of a gallery: items in the order of IDs; row i of ``vectors`` belongs to item i.

    Row i of ``regions`` holds the vectors of its regions, one after the other; they are empty without regions.
    """

    items: Sequence[Item]
    vectors: LiveVectors
    regions: LiveVectors

    def bundles(self, rows: Rows) -> Vectors:
        """All vectors of rows, float32 of shape (len(rows), (1 + r) * dim)."""
        return np.hstack([self.vectors.take(rows), self.regions.take(rows)])


def write(writer: Writer, items: Sequence[Item], bundles: Vectors, dim: int, removed: Sequence[int] = ()) -> Segment:
    """Write rows as a fresh segment, sorted by ID; a commit may then name it. Row i of ``bundles`` is of item i."""
    by_id = sorted(range(len(items)), key=lambda row: items[row].id)
    ordered, bundles = tuple(items[row] for row in by_id), bundles[by_id]
    return write_blocks(writer, ordered, [bundles[:, :dim]], dim, removed, LiveVectors.of(bundles[:, dim:]))


def write_live(writer: Writer, live: Live, removed: Sequence[int] = ()) -> Segment:
    """Write the live rows as one fresh segment, block by block."""
    return write_blocks(writer, live.items, live.vectors.blocks(), live.vectors.dim, removed, live.regions)


def write_blocks(
    writer: Writer,
    items: Sequence[Item],
    blocks: Iterable[Vectors],
    dim: int,
    removed: Sequence[int] = (),
    regions: LiveVectors | None = None,
) -> Segment:
    """Write items, whose IDs ascend, and their vectors as one fresh segment.

    Parameters
    ----------
    blocks : iterable of float32 arrays of shape (some, dim)
        The vectors of the items, in their order.
    regions : LiveVectors, optional
        As in ``Live``.
    """
    with writer.new_segment() as folder:
        write_npy(folder / VECTORS, blocks, (len(items), dim), np.dtype(np.float32))
        if regions is not None and regions.dim:
            shape = (len(items), regions.dim // dim, dim)
            write_npy(folder / REGIONS, regions.blocks(), shape, np.dtype(np.float32))
        item_table.write(folder / ITEMS, items)
        shutil.copyfile(folder / ITEMS, folder / ITEMS_COPY)
        if removed:
            np.save(folder / REMOVED, np.array(sorted(removed), dtype=np.int64))
    return Segment(folder.name, len(items), len(removed))


def write_npy(path: Path, blocks: Iterable[Vectors], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write an array of this shape block by block. Raises OSError, also when the disk is full."""
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            # Not through a memory map: on a full disk that kills the process.
            file.write(np.ascontiguousarray(block, dtype=dtype).data)


def read_part(folder: Path, manifest: Manifest, segment: Segment) -> Part:
    """Open one segment. Raises IntegrityError if its files are not what the manifest says."""
    where = folder / SEGMENTS / segment.name
    items = item_table.read(where / ITEMS)
    vectors = read_vectors(where, segment.rows, manifest.space.dim)
    regions = read_regions(where, segment.rows, manifest)
    removed = read_removed(where, segment)
    if len(items) != segment.rows:
        raise damaged(where, f"{len(items)} items instead of {segment.rows}")
    return Part(items, vectors, removed, regions)


def read_vectors(where: Path, rows: int, dim: int) -> Vectors:
    """Map the vectors of a segment. Raises IntegrityError."""
    return _mapped(where / VECTORS, (rows, dim), "vectors")


def read_regions(where: Path, rows: int, manifest: Manifest) -> Vectors:
    """Map the vectors of the regions of a segment, as in ``Part``. Raises IntegrityError."""
    number, dim = len(boxes_of(manifest.regions)), manifest.space.dim
    if not number:
        return no_regions(rows)
    return _mapped(where / REGIONS, (rows, number, dim), "regions").reshape(rows, number * dim)


def no_regions(rows: int) -> Vectors:
    """The vectors of the regions of so many images that have none."""
    return np.empty((rows, 0), np.float32)


def read_removed(where: Path, segment: Segment) -> NDArray[np.int64]:
    """The IDs that a segment removes from older ones. Raises IntegrityError."""
    if not segment.removed:
        return np.empty(0, dtype=np.int64)
    removed = _load(where / REMOVED)
    if removed.shape != (segment.removed,) or removed.dtype != np.int64:
        raise damaged(where, f"it does not hold {segment.removed} removed ids")
    return np.asarray(removed)


def read(folder: Path, manifest: Manifest) -> Live:
    """The live rows of all segments. Raises IntegrityError if any of them is not sound."""
    return joined([read_part(folder, manifest, segment) for segment in manifest.segments], manifest)


def joined(parts: Sequence[Part], manifest: Manifest) -> Live:
    """The live rows of open segments, oldest first."""
    order = live_rows([item_table.ids_of(part.items) for part in parts], [part.removed for part in parts])
    dim = manifest.space.dim
    vectors = LiveVectors([part.vectors for part in parts], order, dim)
    regions = LiveVectors([part.regions for part in parts], order, len(boxes_of(manifest.regions)) * dim)
    tables = [part.items for part in parts if isinstance(part.items, Items)]
    if tables and len(tables) == len(parts):
        return Live(Items.joined(tables, order), vectors, regions)
    items = [item for part in parts for item in part.items]
    return Live(tuple(items[place] for place in order), vectors, regions)


def live_rows(ids: Sequence[NDArray[np.int64]], removed: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Which rows of all segments, concatenated, are live; in the order of their IDs.

    The last entry of an ID counts: a row, or its removal. Within a segment removals come first.
    """
    entries = [np.empty(0, dtype=np.int64)]
    places = [np.empty(0, dtype=np.int64)]
    start = 0
    for added, gone in zip(ids, removed, strict=True):
        entries += [gone, added]
        places += [np.full(len(gone), -1, dtype=np.int64), np.arange(start, start + len(added), dtype=np.int64)]
        start += len(added)
    of_id, place = np.concatenate(entries), np.concatenate(places)
    by_id = np.argsort(of_id, kind="stable")
    of_id, place = of_id[by_id], place[by_id]
    is_last = np.append(of_id[1:] != of_id[:-1], True)[: len(of_id)]
    live: NDArray[np.int64] = place[is_last]
    return live[live >= 0]


def damaged(where: Path, what: str) -> IntegrityError:
    """The error for a segment that is not sound."""
    return IntegrityError(f"the segment '{where}' is damaged: {what}", hint=manifests.REBUILD)


def _mapped(path: Path, shape: tuple[int, ...], what: str) -> Vectors:
    mapped: Vectors = _load(path)
    if mapped.shape != shape or mapped.dtype != np.float32 or not mapped.flags.c_contiguous:
        raise damaged(path.parent, f"its {what} are not float32 of shape ({', '.join(map(str, shape))})")
    return mapped


def _load(path: Path) -> NDArray[Any]:
    try:
        loaded: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses a damaged header with Python's own parser, which raises anything
        raise damaged(path.parent, one_line(error)) from error
    return loaded
