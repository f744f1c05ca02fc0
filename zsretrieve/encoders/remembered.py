"""Vectors of the texts that were searched for lately, so that a repeated search needs no model.

They lie in a small SQLite file in the user's cache folder. A text stands there only as a digest, over everything that
its vector depends on. The file is never needed: one that is damaged, locked or may not be written is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from zsretrieve.encoders.cache import cache_folder
from zsretrieve.ports import Encoder, MakeEncoder, Pixels
from zsretrieve.records import Encoding, Head, Space
from zsretrieve.store.indexes import check_same_space
from zsretrieve.vectors import Vectors
from zsretrieve.version import tool_version

MOST = 10_000
_FILE = "queries.sqlite3"
# What is over the limit goes together with this many more, the longest unused first.
_SPARE = 500
# When a text was last asked for is noted this often at most: a hit should not have to write.
_HOUR_NS = 3600 * 1_000_000_000
_WAIT_S = 0.5
_CHECK_BYTES = 8
_TABLE = "CREATE TABLE IF NOT EXISTS queries (key BLOB PRIMARY KEY, vector BLOB NOT NULL, used INTEGER NOT NULL)"


class RememberingEncoder:
    """An encoder that takes the vectors of texts from the cache, and loads the model only for what is not there.

    Parameters
    ----------
    space : Space
        That of the gallery which is searched.
    made_by : str
        Whatever else a vector depends on: engine, precision, kind of machine.
    load : callable
        Gives the encoder itself.
    """

    def __init__(self, space: Space, made_by: str, load: MakeEncoder) -> None:
        self.space = space
        self._load = load
        self._loaded: Encoder | None = None
        compared = asdict(space)
        del compared["model"]  # one set of weights may lie in two places
        self._key = json.dumps([compared, made_by, tool_version()], sort_keys=True).encode()

    @property
    def head(self) -> Head:
        return self._itself().head

    @property
    def encoding(self) -> Encoding:
        return self._itself().encoding

    @property
    def text_encoding(self) -> Encoding:
        return self._itself().text_encoding

    @property
    def batch_size(self) -> int:
        return self._itself().batch_size

    @property
    def concurrency(self) -> int:
        return self._itself().concurrency

    def prepare(self, image: Image.Image) -> Pixels:
        return self._itself().prepare(image)

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        return self._itself().encode_prepared(batch)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._itself().token_counts(texts)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, each as the encoder gives it alone; float32 of shape (len(texts), dim), unit rows.

        Raises
        ------
        SpaceMismatchError
            If the model had to be loaded and is of another space.
        """
        vectors = np.empty((len(texts), self.space.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            key = hashlib.sha256(self._key + text.encode("utf-8", "surrogatepass")).digest()
            found = recall(key, self.space.dim)
            if found is None:
                # In a batch with others the last bits may differ.
                found = self._itself().encode_texts([text])[0]
                remember(key, found)
            vectors[row] = found
        return vectors

    def _itself(self) -> Encoder:
        if self._loaded is None:
            loaded = self._load()
            check_same_space(self.space, "the gallery", loaded.space, "the query")
            self._loaded = loaded
        return self._loaded


def recall(key: bytes, dim: int) -> Vectors | None:
    """The vector under a key, float32 of shape (dim,), or None."""
    with contextlib.suppress(sqlite3.Error, OSError), _open() as table:
        row = table.execute("SELECT vector, used FROM queries WHERE key = ?", (key,)).fetchone()
        if row is None or type(row[0]) is not bytes or type(row[1]) is not int:
            return None
        content, check = row[0][:-_CHECK_BYTES], row[0][-_CHECK_BYTES:]
        if len(content) != 4 * dim or check != _check(key, content):
            return None
        now = time.time_ns()
        if abs(now - row[1]) > _HOUR_NS:
            with contextlib.suppress(sqlite3.Error):
                table.execute("UPDATE queries SET used = ? WHERE key = ?", (now, key))
        return np.frombuffer(content, dtype="<f4").astype(np.float32)
    return None


def remember(key: bytes, vector: Vectors) -> None:
    """Keep a vector, float32 of shape (dim,), if that is possible."""
    content = vector.astype("<f4").tobytes()
    row = (key, content + _check(key, content), time.time_ns())
    for attempt in range(2):
        try:
            with _open(make=True) as table:
                table.execute("INSERT OR REPLACE INTO queries VALUES (?, ?, ?)", row)
                (count,) = table.execute("SELECT count(*) FROM queries").fetchone()
                if count > MOST:
                    table.execute(
                        "DELETE FROM queries WHERE key IN (SELECT key FROM queries ORDER BY used LIMIT ?)",
                        (count - MOST + min(_SPARE, MOST // 2),),
                    )
        except sqlite3.OperationalError:  # locked, read-only or no room
            return
        except sqlite3.Error:
            if attempt == 0:
                clear()  # damaged
        except OSError:
            return
        else:
            return


def size() -> tuple[int, int]:
    """How many queries are kept, and the bytes on the disk."""
    count = 0
    with contextlib.suppress(sqlite3.Error, OSError), _open() as table:
        (count,) = table.execute("SELECT count(*) FROM queries").fetchone()
    taken = 0
    for path in _files():
        with contextlib.suppress(OSError):
            taken += path.stat().st_size
    return count, taken


def clear() -> None:
    """Forget all queries, as far as the files may be deleted."""
    for path in _files():
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _open(*, make: bool = False) -> Iterator[sqlite3.Connection]:
    """The file for one transaction. Raises OSError if it is not there, and sqlite3.Error."""
    path = _files()[0]
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # what people search for is nobody else's business
    elif not path.exists():
        raise FileNotFoundError(path)
    connection = sqlite3.connect(path, timeout=_WAIT_S)
    try:
        # Not synced: should the power fail, some queries or all of them are encoded again.
        connection.execute("PRAGMA synchronous = OFF")
        if make:
            connection.execute(_TABLE)
        with connection:
            yield connection
    finally:
        connection.close()


def _files() -> tuple[Path, Path]:
    path = cache_folder() / _FILE
    return path, path.with_name(f"{_FILE}-journal")


def _check(key: bytes, content: bytes) -> bytes:
    """Enough of a digest to notice what SQLite does not: bits that changed within a vector."""
    return hashlib.sha256(key + content).digest()[:_CHECK_BYTES]
