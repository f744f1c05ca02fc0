"""CIFAR-10 in its binary form: records of one byte for the class and 3072 for an image of 32 x 32 pixels.

(Krizhevsky 2009; the data set's own page describes the form.) The other form is pickled Python, which is never opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.domain.errors import SourceError
from zsretrieve.system import atomic

TEST = "test_batch.bin"
_SIDE = 32
_RECORD = 1 + 3 * _SIDE * _SIDE
_PICKLED = "test_batch"


def find_test_batch(where: Path) -> Path | None:
    """The binary test batch that a path names or whose folder it is; None if there is none.

    Raises
    ------
    SourceError
        If only the pickled form is there.
    """
    if where.is_file():
        return where
    for folder in (where, where / "cifar-10-batches-bin"):
        if (folder / TEST).is_file():
            return folder / TEST
    for folder in (where, where / "cifar-10-batches-py"):
        if (folder / _PICKLED).is_file():
            raise SourceError(
                f"'{folder}' holds CIFAR-10 as pickled Python, which is never opened",
                hint="Take the binary version (cifar-10-binary.tar.gz), or a folder of images.",
            )
    return None


def count(batch: Path, names: Sequence[str]) -> int:
    """The number of images in a batch. Raises SourceError as ``unpack`` does."""
    return len(_records(batch, names)[0])


def unpack(batch: Path, names: Sequence[str], work: Path) -> Path:
    """Write the images of a batch as PNG files, one folder per class, unless they exist already.

    The files have the time of the batch, so that images unpacked again count as unchanged.

    Parameters
    ----------
    batch : Path
    names : sequence of str
        The class of each number.
    work : Path
        Gets the folder, which is named by the bytes of the batch and renamed into place when it is complete.

    Raises
    ------
    SourceError
        If it is not such a file.
    """
    records, digest, mtime_ns = _records(batch, names)
    out = work / f"cifar10-{digest[:12]}"
    if out.is_dir():
        return out
    pixels = records[:, 1:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    part = atomic.beside(out)
    try:
        for name in names:
            (part / name).mkdir(parents=True, exist_ok=True)
        for number, (label, image) in enumerate(zip(records[:, 0], pixels, strict=True)):
            file = part / names[label] / f"{number:05}.png"
            Image.fromarray(np.ascontiguousarray(image)).save(file)
            os.utime(file, ns=(mtime_ns, mtime_ns))
        with contextlib.suppress(OSError):
            part.rename(out)  # fails where another process was faster
        if not out.is_dir():
            raise SourceError(f"'{batch}' cannot be unpacked to '{out}'", hint="Check the folder's permissions.")
    finally:
        atomic.remove(part)
    return out


def _records(batch: Path, names: Sequence[str]) -> tuple[NDArray[np.uint8], str, int]:
    """The records of a batch, uint8 of shape (n, 3073), with its sha256 and time in nanoseconds."""
    try:
        data = np.fromfile(batch, dtype=np.uint8)
        mtime_ns = batch.stat().st_mtime_ns
    except OSError as error:
        raise SourceError(f"'{batch}' cannot be read: {error.strerror}", hint="Check the path.") from error
    if not len(data) or len(data) % _RECORD or data[::_RECORD].max() >= len(names):
        raise SourceError(
            f"'{batch}' is not a binary batch of CIFAR-10: {len(data)} bytes are not records of {_RECORD} that begin "
            f"with a class below {len(names)}",
            hint="Give test_batch.bin of cifar-10-binary.tar.gz.",
        )
    return data.reshape(-1, _RECORD), hashlib.sha256(data.tobytes()).hexdigest(), mtime_ns
