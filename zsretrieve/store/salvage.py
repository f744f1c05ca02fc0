"""What can be read of a gallery with damaged files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.records import Item, Manifest, Segment
from zsretrieve.domain.regions import boxes_of
from zsretrieve.domain.vectors import Vectors
from zsretrieve.store import items as item_table
from zsretrieve.store import rows
from zsretrieve.store.folder import SEGMENTS
from zsretrieve.store.rows import Live, LiveVectors, Part

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Salvage:
    """The live rows as far as they can be read, in the order of IDs.

    ``has_vector[i]`` says whether the vector of ``live.items[i]`` is sound. ``lost`` describes what else was in the
    ``n_damaged`` damaged segments, ``n_lost`` images of it.
    """

    live: Live
    has_vector: NDArray[np.bool_]
    lost: tuple[str, ...]
    n_lost: int
    n_damaged: int

    @property
    def without_vector(self) -> tuple[Item, ...]:
        return tuple(item for item, sound in zip(self.live.items, self.has_vector, strict=True) if not sound)

    def with_vectors(self, encoded: dict[int, Vectors]) -> Live:
        """The rows that have a vector, or get one by their ID from ``encoded``, a bundle each, see ``rows``."""
        place_of = {id_: len(self.live.items) + place for place, id_ in enumerate(encoded)}
        order, items = [], []
        for row, item in enumerate(self.live.items):
            place = row if self.has_vector[row] else place_of.get(item.id)
            if place is not None:
                order.append(place)
                items.append(item)
        vectors, regions = self.live.vectors, self.live.regions
        new = np.array(list(encoded.values()), dtype=np.float32).reshape(-1, vectors.dim + regions.dim)
        places = np.array(order, dtype=np.int64)
        return Live(
            tuple(items),
            vectors.and_then(new[:, : vectors.dim], places),
            regions.and_then(new[:, vectors.dim :], places),
        )


def salvage(folder: Path, manifest: Manifest, bad: set[str | None]) -> Salvage:
    """Read what is sound; ``bad`` are the files whose digests do not match."""
    dim, n_regions = manifest.space.dim, len(boxes_of(manifest.regions))
    parts: list[Part] = []
    sound = [np.empty(0, dtype=np.bool_)]
    lost: list[str] = []
    n_damaged = n_lost = 0
    for segment in manifest.segments:
        items, vectors, removed, regions = _read_segment(folder, manifest, segment, bad)
        if items is None:
            n_lost += segment.rows
            lost.append(
                f"{segment.rows} images of segment {segment.name}: their names cannot be read, and older states of as "
                "many may be back"
            )
        if removed is None:
            lost.append(f"the list of {segment.removed} removed images of segment {segment.name}: they may be back")
        is_bad = any(name is not None and name.startswith(f"{SEGMENTS}/{segment.name}/") for name in bad)
        n_damaged += is_bad or vectors is None or regions is None
        kept = items or ()
        usable = vectors is not None and regions is not None and len(vectors) == len(kept)
        if vectors is None or regions is None or not usable:
            vectors = np.broadcast_to(np.float32(0), (len(kept), dim))
            regions = np.broadcast_to(np.float32(0), (len(kept), n_regions * dim))
        parts.append(Part(kept, vectors, np.empty(0, dtype=np.int64) if removed is None else removed, regions))
        sound.append(np.full(len(kept), usable))
    order = rows.live_rows([item_table.ids_of(part.items) for part in parts], [part.removed for part in parts])
    every = [item for part in parts for item in part.items]
    live = Live(
        tuple(every[place] for place in order),
        LiveVectors([part.vectors for part in parts], order, dim),
        LiveVectors([part.regions for part in parts], order, n_regions * dim),
    )
    return Salvage(live, np.concatenate(sound)[order], tuple(lost), n_lost, n_damaged)


def _read_segment(
    folder: Path, manifest: Manifest, segment: Segment, bad: set[str | None]
) -> tuple[Sequence[Item] | None, Vectors | None, NDArray[np.int64] | None, Vectors | None]:
    place = f"{SEGMENTS}/{segment.name}"
    where = folder / place

    def read(name: str, reader: Callable[[], _Read]) -> _Read | None:
        if f"{place}/{name}" in bad:
            return None
        try:
            return reader()
        except IntegrityError:
            return None

    items = read(rows.ITEMS, lambda: item_table.read(where / rows.ITEMS))
    if items is None:
        items = read(rows.ITEMS_COPY, lambda: item_table.read(where / rows.ITEMS_COPY))
    return (
        items,
        read(rows.VECTORS, lambda: rows.read_vectors(where, segment.rows, manifest.space.dim)),
        read(rows.REMOVED, lambda: rows.read_removed(where, segment)),
        read(rows.REGIONS, lambda: rows.read_regions(where, segment.rows, manifest)),
    )


def ids_in(folder: Path, name: str) -> list[int]:
    """The IDs in a segment that no manifest names, as far as they can be read."""
    for items in (rows.ITEMS, rows.ITEMS_COPY):
        try:
            return [int(id_) for id_ in item_table.read(folder / SEGMENTS / name / items).ids]
        except IntegrityError:
            continue
    return []
