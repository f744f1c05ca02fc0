"""What can be read of a gallery some of whose files are damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import IntegrityError
from zsretrieve.records import Item, Manifest, Segment
from zsretrieve.store import items as item_table
from zsretrieve.store import rows
from zsretrieve.store.folder import SEGMENTS
from zsretrieve.store.rows import Live, LiveVectors, Part
from zsretrieve.vectors import Vectors

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Salvage:
    """The rows that count as far as they can be read, in the order of ids.

    ``has_vector[i]`` tells whether the vector of ``live.items[i]`` is sound. ``lost`` says in words what
    else was in the ``n_damaged`` segments that are not whole, ``n_lost`` pictures of it.
    """

    live: Live
    has_vector: NDArray[np.bool_]
    lost: tuple[str, ...]
    n_lost: int
    n_damaged: int

    @property
    def without_vector(self) -> tuple[Item, ...]:
        return tuple(item for item, sound in zip(self.live.items, self.has_vector, strict=True) if not sound)

    def mended(self, made: dict[int, Vectors]) -> Live:
        """The rows that have a vector or get one by their id in ``made``, float32 of shape (dim,) each."""
        ids = list(made)
        place_of = {id_: len(self.live.items) + place for place, id_ in enumerate(ids)}
        order, items = [], []
        for row, item in enumerate(self.live.items):
            place = row if self.has_vector[row] else place_of.get(item.id)
            if place is not None:
                order.append(place)
                items.append(item)
        dim = self.live.vectors.dim
        new = np.stack([made[id_] for id_ in ids]) if ids else np.empty((0, dim), dtype=np.float32)
        return Live(tuple(items), self.live.vectors.and_then(new, np.array(order, dtype=np.int64)))


def salvage(folder: Path, manifest: Manifest, bad: set[str | None]) -> Salvage:
    """Read what is sound; ``bad`` are the files whose digests do not match."""
    parts: list[Part] = []
    sound: list[NDArray[np.bool_]] = []
    lost: list[str] = []
    n_damaged = n_lost = 0
    for segment in manifest.segments:
        items, vectors, removed = _read_segment(folder, segment, manifest.space.dim, bad)
        if items is None:
            n_lost += segment.rows
            lost.append(
                f"{segment.rows} images of segment {segment.name}: their names cannot be read, and older states "
                "of as many may be back"
            )
        if removed is None:
            lost.append(f"the list of {segment.removed} removed images of segment {segment.name}: they may be back")
        where = f"{SEGMENTS}/{segment.name}/"
        n_damaged += any(name is not None and name.startswith(where) for name in bad) or vectors is None
        kept = items or ()
        blank = np.broadcast_to(np.float32(0), (len(kept), manifest.space.dim))
        usable = vectors is not None and len(vectors) == len(kept)
        nothing = np.empty(0, dtype=np.int64)
        parts.append(
            Part(kept, vectors if vectors is not None and usable else blank, nothing if removed is None else removed)
        )
        sound.append(np.full(len(kept), usable))
    order = rows.live_rows([item_table.ids_of(part.items) for part in parts], [part.removed for part in parts])
    every = [item for part in parts for item in part.items]
    live = Live(
        tuple(every[place] for place in order),
        LiveVectors([part.vectors for part in parts], order, manifest.space.dim),
    )
    has_vector = np.concatenate([*sound, np.empty(0, dtype=np.bool_)])[order]
    return Salvage(live, has_vector, tuple(lost), n_lost, n_damaged)


def _read_segment(
    folder: Path, segment: Segment, dim: int, bad: set[str | None]
) -> tuple[Sequence[Item] | None, Vectors | None, NDArray[np.int64] | None]:
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
        read(rows.VECTORS, lambda: rows.read_vectors(where, segment.rows, dim)),
        read(rows.REMOVED, lambda: rows.read_removed(where, segment)),
    )


def ids_in(folder: Path, name: str) -> list[int]:
    """The ids in a segment that no passport names, as far as they can be read."""
    for items in (rows.ITEMS, rows.ITEMS_COPY):
        try:
            return [int(id_) for id_ in item_table.read(folder / SEGMENTS / name / items).ids]
        except IntegrityError:
            continue
    return []
