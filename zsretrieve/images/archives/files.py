"""Files of archives, on this machine or behind a URL, read in parts by several threads at once."""

from __future__ import annotations

import os
import stat
import weakref
from typing import IO

from zsretrieve.domain.errors import SourceError
from zsretrieve.images.addresses import State, is_url
from zsretrieve.images.archives import remote
from zsretrieve.images.archives.caching import Recent

_OPEN_FILES = 64


class _Handle:
    """An open file that closes itself when it is not used any more."""

    def __init__(self, path: str, known: State) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self.number)
        now = os.fstat(self.number)
        if State(now.st_size, now.st_mtime_ns) != known:
            raise OSError("changed while it was being read")


_handles: Recent[_Handle] = Recent(_OPEN_FILES)


def state(path: str) -> State:
    """Size and time of a file. Raises SourceError if there is none."""
    if is_url(path):
        return remote.state(path)
    try:
        status = os.stat(path)
    except OSError as error:
        raise _refused(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"'{path}' is not a regular file", hint="Check the path.")
    return State(status.st_size, status.st_mtime_ns)


def stream(path: str) -> IO[bytes]:
    """A file to seek and read in, by one thread. Raises SourceError if it cannot be opened."""
    if is_url(path):
        return remote.stream(path)
    try:
        return open(path, "rb")
    except OSError as error:
        raise _refused(path, error) from error


def pread(path: str, known: State, offset: int, length: int) -> bytes:
    """Bytes of a file that is still in the state ``known``; fewer at its end. Raises SourceError."""
    length = min(length, known.bytes - offset)
    if length <= 0:
        return b""
    if is_url(path):
        return remote.read(path, offset, offset + length)
    try:
        handle = _handles.obtain((path, known), lambda: _Handle(path, known))
        parts = []
        while length > 0 and (part := os.pread(handle.number, length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: str, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(f"there is no file '{path}'", hint="Check the path.")
    return SourceError(f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}", hint="Check the file.")
