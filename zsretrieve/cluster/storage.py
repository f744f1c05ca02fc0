"""Small files in a storage that all nodes share: a folder, or a URL of fsspec. A reader sees all of a file or none."""

from __future__ import annotations

import os
from pathlib import Path

from zsretrieve.domain.errors import ClusterError
from zsretrieve.domain.wording import one_line
from zsretrieve.images import archives
from zsretrieve.images.archives import remote
from zsretrieve.system import atomic


def write(place: str, name: str, content: bytes) -> None:
    """Write a file, replacing one of this name. Raises ClusterError."""
    if archives.is_url(place):
        remote.write(join(place, name), content)
        return
    try:
        Path(place).mkdir(parents=True, exist_ok=True)
        atomic.write_file(Path(place, name), content)
    except OSError as error:
        raise ClusterError(f"'{place}' cannot be written: {one_line(error)}", hint="Give another storage.") from error


def read(place: str, name: str) -> bytes | None:
    """The bytes of a file, None if there is none. Raises ClusterError or SourceError if it cannot be read."""
    if archives.is_url(place):
        try:
            return remote.read(join(place, name))
        except remote.RemoteError as error:
            if error.missing:
                return None
            raise
    try:
        return Path(place, name).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ClusterError(f"'{place}' cannot be read: {one_line(error)}", hint="Give another storage.") from error


def names(place: str) -> set[str]:
    """The names of all files. Raises ClusterError or SourceError if they cannot be listed."""
    if archives.is_url(place):
        return {url.rpartition("/")[2] for url in remote.find(place)}
    try:
        return set(os.listdir(place))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise ClusterError(f"'{place}' cannot be listed: {one_line(error)}", hint="Give another storage.") from error


def remove(place: str, name: str) -> None:
    """Delete a file if it is there."""
    if archives.is_url(place):
        remote.remove(join(place, name))
    else:
        atomic.remove(Path(place, name))


def join(place: str, name: str) -> str:
    return f"{place.rstrip('/')}/{name}"
