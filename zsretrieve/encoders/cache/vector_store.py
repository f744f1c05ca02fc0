"""Vectors by key in a small SQLite file in the user's cache folder.

The file is never required: a damaged, locked or read-only one counts as empty. Processes may share it, and a killed one
leaves what was committed before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsretrieve.domain.vectors import Vectors
from zsretrieve.system.cache_dir import cache_folder

HOUR_NS = 3600 * 1_000_000_000
_WAIT_S = 0.5
_CHECK_BYTES = 8


@dataclass
class VectorFile:
    """A file with one table of ``key``, ``vector`` and ``used``.

    Attributes
    ----------
    name, table : str
    most : int
        The number of vectors to keep; the least recently used are deleted first.
    spare : int
        How many more to delete when the limit is exceeded.
    noted_ns : int
        The least time between two updates of ``used``, so that a hit seldom writes.
    page_bytes : int
        The page size of a new file; a page should hold several vectors.
    """

    name: str
    table: str
    most: int
    spare: int = 500
    noted_ns: int = HOUR_NS
    page_bytes: int = 4096

    def recall(self, keys: Sequence[bytes], dim: int | None) -> dict[bytes, Vectors]:
        """The stored vectors of these keys, each float32 of shape (dim,), or as it was stored without ``dim``."""
        vectors: dict[bytes, Vectors] = {}
        if not keys:
            return vectors
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as table:
            now, stale = time.time_ns(), []
            for key in set(keys):
                row = table.execute(f"SELECT vector, used FROM {self.table} WHERE key = ?", (key,)).fetchone()
                if row is None or type(row[0]) is not bytes or type(row[1]) is not int:
                    continue
                content, check = row[0][:-_CHECK_BYTES], row[0][-_CHECK_BYTES:]
                if dim not in (None, len(content) // 4) or check != _check(key, content):
                    continue
                vectors[key] = np.frombuffer(content, dtype="<f4").astype(np.float32)
                if abs(now - row[1]) > self.noted_ns:
                    stale.append((now, key))
            if stale:
                table.executemany(f"UPDATE {self.table} SET used = ? WHERE key = ?", stale)
        return vectors

    def remember(self, vectors: Mapping[bytes, Vectors]) -> None:
        """Store vectors, each float32 of one dimension, under their keys, if possible."""
        now, rows = time.time_ns(), []
        for key, vector in vectors.items():
            content = vector.astype("<f4").tobytes()
            rows.append((key, content + _check(key, content), now))
        for attempt in range(2):
            try:
                with self._open(make=True) as table:
                    table.executemany(f"INSERT OR REPLACE INTO {self.table} VALUES (?, ?, ?)", rows)
                    (count,) = table.execute(f"SELECT count(*) FROM {self.table}").fetchone()
                    if count > self.most:
                        oldest = f"SELECT key FROM {self.table} ORDER BY used LIMIT ?"
                        over = count - self.most + min(self.spare, self.most // 2)
                        table.execute(f"DELETE FROM {self.table} WHERE key IN ({oldest})", (over,))
            except sqlite3.OperationalError:  # locked, read-only or no room
                return
            except sqlite3.Error:
                if attempt == 0:
                    self.clear()  # damaged
            except OSError:
                return
            else:
                return

    def size(self) -> tuple[int, int]:
        """The number of stored vectors, and their bytes on disk."""
        count = 0
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as table:
            (count,) = table.execute(f"SELECT count(*) FROM {self.table}").fetchone()
        taken = 0
        for path in self._files():
            with contextlib.suppress(OSError):
                taken += path.stat().st_size
        return count, taken

    def clear(self) -> None:
        """Delete the files, as far as the system allows."""
        for path in self._files():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _open(self, *, make: bool = False) -> Iterator[sqlite3.Connection]:
        """The file for one transaction. Raises OSError if it does not exist, and sqlite3.Error."""
        path = self._files()[0]
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # queries are private
        elif not path.exists():
            raise FileNotFoundError(path)
        connection = sqlite3.connect(path, timeout=_WAIT_S)
        try:
            # Not synced: after a power cut, texts are encoded again.
            connection.execute("PRAGMA synchronous = OFF")
            if make:
                connection.execute(f"PRAGMA page_size = {self.page_bytes}")
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {self.table} "
                    "(key BLOB PRIMARY KEY, vector BLOB NOT NULL, used INTEGER NOT NULL)"
                )
            with connection:
                yield connection
        finally:
            connection.close()

    def _files(self) -> tuple[Path, Path]:
        path = cache_folder() / self.name
        return path, path.with_name(f"{self.name}-journal")


def _check(key: bytes, content: bytes) -> bytes:
    """A checksum of a vector, which SQLite does not have."""
    return hashlib.sha256(key + content).digest()[:_CHECK_BYTES]
