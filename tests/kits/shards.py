"""Shards in this process, and indexes over shards that grow, so that the kit of all exact indexes can try them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zsretrieve.backends import flat_file
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.backends.flat_file import FlatFile
from zsretrieve.cluster.shard import Held, HeldParts, Shard
from zsretrieve.cluster.sharded import Holders, ShardedCandidates, ShardedIndex, cuts_of, held_by_each, parts_of_each
from zsretrieve.domain.kinds import Approximate
from zsretrieve.domain.ports import SearchIndex
from zsretrieve.domain.records import Manifest, Segment
from zsretrieve.domain.vectors import Limits, Rows, Scores, Vectors, check_unit_rows
from zsretrieve.store.folder import SEGMENTS
from zsretrieve.store.indexes import Gallery, open_gallery
from zsretrieve.store.rows import VECTORS, LiveVectors

# Makes an index over the rows of all segments in a folder.
Sharded = Callable[[Path, tuple[Segment, ...], LiveVectors], SearchIndex]


class ShardsHere:
    """Shards in this process, of which some do not answer; it counts what is asked."""

    def __init__(self, count: int, *, partial: bool = True) -> None:
        self.partial = partial
        self.gone: set[int] = set()
        self.asked: list[set[int]] = []
        self._shards = [Shard() for _ in range(count)]
        self._held: list[dict[str, Held | HeldParts]] = [{} for _ in range(count)]

    def hold(self, key: str, held: Sequence[Held | HeldParts]) -> Holders:
        """Hold more; returns what asks for it."""
        for shard, own, rows in zip(self._shards, self._held, held, strict=True):
            own[key] = rows
            assert shard.hold(own) == {}
        return _Key(self, key)

    def ask(self, method: str, key: str, wanted: Mapping[int, Sequence[Any]]) -> Mapping[int, Any]:
        self.asked.append(set(wanted))
        return {
            number: getattr(self._shards[number], method)(key, *given)
            for number, given in wanted.items()
            if number not in self.gone
        }


@dataclass(frozen=True)
class _Key:
    """Holders port over one key of ``ShardsHere``."""

    shards: ShardsHere
    key: str

    @property
    def partial(self) -> bool:
        return self.shards.partial

    def ask(self, method: str, wanted: Mapping[int, Sequence[Any]]) -> Mapping[int, Any]:
        return self.shards.ask(method, self.key, wanted)


class _Here:
    """RemoteIndexes port over ``ShardsHere``."""

    def __init__(self, shards: ShardsHere, count: int) -> None:
        self._shards, self._count = shards, count

    def exact(self, folder: Path, manifest: Manifest, vectors: LiveVectors) -> ShardedIndex:
        cuts = cuts_of(len(vectors), self._count)
        return ShardedIndex(
            vectors, cuts, self._shards.hold("rows", held_by_each(folder, manifest.segments, vectors, cuts))
        )

    def candidates(self, folder: Path, made: Approximate, dim: int) -> ShardedCandidates:
        cuts = cuts_of(len(made.parts), self._count)
        return ShardedCandidates(made, dim, cuts, self._shards.hold("parts", parts_of_each(folder, made, dim, cuts)))


def sharded_here(out: Path, count: int, *, partial: bool = True) -> tuple[Gallery, ShardsHere]:
    """A gallery that is searched on shards in this process, and these."""
    shards = ShardsHere(count, partial=partial)
    return open_gallery(out, FaissBackend("cpu"), _Here(shards, count)), shards


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
