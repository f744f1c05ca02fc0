"""Copies of hits in a folder of the user's, where nothing is ever overwritten."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from zsretrieve.domain.errors import ImageError, SourceError
from zsretrieve.domain.records import Hit, PathLike, Skipped
from zsretrieve.images import opening
from zsretrieve.images.addresses import bare


def copy_hits(hits: Iterable[Hit], folder: PathLike) -> tuple[list[Path], list[Skipped]]:
    """Copy the files of hits into a folder, under their own names; also from archives and URLs.

    A name that is taken by another file gets a number; a file that is there already is not copied again.

    Returns
    -------
    list of Path
        The copies, in the order of the hits.
    list of Skipped
        Hits whose file cannot be read.

    Raises
    ------
    SourceError
        If the system refuses to write.
    """
    folder, copies, skipped = Path(folder), [], []
    if folder.exists() and not folder.is_dir():
        raise SourceError(f"'{folder}' is a file, and copies go to a folder", hint="Give another place.")
    for path in dict.fromkeys(hit.path for hit in hits):
        try:
            content = opening.read(path).data
        except ImageError as error:
            skipped.append(Skipped(path, error.message))
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            copies.append(_put(folder, PurePosixPath(bare(path)).name, content))
        except OSError as error:
            raise SourceError(
                f"'{path}' cannot be copied to '{folder}': {error.strerror}",
                hint="Check the permissions and the free space.",
            ) from error
    return copies, skipped


def _put(folder: Path, name: str, content: bytes) -> Path:
    stem, suffix = os.path.splitext(name)
    for number in itertools.count(1):
        place = folder / (name if number == 1 else f"{stem}-{number}{suffix}")
        try:
            with open(place, "xb") as file:
                try:
                    file.write(content)
                except BaseException:
                    place.unlink()
                    raise
        except FileExistsError:
            if place.is_file() and place.stat().st_size == len(content) and place.read_bytes() == content:
                return place
        else:
            return place
    raise AssertionError("there is always another number")
