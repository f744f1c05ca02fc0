"""Opening archives of any kind, each once in a process as long as its file stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from zsretrieve.archives import files, remote
from zsretrieve.archives.caching import Recent
from zsretrieve.archives.places import Kind, State, kind_of
from zsretrieve.errors import SourceError
from zsretrieve.images import Content

_KEPT = 1024


class Archive(Protocol):
    """A file of many pictures. ``damage`` says what is wrong with it as a whole, if anything."""

    @property
    def damage(self) -> str | None: ...

    @property
    def mtime_ns(self) -> int: ...

    def members(self) -> Iterator[tuple[str, str | None]]:
        """The pictures in order: the name of each within the archive, and its label."""
        ...

    def size(self, member: str) -> int:
        """The bytes of a picture. Raises ImageError with the reason if it cannot be read."""
        ...

    def read(self, member: str) -> bytes:
        """The content of a picture; safe in several threads. Raises ImageError with the reason."""
        ...


_archives: Recent[Archive] = Recent(_KEPT)


def open_archive(path: str) -> Archive:
    """An archive, opened by its name.

    Raises
    ------
    SourceError
        If it cannot be read, or is no archive.
    OptionalDependencyError
        If a package for it is not installed.
    """
    kind = kind_of(path)
    known = State(0, 0) if kind is Kind.DATASET else files.state(path)
    return _archives.obtain((path, known), lambda: _make(path, kind))


def read(archive: str, member: str) -> Content:
    """Read a picture. Raises ImageError, with the reason alone, if that cannot be done."""
    with remote.reasons():
        opened = open_archive(archive)
        return Content(opened.read(member), opened.mtime_ns)


def state(archive: str, member: str) -> State:
    """Size of a picture and time of its archive.

    Raises
    ------
    ImageError
        With the reason alone, if that cannot be told; a MissingImageError if the archive surely holds none.
    """
    with remote.reasons():
        opened = open_archive(archive)
        return State(opened.size(member), opened.mtime_ns)


def _make(path: str, kind: Kind | None) -> Archive:
    # Imported when first needed: each kind has libraries of its own.
    match kind:
        case Kind.TAR:
            from zsretrieve.archives.tar import Tar

            return Tar(path)
        case Kind.ZIP:
            from zsretrieve.archives.zips import Zip

            return Zip(path)
        case Kind.PARQUET:
            from zsretrieve.archives.parquet import Parquet

            return Parquet(path)
        case Kind.DATASET:
            from zsretrieve.archives.hub import Split

            return Split(path)
        case None:
            raise SourceError(f"'{path}' is no archive of a known kind", hint="Known are .tar, .zip and .parquet.")
