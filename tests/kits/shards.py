"""Shards in this process, and indexes over shards that grow, so that the kit of all exact indexes can try them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zsretrieve.backends import flat_file
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.backends.flat_file import FlatFile
from zsretrieve.cluster.shard import Held, Shard
from zsretrieve.cluster.sharded import ShardedIndex, cuts_of, held_by_each
from zsretrieve.domain.ports import SearchIndex
from zsretrieve.domain.records import Manifest, Segment
from zsretrieve.domain.vectors import Limits, Rows, Scores, Vectors, check_unit_rows
from zsretrieve.store.folder import SEGMENTS
from zsretrieve.store.indexes import Gallery, open_gallery
from zsretrieve.store.rows import VECTORS, LiveVectors

# Makes an index over the rows of all segments in a folder.
Sharded = Callable[[Path, tuple[Segment, ...], LiveVectors], SearchIndex]


class Holders:
    """Shards in this process, of which some do not answer; it counts what is asked."""

    def __init__(self, held: Sequence[Held], *, partial: bool = True) -> None:
        self.partial = partial
        self.gone: set[int] = set()
        self.asked: list[set[int]] = []
        self._shards = [Shard(1) for _ in held]
        for shard, rows in zip(self._shards, held, strict=True):
            assert shard.hold({"rows": rows}) == {}

    def ask(self, method: str, wanted: Mapping[int, Sequence[Any]]) -> Mapping[int, Any]:
        self.asked.append(set(wanted))
        return {
            number: getattr(self._shards[number], method)("rows", *given)
            for number, given in wanted.items()
            if number not in self.gone
        }


def sharded_here(out: Path, count: int, *, partial: bool = True) -> tuple[Gallery, Holders]:
    """A gallery that is searched on shards in this process, and these."""
    opened: list[Holders] = []

    def indexed(folder: Path, manifest: Manifest, vectors: LiveVectors) -> ShardedIndex:
        cuts = cuts_of(len(vectors), count)
        opened.append(Holders(held_by_each(folder, manifest.segments, vectors, cuts), partial=partial))
        return ShardedIndex(vectors, cuts, opened[-1])

    return open_gallery(out, FaissBackend("cpu"), indexed), opened[-1]


class GrowingIndex:
    """VectorIndex port over shards that are made again after every addition, which is a segment."""

    factory = "Flat"
    device = "ray"

    def __init__(self, folder: Path, dim: int, sharded: Sharded) -> None:
        self.dim = dim
        self._folder = folder
        self._sharded = sharded
        self._segments: list[Segment] = []
        self._parts: list[Vectors] = []
        self._index = self._made()

    def __len__(self) -> int:
        return len(self._index)

    def add(self, vectors: Vectors) -> None:
        rows = check_unit_rows(vectors, self.dim)
        segment = Segment(f"s{len(self._segments)}", len(rows))
        where = self._folder / SEGMENTS / segment.name
        where.mkdir(parents=True)
        np.save(where / VECTORS, rows)
        self._segments.append(segment)
        self._parts.append(np.load(where / VECTORS, mmap_mode="r"))
        self._index = self._made()

    def search(self, queries: Vectors, k: int, rows: Rows | None = None) -> tuple[Scores, Rows]:
        return self._index.search(queries, k, rows)

    def range_search(self, queries: Vectors, threshold: float, rows: Rows | None = None) -> tuple[Limits, Scores, Rows]:
        return self._index.range_search(queries, threshold, rows)

    def stored(self, rows: Rows) -> Vectors:
        return self._index.stored(rows)

    def save(self, path: Path) -> None:
        flat_file.write(path, self._parts, self.dim)

    def _made(self) -> SearchIndex:
        count = sum(map(len, self._parts))
        return self._sharded(self._folder, tuple(self._segments), LiveVectors(self._parts, np.arange(count), self.dim))


class ShardedBackend:
    """IndexBackend port over ``GrowingIndex``."""

    def __init__(self, folder: Path, sharded: Sharded) -> None:
        self._folders = (folder / f"index-{number}" for number in itertools.count())
        self._sharded = sharded

    def create(self, dim: int) -> GrowingIndex:
        folder = next(self._folders)
        folder.mkdir(parents=True)
        return GrowingIndex(folder, dim, self._sharded)

    def load(self, path: Path, aligned: Sequence[Vectors] = ()) -> GrowingIndex:
        file = FlatFile(path)
        index = self.create(file.dim)
        index.add(file.read())
        return index
