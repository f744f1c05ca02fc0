"""Indexes by name: ``@photos`` is the index ``photos`` in the user's data folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zsretrieve.domain.errors import IndexFormatError
from zsretrieve.domain.records import Manifest, PathLike
from zsretrieve.store import folder as folders
from zsretrieve.store.manifest import NAMED
from zsretrieve.system.data_dir import data_folder

PREFIX = "@"


def folder_of(index: PathLike) -> Path:
    """The folder of an index, given by its path or as ``@NAME``; it need not exist.

    Raises
    ------
    IndexFormatError
        If the name is empty or a path.
    """
    text = os.fspath(index)
    if not text.startswith(PREFIX):
        return Path(text)
    name = text.removeprefix(PREFIX)
    if os.sep in name or name in ("", ".", ".."):
        raise IndexFormatError(
            f"'{text}' is not the name of an index",
            hint=f"Write @NAME, as listed by zsretrieve index list, or ./{text} for a folder called like that.",
        )
    return _place() / name


def name_for(source: str) -> str:
    """The ``@NAME`` of the gallery of a folder or archive: that which holds it already, or else one that is free."""
    base = PREFIX + (os.path.basename(os.path.realpath(source)) or "root")
    name, number = base, 1
    while os.path.lexists(folder_of(name)) and not _is_of(name, source):
        number += 1
        name = f"{base}-{number}"
    return name


@dataclass(frozen=True)
class NamedIndex:
    """An index in the data folder: the ``@NAME`` that stands for its folder, and its manifest.

    That of an index whose build was interrupted is of what was built so far, and has ``building``.
    """

    name: str
    folder: Path
    manifest: Manifest


def named() -> Iterator[NamedIndex]:
    """Every index in the data folder, finished or not; those that cannot be read are left out."""
    place = _place()
    for folder in sorted(place.iterdir()) if place.is_dir() else ():
        manifest = folders.current(folder) or folders.staged(folder)
        if manifest is not None:
            yield NamedIndex(PREFIX + folder.name, folder, manifest)


def _place() -> Path:
    return data_folder() / NAMED


def _is_of(name: str, source: str) -> bool:
    """Whether a named index, finished or not, follows this source."""
    folder = folder_of(name)
    manifest = folders.current(folder) or folders.staged(folder)
    return manifest is not None and os.path.realpath(source) in map(os.path.realpath, manifest.origins)
