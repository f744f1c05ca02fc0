"""Encoded units of a listing as files in shared storage, each under a name that follows from what is in it.

A name is known before the unit is encoded, so whoever encodes it, and however often, writes the same file; and a driver
that starts again finds what is done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from zsretrieve.domain.records import Encoding, Item, Skipped, Space
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Vectors
from zsretrieve.images.sources import SourceFile
from zsretrieve.store import items as item_table
from zsretrieve.store.items import Items
from zsretrieve.system.version import tool_version

SUFFIX = ".unit"
_VECTORS = "vector"
_DIGEST_BYTES = 32

# What of a unit cannot be used, each with the place of its file in the unit.
Skips = tuple[tuple[int, Skipped], ...]


@dataclass(frozen=True)
class Recipe:
    """What decides, besides the files, which vectors an encoder makes."""

    space: Space
    encoding: Encoding
    batch_size: int
    reading: Reading
    root: str


@dataclass(frozen=True)
class Unit:
    """Files that are encoded together, and how."""

    recipe: Recipe
    files: tuple[SourceFile, ...]

    @cached_property
    def name(self) -> str:
        """The name of its file: a digest of all that decides its content but the bytes of the images."""
        said = json.dumps([tool_version(), asdict(self.recipe), [asdict(file) for file in self.files]])
        return hashlib.sha256(said.encode()).hexdigest()[:32] + SUFFIX


@dataclass(frozen=True)
class EncodedUnit:
    """An encoded unit.

    ``items`` have as ID the place of their file in the unit, and row i of ``vectors``, float32 of shape (n, dim),
    belongs to item i; ``scaled`` are images of more than 8 bits per channel.
    """

    items: Sequence[Item]
    vectors: Vectors
    skipped: Skips
    scaled: tuple[str, ...]


def to_bytes(unit: EncodedUnit) -> bytes:
    """The file of an encoded unit: the digest of the rest, then an Arrow stream."""
    notes = {"skipped": [[place, one.path, one.reason] for place, one in unit.skipped], "scaled": unit.scaled}
    dim = unit.vectors.shape[1]
    rows = pa.array([row.tobytes() for row in unit.vectors], type=pa.binary(dim * unit.vectors.itemsize))
    table = item_table.table(unit.items).append_column(_VECTORS, rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata({"notes": json.dumps(notes), "dim": str(dim)})) as stream:
        stream.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return hashlib.sha256(body).digest() + body


def from_bytes(content: bytes) -> EncodedUnit | None:
    """An encoded unit, None if the file is not whole."""
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    with pa.ipc.open_stream(body) as stream:
        table = stream.read_all()
    notes = json.loads(table.schema.metadata[b"notes"])
    dim = int(table.schema.metadata[b"dim"])
    rows = b"".join(table.column(_VECTORS).to_pylist())
    return EncodedUnit(
        Items(table.drop_columns([_VECTORS]).replace_schema_metadata(None)),
        np.frombuffer(rows, dtype=np.float32).reshape(-1, dim),
        tuple((place, Skipped(path, reason)) for place, path, reason in notes["skipped"]),
        tuple(notes["scaled"]),
    )


def folder_name(out: str) -> str:
    """The name of the folder for the units of one output."""
    return hashlib.sha256(os.fsencode(out)).hexdigest()[:16]
