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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
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
# The packages that clean and split texts and compute, or convert what does.
_PACKAGES = (
    "ftfy", "numpy", "open_clip_torch", "openvino", "regex", "timm", "tokenizers", "torch", "transformers",
)  # fmt: skip
_TABLE = "CREATE TABLE IF NOT EXISTS queries (key BLOB PRIMARY KEY, vector BLOB NOT NULL, used INTEGER NOT NULL)"


class RememberingEncoder:
    """An encoder that takes the vectors of texts from the cache, and loads the model only for what is not there.

    Parameters
    ----------
    space : Space
        That of the gallery which is searched.
    made_by : str
        What is asked for, and the machine: engine, precision, kind of machine. The versions of the packages that
        encode are added.
    load : callable
        Gives the encoder itself.
    keeps : callable
        Whether vectors of an encoder that computes in this way may be kept, since it is what ``made_by`` stands for.
    """

    def __init__(
        self,
        space: Space,
        made_by: str,
        load: MakeEncoder,
        keeps: Callable[[Encoding], bool] = lambda _: True,
    ) -> None:
        self.space = space
        self._load = load
        self._keeps = keeps
        self._loaded: Encoder | None = None
        compared = asdict(space)
        del compared["model"]  # one set of weights may lie in two places
        self._key = json.dumps([compared, made_by, tool_version(), _versions()], sort_keys=True).encode()

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
        keys = [hashlib.sha256(self._key + text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        found = recall(keys, self.space.dim)
        new: dict[bytes, Vectors] = {}
        for key, text in zip(keys, texts, strict=True):
            if key not in found and key not in new:
                # In a batch with others the last bits may differ.
                new[key] = self._itself().encode_texts([text])[0]
        if new and self._keeps(self._itself().text_encoding):
            remember(new)
        found.update(new)
        vectors = np.empty((len(texts), self.space.dim), dtype=np.float32)
        for row, key in enumerate(keys):
            vectors[row] = found[key]
        return vectors

    def _itself(self) -> Encoder:
        if self._loaded is None:
            loaded = self._load()
            check_same_space(self.space, "the gallery", loaded.space, "the query")
            self._loaded = loaded
        return self._loaded


def recall(keys: Sequence[bytes], dim: int) -> dict[bytes, Vectors]:
    """The vectors that are there of those keys, each float32 of shape (dim,)."""
    found: dict[bytes, Vectors] = {}
    if not keys:
        return found
    with contextlib.suppress(sqlite3.Error, OSError), _open() as table:
        now, stale = time.time_ns(), []
        for key in set(keys):
            row = table.execute("SELECT vector, used FROM queries WHERE key = ?", (key,)).fetchone()
            if row is None or type(row[0]) is not bytes or type(row[1]) is not int:
                continue
            content, check = row[0][:-_CHECK_BYTES], row[0][-_CHECK_BYTES:]
            if len(content) != 4 * dim or check != _check(key, content):
                continue
            found[key] = np.frombuffer(content, dtype="<f4").astype(np.float32)
            if abs(now - row[1]) > _HOUR_NS:
                stale.append((now, key))
        if stale:
            table.executemany("UPDATE queries SET used = ? WHERE key = ?", stale)
    return found


def remember(vectors: Mapping[bytes, Vectors]) -> None:
    """Keep vectors, each float32 of shape (dim,), under their keys, if that is possible."""
    now, rows = time.time_ns(), []
    for key, vector in vectors.items():
        content = vector.astype("<f4").tobytes()
        rows.append((key, content + _check(key, content), now))
    for attempt in range(2):
        try:
            with _open(make=True) as table:
                table.executemany("INSERT OR REPLACE INTO queries VALUES (?, ?, ?)", rows)
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


def _versions() -> list[str]:
    """The versions of the packages that vectors depend on, "" for one that is not installed."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("")
    return found


def _check(key: bytes, content: bytes) -> bytes:
    """Enough of a digest to notice what SQLite does not: bits that changed within a vector."""
    return hashlib.sha256(key + content).digest()[:_CHECK_BYTES]
