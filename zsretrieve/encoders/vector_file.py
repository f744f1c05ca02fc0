"""Vectors under keys in a small SQLite file of the user's cache folder.

The file is never needed: one that is damaged, locked or may not be written is as good as none. Processes may share
it, and a death leaves what was committed before.
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

from zsretrieve.encoders.cache import cache_folder
from zsretrieve.vectors import Vectors

HOUR_NS = 3600 * 1_000_000_000
_WAIT_S = 0.5
_CHECK_BYTES = 8


@dataclass
class VectorFile:
    """A file of one table, ``key``, ``vector`` and ``used``.

    Attributes
    ----------
    name, table : str
    most : int
        How many vectors are kept; the longest unused go first.
    spare : int
        What is over the limit goes together with this many more.
    noted_ns : int
        When a vector was last used is noted this often at most: a hit should not have to write.
    page_bytes : int
        The pages of a new file; one should hold some vectors.
    """

    name: str
    table: str
    most: int
    spare: int = 500
    noted_ns: int = HOUR_NS
    page_bytes: int = 4096

    def recall(self, keys: Sequence[bytes], dim: int) -> dict[bytes, Vectors]:
        """The vectors that are there of those keys, each float32 of shape (dim,)."""
        found: dict[bytes, Vectors] = {}
        if not keys:
            return found
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as table:
            now, stale = time.time_ns(), []
            for key in set(keys):
                row = table.execute(f"SELECT vector, used FROM {self.table} WHERE key = ?", (key,)).fetchone()
                if row is None or type(row[0]) is not bytes or type(row[1]) is not int:
                    continue
                content, check = row[0][:-_CHECK_BYTES], row[0][-_CHECK_BYTES:]
                if len(content) != 4 * dim or check != _check(key, content):
                    continue
                found[key] = np.frombuffer(content, dtype="<f4").astype(np.float32)
                if abs(now - row[1]) > self.noted_ns:
                    stale.append((now, key))
            if stale:
                table.executemany(f"UPDATE {self.table} SET used = ? WHERE key = ?", stale)
        return found

    def remember(self, vectors: Mapping[bytes, Vectors]) -> None:
        """Keep vectors, each float32 of shape (dim,), under their keys, if that is possible."""
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
        """How many vectors are kept, and the bytes on the disk."""
        count = 0
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as table:
            (count,) = table.execute(f"SELECT count(*) FROM {self.table}").fetchone()
        taken = 0
        for path in self._files():
            with contextlib.suppress(OSError):
                taken += path.stat().st_size
        return count, taken

    def clear(self) -> None:
        """Forget all of them, as far as the files may be deleted."""
        for path in self._files():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _open(self, *, make: bool = False) -> Iterator[sqlite3.Connection]:
        """The file for one transaction. Raises OSError if it is not there, and sqlite3.Error."""
        path = self._files()[0]
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # what people ask for is nobody else's business
        elif not path.exists():
            raise FileNotFoundError(path)
        connection = sqlite3.connect(path, timeout=_WAIT_S)
        try:
            # Not synced: should the power fail, some texts or all of them are encoded again.
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
    """Enough of a digest to notice what SQLite does not: bits that changed within a vector."""
    return hashlib.sha256(key + content).digest()[:_CHECK_BYTES]
