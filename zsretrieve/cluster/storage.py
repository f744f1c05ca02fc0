"""Small files in a storage that all nodes share: a folder, or a URL of fsspec. A reader sees all of a file or none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from zsretrieve.domain.errors import ClusterError, SourceError
from zsretrieve.domain.wording import one_line
from zsretrieve.images import archives
from zsretrieve.images.archives import remote
from zsretrieve.system import atomic

_Result = TypeVar("_Result")


def write(place: str, name: str, content: bytes) -> None:
    """Write a file, replacing one of this name. Raises ClusterError."""

    def send() -> None:
        if archives.is_url(place):
            remote.write(join(place, name), content)
        else:
            Path(place).mkdir(parents=True, exist_ok=True)
            atomic.write_file(Path(place, name), content)

    _asked(place, send, None)


def read(place: str, name: str) -> bytes | None:
    """The bytes of a file, None if there is none. Raises ClusterError."""
    if archives.is_url(place):
        return _asked(place, lambda: remote.read(join(place, name)), None)
    return _asked(place, Path(place, name).read_bytes, None)


def names(place: str) -> set[str]:
    """The names of all files. Raises ClusterError."""
    if archives.is_url(place):
        return _asked(place, lambda: {url.rpartition("/")[2] for url in remote.find(place)}, set())
    return _asked(place, lambda: set(os.listdir(place)), set())


def remove(place: str, name: str) -> None:
    """Delete a file if it is there. Raises ClusterError."""
    if archives.is_url(place):
        _asked(place, lambda: remote.remove(join(place, name)), None)
    else:
        _asked(place, Path(place, name).unlink, None)


def join(place: str, name: str) -> str:
    return f"{place.rstrip('/')}/{name}"


def _asked(place: str, send: Callable[[], _Result], missing: _Result) -> _Result:
    """What ``send`` returns, or ``missing`` if there is no such file.

    Every other failure becomes a ClusterError, which travels between processes.
    """
    try:
        return send()
    except FileNotFoundError:
        return missing
    except OSError as error:
        raise ClusterError(f"the storage '{place}' cannot be used: {one_line(error)}", hint="Give another.") from error
    except SourceError as error:
        if isinstance(error, remote.RemoteError) and error.missing:
            return missing
        raise ClusterError(f"the storage cannot be used: {error.message}", hint=error.hint) from error
