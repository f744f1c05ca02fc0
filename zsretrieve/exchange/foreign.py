"""Vectors that were computed elsewhere: opened, but not yet checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Item, Manifest
from zsretrieve.domain.settings import Form

# Rows in memory at a time.
BLOCK_ROWS = 8192

# Leaves room for the IDs of images that are added later.
IDS_END = 2**62

Block = NDArray[np.floating[Any]]


@dataclass(frozen=True, repr=False)
class ForeignVectors:
    """Vectors and the images that they belong to.

    ``items`` have ascending IDs; unknown fields are 0 or empty. ``blocks`` reads the vectors from the beginning, in the
    order of the items, as floating arrays of shape (some, dim). ``dtype`` is that of the files. ``manifest`` is that of
    the exported gallery, in an export of this program. ``notes`` are lines for people on what was ignored.
    """

    form: Form
    where: Path
    items: tuple[Item, ...]
    dim: int
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterator[Block]]
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ForeignVectors({self.form}, {str(self.where)!r}, {len(self.items)} x {self.dim}, {self.dtype})"


def item(number: int, path: str, label: str | None = None) -> Item:
    """An image of which only path and label are known."""
    return Item(number, path, label, 0, 0, 0, 0, "")


def checked(items: Sequence[Item], where: Path) -> tuple[Item, ...]:
    """The items as a tuple. Raises SourceError for a path or an ID that a gallery cannot have."""
    last = -1
    for row, one in enumerate(items):
        if not one.path or "\0" in one.path:
            what = "no path" if not one.path else "a path with a zero byte"
            raise SourceError(f"row {row} of '{where}' has {what}", hint="Every vector needs the path of its image.")
        if one.id <= last:
            raise SourceError(
                f"row {row} of '{where}' has the ID {one.id} after {last}; IDs must ascend from 0 or more",
                hint="Sort the rows by ID, or leave the column out: rows are then numbered.",
            )
        if one.id >= IDS_END:
            raise SourceError(
                f"row {row} of '{where}' has the ID {one.id}; IDs must be below {IDS_END}",
                hint="Leave the column out: rows are then numbered.",
            )
        last = one.id
    return tuple(items)
