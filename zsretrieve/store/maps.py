"""The map of a gallery: a Parquet file in its folder, which the manifest does not name.

Each place is recorded with the image's ID and what identifies its content. A gallery that has changed since, or was
replaced by another, shares with the map just the images in which both agree.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zsretrieve.domain.errors import IndexVersionError, IntegrityError, SourceError
from zsretrieve.domain.maps import Contents, Places
from zsretrieve.domain.records import Item
from zsretrieve.domain.wording import one_line
from zsretrieve.store import files
from zsretrieve.store.items import column_of, ids_of, numbers
from zsretrieve.store.manifest import MAP, shown
from zsretrieve.system import atomic
from zsretrieve.system.version import tool_version

META = b"zsretrieve.map"
FORMAT_VERSION = 1
# Characters of a digest: enough to tell images apart.
_CHARACTERS = 16
_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        pa.field("content", pa.binary(_CHARACTERS), nullable=False),
    ]
)
# What a process that was killed while it wrote left behind; another one may be writing now.
_PARTS, _OLD_S = f".{MAP}.*", 3600


@dataclass(frozen=True)
class MapInfo:
    """How a map was made: the weights of the vectors, the gallery's generation, and the seed."""

    method: str
    weights: str
    revision: int
    seed: int


@dataclass(frozen=True)
class MapFile:
    """A map as it is stored; ``contents`` are bytes of shape (n,), and the others as in ``Map``."""

    ids: NDArray[np.int64]
    xy: Places
    contents: Contents
    info: MapInfo

    def kept(self, items: Sequence[Item]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of a gallery whose images are on the map as they are now, ascending, and their rows here."""
        ids, contents = ids_of(items), contents_of(items)
        _, rows, own = np.intersect1d(ids, self.ids, assume_unique=True, return_indices=True)
        same = contents[rows] == self.contents[own]
        return rows[same], own[same]


def contents_of(items: Sequence[Item]) -> Contents:
    """The beginning of each image's digest, or of its path's if its own is unknown; bytes of shape (n,)."""
    digests = column_of(items, "digest")
    if not all(digests):
        paths = column_of(items, "path")
        digests = [
            digest or hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
            for digest, path in zip(digests, paths, strict=True)
        ]
    return np.array([digest[:_CHARACTERS] for digest in digests], dtype=f"S{_CHARACTERS}")


def path_of(folder: Path) -> Path:
    """Where the map of a gallery is, if there is one."""
    return folder / MAP


def exists(folder: Path) -> bool:
    """Whether there is a map, sound or not."""
    return path_of(folder).is_file()


def remove(folder: Path) -> None:
    """Delete the map, if there is one. Raises IndexFolderError if the system refuses."""
    with files.writing_to(folder):
        (folder / MAP).unlink(missing_ok=True)


def write(folder: Path, made: MapFile) -> None:
    """Write a map beside the old one and rename it. Raises IndexFolderError if the system refuses."""
    padded = made.contents.astype(f"S{_CHARACTERS}").tobytes()
    values = [made.ids.tobytes(), made.xy[:, 0].tobytes(), made.xy[:, 1].tobytes(), padded]
    columns = [
        pa.Array.from_buffers(field.type, len(made.ids), [None, pa.py_buffer(some)])
        for field, some in zip(_SCHEMA, values, strict=True)
    ]
    content = {"format_version": FORMAT_VERSION, "tool_version": tool_version(), **asdict(made.info)}
    meta = {**content, "digest": _digest(made, content)}
    schema = _SCHEMA.with_metadata({META: json.dumps(meta).encode("ascii")})
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer, compression="zstd")
    with files.writing_to(folder):
        for part in folder.glob(_PARTS):
            if time.time() - part.stat().st_mtime > _OLD_S:
                atomic.remove(part)
        atomic.write_file(folder / MAP, buffer.getvalue())


def read(folder: Path) -> MapFile:
    """Read the map of a gallery.

    Raises
    ------
    SourceError
        If there is none.
    IndexVersionError
        If it is of a newer version.
    IntegrityError
        If it is damaged.
    """
    path = folder / MAP
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        meta = json.loads(table.schema.metadata[META])
        version = int(meta["format_version"])
        if version > FORMAT_VERSION:
            raise IndexVersionError(
                f"the map '{path}' has version {version}; this program reads up to {FORMAT_VERSION}",
                hint=f"Use a newer zsretrieve, or make the map again with: zsretrieve index map '{shown(folder)}'",
            )
        if not table.schema.equals(_SCHEMA):
            raise ValueError("it has other columns")
        info = MapInfo(str(meta["method"]), str(meta["weights"]), int(meta["revision"]), int(meta["seed"]))
        ids = numbers(table.column("id"), np.dtype(np.int64))
        x, y = (numbers(table.column(name), np.dtype(np.float32)) for name in ("x", "y"))
        contents = np.array(table.column("content").to_pylist(), dtype=f"S{_CHARACTERS}")
        made = MapFile(ids, np.column_stack([x, y]), contents, info)
        if _digest(made, {key: value for key, value in meta.items() if key != "digest"}) != meta["digest"]:
            raise ValueError("its digest does not match")
    except FileNotFoundError as error:
        raise SourceError(
            f"the gallery at '{shown(folder)}' has no map", hint=f"Make one: zsretrieve index map '{shown(folder)}'"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise IntegrityError(
            f"the map '{path}' is damaged: {one_line(error)}",
            hint=f"Make it again: zsretrieve index map '{shown(folder)}'",
        ) from error
    return made


def _digest(made: MapFile, content: dict[str, object]) -> str:
    """The sha256 of the metadata but for the digest itself, as JSON with sorted keys, and of the columns' values."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii"))
    digest.update(made.ids.astype("<i8").tobytes())
    digest.update(made.xy.astype("<f4").tobytes())
    digest.update(made.contents.astype(f"S{_CHARACTERS}").tobytes())
    return digest.hexdigest()
