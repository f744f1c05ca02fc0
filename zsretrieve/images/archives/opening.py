"""Opening archives of any kind, each once per process as long as its file does not change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from zsretrieve.domain.errors import SourceError
from zsretrieve.images.addresses import Kind, State, kind_of
from zsretrieve.images.archives import files, remote
from zsretrieve.images.archives.caching import Recent
from zsretrieve.images.content import Content

_KEPT = 1024


class Archive(Protocol):
    """A file of many images.

    ``damage`` describes what is wrong with it as a whole, if anything; ``repeated`` members have the name of a later
    one, which counts.
    """

    @property
    def damage(self) -> str | None: ...

    @property
    def label_problem(self) -> str | None:
        """Why a column or some values of it gave no labels, known once all members were listed."""
        ...

    @property
    def repeated(self) -> int: ...

    @property
    def mtime_ns(self) -> int: ...

    def members(self) -> Iterator[tuple[str, str | None]]:
        """The images in order: the name of each in the archive, and its label."""
        ...

    def size(self, member: str) -> int:
        """The bytes of an image. Raises ImageError with the reason if it cannot be read."""
        ...

    def read(self, member: str) -> bytes:
        """The content of an image; safe in several threads. Raises ImageError with the reason."""
        ...


_archives: Recent[Archive] = Recent(_KEPT)


def open_archive(path: str) -> Archive:
    """An archive, opened by its name.

    Raises
    ------
    SourceError
        If it cannot be read, or is not an archive.
    OptionalDependencyError
        If a package for it is not installed.
    """
    kind = kind_of(path)
    known = State(0, 0) if kind is Kind.DATASET else files.state(path)
    return _archives.obtain((path, known), lambda: _make(path, kind))


def read(archive: str, member: str) -> Content:
    """Read an image. Raises ImageError, with the reason alone, if it cannot be read."""
    with remote.reasons():
        opened = open_archive(archive)
        return Content(opened.read(member), opened.mtime_ns)


def state(archive: str, member: str) -> State:
    """Size of an image and time of its archive.

    Raises
    ------
    ImageError
        With the reason alone, if they are unknown; MissingImageError if the archive definitely does not hold it.
    """
    with remote.reasons():
        opened = open_archive(archive)
        return State(opened.size(member), opened.mtime_ns)


def _make(path: str, kind: Kind | None) -> Archive:
    # Imported when needed: each kind has libraries of its own.
    match kind:
        case Kind.TAR:
            from zsretrieve.images.archives.tar import Tar

            return Tar(path)
        case Kind.ZIP:
            from zsretrieve.images.archives.zips import Zip

            return Zip(path)
        case Kind.PARQUET:
            from zsretrieve.images.archives.parquet import Parquet

            return Parquet(path)
        case Kind.DATASET:
            from zsretrieve.images.archives.hub import Split

            return Split(path)
        case None:
            raise SourceError(f"'{path}' is not an archive of a known kind", hint="Give a .tar, .zip or .parquet file.")
