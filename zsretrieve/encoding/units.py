"""Units of a listing: runs of files that are encoded for themselves, in one process or on any node of a cluster.

A batch never reaches over the end of a unit, so that the vectors of an engine whose bits depend on the size of a batch
do not depend on where a unit was encoded either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zsretrieve.images.sources import SourceFile

# So many files are decoded together and their pixels sent to the model, some 40 MB at 224 pixels.
_FILES = 256


def unit_files(batch_size: int) -> int:
    """How many places of a listing make a unit: at least 256, and whole batches."""
    return batch_size * -(-_FILES // batch_size)


def units_of(files: Sequence[SourceFile], batch_size: int) -> Iterator[tuple[SourceFile, ...]]:
    """Files in the units of their listing.

    The unit of a file follows from its ID, which is its place in the listing, so that what is left of a listing falls
    into the same units. If any has none, files are counted instead.
    """
    size = unit_files(batch_size)
    placed = all(file.id is not None for file in files)
    unit: list[SourceFile] = []
    before = None
    for place, file in enumerate(files):
        number = (file.id if placed and file.id is not None else place) // size
        if unit and number != before:
            yield tuple(unit)
            unit = []
        unit.append(file)
        before = number
    if unit:
        yield tuple(unit)


def ends_unit(files: Sequence[SourceFile], done: int, batch_size: int) -> bool:
    """Whether the first ``done`` files end with a unit and another follows; False where a file has no ID."""
    ids = [file.id for file in files[done - 1 : done + 1]]
    if len(ids) < 2 or ids[0] is None or ids[1] is None:
        return False
    return ids[0] // unit_files(batch_size) != ids[1] // unit_files(batch_size)
