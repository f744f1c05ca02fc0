"""Vectors that lie in somebody's files: opened and known by name, but not yet judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import SourceError
from zsretrieve.records import Item, Manifest

# Rows that are in memory at a time.
BLOCK_ROWS = 8192

# Above the ids that come there must be room for those of pictures that are added later.
IDS_END = 2**62

Block = NDArray[np.floating[Any]]


class Form(StrEnum):
    CLIP_RETRIEVAL = "clip-retrieval"
    NPY = "npy"
    PARQUET = "parquet"


@dataclass(frozen=True, repr=False)
class ForeignVectors:
    """Vectors and the pictures that they belong to.

    ``items`` have ascending ids; what is not known of a picture is 0 or empty. ``blocks`` reads the vectors from the
    beginning, in the order of the items, as floating arrays of shape (some, dim). ``dtype`` is that of the files.
    ``passport`` is that of the gallery that was exported, where an export of ours says so. ``notes`` are lines for
    people on what was passed over.
    """

    form: Form
    where: Path
    items: tuple[Item, ...]
    dim: int
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterator[Block]]
    passport: Manifest | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ForeignVectors({self.form}, {str(self.where)!r}, {len(self.items)} x {self.dim}, {self.dtype})"


def item(number: int, path: str, label: str | None = None) -> Item:
    """A picture of which no more is known than where it lies."""
    return Item(number, path, label, 0, 0, 0, 0, "")


def checked(items: Sequence[Item], where: Path) -> tuple[Item, ...]:
    """The items, if they can be those of a gallery. Raises SourceError for a path or an id that cannot be."""
    last = -1
    for row, one in enumerate(items):
        if not one.path or "\0" in one.path:
            what = "no path" if not one.path else "a path with a zero byte"
            raise SourceError(f"row {row} of '{where}' has {what}", hint="Every vector needs the path of its image.")
        if one.id <= last:
            raise SourceError(
                f"row {row} of '{where}' has the id {one.id} after {last}; ids must ascend from 0 or more",
                hint="Sort the rows by id, or leave the column out: rows are then numbered.",
            )
        if one.id >= IDS_END:
            raise SourceError(
                f"row {row} of '{where}' has the id {one.id}; ids must be below {IDS_END}",
                hint="Leave the column out: rows are then numbered.",
            )
        last = one.id
    return tuple(items)


def one_line(error: Exception) -> str:
    """What a library said, fit for a message."""
    return " ".join(str(error).split())[:200] or type(error).__name__
