"""A folder of small files that never grows beyond a size: the oldest are deleted."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from zsretrieve.system import atomic

_PRUNE_AFTER = 512
_KEPT_SHARE = 0.9


class CachedFiles:
    """Files by name in a folder of the user's cache.

    Parameters
    ----------
    folder : Path
        Made when the first file is written.
    most_bytes : int
        Beyond this the files that were used longest ago are deleted, looked at after every 512 writes, and sooner where
        the files are large.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._lock = threading.Lock()
        self._writes = _PRUNE_AFTER - 1  # the first write looks at what earlier servers left
        self._written = 0

    def path(self, name: str) -> Path:
        """Where a file is; names are digests, made by the server."""
        return self._folder / name[:2] / name

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None if there is none."""
        path = self.path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return content

    def write(self, name: str, content: bytes) -> bool:
        """Keep a file; False if the disk does not take it."""
        path = self.path(name)
        part = atomic.beside(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_bytes(content)
            os.replace(part, path)
        except OSError:
            atomic.remove(part)
            return False
        with self._lock:
            self._writes += 1
            self._written += len(content)
            # After a look a tenth is free.
            prune = self._writes >= _PRUNE_AFTER or self._written > self._most * (1 - _KEPT_SHARE)
            if prune:
                self._writes = self._written = 0
        if prune:
            self._prune()
        return True

    def _prune(self) -> None:
        found = []
        for path in self._folder.rglob("*"):
            with contextlib.suppress(OSError):
                state = path.stat()
                if path.is_file():
                    found.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._most * _KEPT_SHARE:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
