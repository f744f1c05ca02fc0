"""What a source is: pictures to read, in order."""

from __future__ import annotations

from dataclasses import dataclass

from zsretrieve import addresses
from zsretrieve.records import Skipped

# How the reasons begin of what is no picture but a place of pictures.
FOLDER = "folder: "
ARCHIVE = "archive: "


@dataclass(frozen=True)
class SourceFile:
    """One file to read.

    In a new gallery its place in the source is its id, whether it can be read or not, unless ``id`` gives it one.
    """

    path: str
    label: str | None = None
    id: int | None = None


@dataclass(frozen=True)
class Source:
    """Files to read, in order; paths are relative to ``root`` where they lie below it.

    ``skipped`` are folders that could not be looked into. ``where`` lists the files anew when it is opened as a
    source again; None if they were named one by one. ``next_id`` is the
    first id that no picture of a gallery had that is read again.
    """

    root: str
    files: tuple[SourceFile, ...]
    skipped: tuple[Skipped, ...] = ()
    where: str | None = None
    next_id: int = 0

    def address(self, file: SourceFile) -> str:
        return addresses.join(self.root, file.path)
