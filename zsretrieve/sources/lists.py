"""Pictures named one by one: lists of paths, and the items of a gallery."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from zsretrieve import addresses
from zsretrieve.archives import open_archive
from zsretrieve.errors import OptionalDependencyError, SourceError
from zsretrieve.records import Item, Skipped
from zsretrieve.sources.listing import ARCHIVE, FOLDER, Source, SourceFile


def paths(names: Iterable[str | Path], root: str | Path | None = None) -> Source:
    """The pictures named, in the order given, by path, URL or address within an archive.

    Relative ones are relative to ``root`` (the current folder by default).

    Raises
    ------
    SourceError
        If no file is named.
    """
    base = Path(root).absolute() if root is not None else Path.cwd()
    files = []
    for name in names:
        # Not normalised: behind a link, `x/..` is not where it started.
        text = os.fspath(name)
        below = text.removeprefix(f"{base}{os.sep}").lstrip(os.sep) if text.startswith(f"{base}{os.sep}") else text
        files.append(SourceFile(below or text))
    if not files:
        raise SourceError("no image was named", hint="Give one path a line.")
    return Source(str(base), tuple(files))


def read_list(lines: Iterable[str], root: str | Path | None = None) -> Source:
    """A source from a list of paths, one a line; empty lines are passed over."""
    return paths([line for line in (raw.rstrip("\r\n") for raw in lines) if line.strip()], root)


def of_gallery(items: Sequence[Item], skipped: Sequence[Skipped], root: str | None, next_id: int = 0) -> Source:
    """The pictures of a gallery, to be read again under their ids; those once skipped are tried again."""
    files = [SourceFile(item.path, item.label, item.id) for item in items]
    there = {item.path for item in items}
    labels: dict[str, dict[str, str | None]] = {}
    others = []
    for once in skipped:
        if once.reason.startswith((FOLDER, ARCHIVE)):
            others.append(once)
        elif once.path not in there:
            files.append(SourceFile(once.path, _label(once.path, root or ".", labels)))
    return Source(root or ".", tuple(files), tuple(others), next_id=next_id)


def _label(path: str, root: str, known: dict[str, dict[str, str | None]]) -> str | None:
    """The label that a skipped picture would have had: its first folder, or what its archive says."""
    place = addresses.split(addresses.join(root, path))
    if place is None:
        return path.split("/")[0] if "/" in path else None
    archive, member = place
    if archive not in known:
        known[archive] = {}
        # An archive that is gone gives no labels; its pictures are skipped again, with that reason.
        with contextlib.suppress(SourceError, OptionalDependencyError):
            known[archive] = dict(open_archive(archive).members())
    return known[archive].get(member)
