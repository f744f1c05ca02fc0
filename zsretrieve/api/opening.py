"""Opening indexes."""

from __future__ import annotations

import os
from pathlib import Path

from zsretrieve import wiring
from zsretrieve.ports import IndexBackend
from zsretrieve.store import indexes
from zsretrieve.store.indexes import Gallery, Prototypes

PathLike = str | os.PathLike[str]


def open_prototypes(folder: PathLike, *, device: str = "auto", half: bool = False) -> Prototypes:
    """Open a prototype index; ``half`` keeps a GPU's copy in float16, and results stay exact.

    Raises IndexFormatError or IntegrityError if it is not sound.
    """
    return indexes.open_prototypes(os.fspath(folder), wiring.index_backend(device, half=half))


def open_gallery(folder: PathLike, *, device: str = "auto", half: bool = False, sharded: bool = False) -> Gallery:
    """Open a gallery index; ``half`` keeps a GPU's copy in float16, and results stay exact. On several GPUs
    (``cuda:0,cuda:1`` or ``cuda:all``) each holds all of it and answers a part of the queries; with ``sharded`` each
    holds a part.

    Raises IndexFormatError or IntegrityError if it is not sound.
    """
    return indexes.open_gallery(os.fspath(folder), wiring.index_backend(device, half=half, sharded=sharded))


def is_index(folder: PathLike) -> bool:
    """Whether a folder is an index rather than a folder of images."""
    return indexes.is_index(os.fspath(folder))


def verify(folder: PathLike) -> list[str]:
    """Check every digest, count, norm and id of an index; the list of problems is empty when it is sound."""
    from zsretrieve.store import verify as _verify

    return [damage.message for damage in _verify.verify(Path(folder), cpu_backend()).damages]


def cpu_backend() -> IndexBackend:
    """What writes indexes: they are saved in their CPU form."""
    return wiring.index_backend("cpu")
