"""Images named one by one: lists of paths, and the items of a gallery."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

from zsretrieve.domain.errors import OptionalDependencyError, SourceError
from zsretrieve.domain.names import composed, seen
from zsretrieve.domain.records import Item, Skipped
from zsretrieve.domain.text_files import entries_of
from zsretrieve.images import opening
from zsretrieve.images.archives import open_archive
from zsretrieve.images.sources.braces import local
from zsretrieve.images.sources.source import ARCHIVE, FOLDER, Source, SourceFile

_LISTINGS = 64


def paths(names: Iterable[str | Path], root: str | Path | None = None) -> Source:
    """Named images, in the order given, by path, URL or address in an archive.

    Relative ones are relative to ``root`` (the current folder by default).

    Raises
    ------
    SourceError
        If no file is named.
    """
    base = Path(root).absolute() if root is not None else Path.cwd()
    files = []
    for name in names:
        # Not normalised: if `x` is a link, `x/..` leads elsewhere.
        text = os.fspath(name)
        below = text.removeprefix(f"{base}{os.sep}").lstrip(os.sep) if text.startswith(f"{base}{os.sep}") else text
        files.append(SourceFile(below or text))
    if not files:
        raise SourceError("the list of paths is empty", hint="Give one path per line.")
    return Source(str(base), tuple(files))


def read_list(content: bytes, name: str, root: str | Path | None = None, *, null: bool = False) -> Source:
    """A source from a list of paths: one per line, or each with a NUL at its end (always with ``null``).

    Empty entries are ignored. A path may be in quotes, have spaces around it, or be a ``file://`` URL, unless there is
    a file of that very name.

    Raises
    ------
    SourceError
        If the list is empty, in another encoding than it says, or a line holds a NUL.
    """
    entries = entries_of(content, name, SourceError, null=null)
    for number, entry in enumerate(entries, start=1):
        if "\0" in entry:
            raise SourceError(
                f"line {number} of the list '{name}' holds a NUL",
                hint="Write one path per line, or end each with NUL, as find -print0 does.",
            )
    return paths([_meant(entry, root) for entry in entries if entry.strip()], root)


def on_disk(name: str, root: str | Path | None = None) -> str:
    """A path with its accents as the file system has them, if there is only a file of that other form (NFC, NFD)."""
    base = os.fspath(root or "")
    if name.isascii() or opening.is_url(name) or _exists(os.path.join(base, name)):
        return name
    found = "/" if name.startswith("/") else ""
    for part in name.split("/"):
        place = os.path.join(base, found)
        if not _exists(os.path.join(place, part)) and os.path.isdir(place or "."):
            part = _names_in(place or ".", os.stat(place or ".").st_mtime_ns).get(composed(part), part)
        found = os.path.join(found, part)
    return found if _exists(os.path.join(base, found)) else name


@functools.lru_cache(_LISTINGS)
def _names_in(folder: str, mtime_ns: int) -> dict[str, str]:  # noqa: ARG001
    """The names in a folder, as they are, by their composed form; read again when the folder changes."""
    return {composed(name): name for name in os.listdir(folder)}


def _meant(entry: str, root: str | Path | None) -> str:
    """The path that an entry of a list stands for."""
    if _exists(os.path.join(root or "", entry)):
        return entry
    path = seen(entry).strip()
    if len(path) > 2 and path[0] == path[-1] and path[0] in "'\"":
        path = path[1:-1]
    return on_disk(unquote(local(path)) if path.startswith("file:///") else path, root)


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # it holds a NUL, or surrogates that stand for no byte
        return False


def of_gallery(items: Sequence[Item], skipped: Sequence[Skipped], root: str | None, next_id: int = 0) -> Source:
    """The images of a gallery, to be read again under their IDs; skipped ones are tried again."""
    files = [SourceFile(item.path, item.label, item.id) for item in items]
    held = {item.path for item in items}
    labels: dict[str, dict[str, str | None]] = {}
    others = []
    for one in skipped:
        if one.reason.startswith((FOLDER, ARCHIVE)):
            others.append(one)
        elif one.path not in held:
            files.append(SourceFile(one.path, _label(one.path, root or ".", labels)))
    return Source(root or ".", tuple(files), tuple(others), next_id=next_id)


def _label(path: str, root: str, known: dict[str, dict[str, str | None]]) -> str | None:
    """The label that a skipped image would have had: its first folder, or that in its archive."""
    place = opening.split(opening.join(root, path))
    if place is None:
        return path.split("/")[0] if "/" in path else None
    archive, member = place
    if archive not in known:
        known[archive] = {}
        # An archive that is gone has no labels; its images are skipped again, with that reason.
        with contextlib.suppress(SourceError, OptionalDependencyError):
            known[archive] = dict(open_archive(archive).members())
    return known[archive].get(member)
