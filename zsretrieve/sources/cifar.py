"""CIFAR-10 in its binary form: records of one byte for the class and 3072 for a picture of 32 x 32 pixels.

(Krizhevsky 2009; the form is described on the data set's own page.) The other form is pickled Python, which is never
opened here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from zsretrieve.errors import SourceError

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


def unpack(batch: Path, names: Sequence[str], out: Path) -> Path:
    """Write the pictures of a batch as PNG files, one folder for each class, unless ``out`` is there already.

    Parameters
    ----------
    batch : Path
    names : sequence of str
        The class of each number.
    out : Path
        Written beside and renamed, so that it is there in full or not at all.

    Raises
    ------
    SourceError
        If it is no such file.
    """
    if out.is_dir():
        return out
    try:
        data = np.fromfile(batch, dtype=np.uint8)
    except OSError as error:
        raise SourceError(f"'{batch}' cannot be read: {error.strerror}", hint="Check the path.") from error
    if not len(data) or len(data) % _RECORD or data[::_RECORD].max() >= len(names):
        raise SourceError(
            f"'{batch}' is no binary batch of CIFAR-10: {len(data)} bytes are not records of {_RECORD} that begin "
            f"with a class below {len(names)}",
            hint="Give test_batch.bin of cifar-10-binary.tar.gz.",
        )
    records = data.reshape(-1, _RECORD)
    pixels = records[:, 1:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        for name in names:
            (beside / name).mkdir(parents=True, exist_ok=True)
        for number, (label, picture) in enumerate(zip(records[:, 0], pixels, strict=True)):
            Image.fromarray(np.ascontiguousarray(picture)).save(beside / names[label] / f"{number:05}.png")
        beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return out
