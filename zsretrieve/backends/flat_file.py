"""The file of a flat inner-product FAISS index, read and written without FAISS.

Such a file is a header of 45 bytes and the rows (docs/formats.md). It is mapped, so opening it reads next to nothing.
The rows begin at an odd place, though, where numpy's matrix product does not take them: it wants a copy of them, or the
same rows from a file in which they lie aligned.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zsretrieve.errors import IntegrityError
from zsretrieve.vectors import Rows, Vectors

# Name, dim, rows, two numbers without a meaning, trained, metric, floats.
_HEADER = struct.Struct("<4siqqqBiQ")
_FLAT_INNER_PRODUCT, _MEANINGLESS, _TRAINED, _INNER_PRODUCT = b"IxFI", 1 << 20, 1, 0


class FlatFile:
    """A mapped file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    IntegrityError
        If it is anything but a whole file of a flat inner-product index.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        if size < _HEADER.size:
            raise _refused(path, "is not a FAISS index", f"it has {size} bytes")
        mapped = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        name, dim, rows, _, _, trained, metric, floats = _HEADER.unpack(mapped[: _HEADER.size].tobytes())
        if name[:2] != b"Ix":
            raise _refused(path, "is not a FAISS index", f"it begins with {name!r}")
        if name != _FLAT_INNER_PRODUCT or metric != _INNER_PRODUCT:
            raise _refused(path, "is not a flat inner-product index", f"it begins with {name!r}")
        if dim < 1 or rows < 0 or trained != _TRAINED or floats != rows * dim:
            raise _refused(path, "is damaged", f"its header tells of {rows} rows of {dim} in {floats} numbers")
        # Files of an index never change, so after this no access can go beyond the end.
        if len(mapped) != _HEADER.size + 4 * floats:
            raise _refused(path, "is damaged", f"it has {size} bytes instead of {_HEADER.size + 4 * floats}")
        self.dim, self._rows = int(dim), mapped[_HEADER.size :].reshape(rows, 4 * dim)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: Rows) -> Vectors:
        """The rows of these numbers, float32 of shape (len(rows), dim)."""
        return self._rows[rows].view(np.dtype("<f4"))

    def read(self) -> Vectors:
        """A copy of all rows, float32 of shape (n, dim)."""
        return self._rows.copy().view(np.dtype("<f4"))


def write(path: Path, parts: Sequence[Vectors], dim: int) -> None:
    """Write the rows of several arrays, float32 of shape (n_i, dim), as one index. Raises OSError."""
    rows = sum(map(len, parts))
    header = (_FLAT_INNER_PRODUCT, dim, rows, _MEANINGLESS, _MEANINGLESS, _TRAINED, _INNER_PRODUCT, rows * dim)
    with open(path, "wb") as file:
        file.write(_HEADER.pack(*header))
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype=np.dtype("<f4")).data)


def _refused(path: Path, what: str, why: str) -> IntegrityError:
    return IntegrityError(f"'{path}' {what}: {why}", hint="Build the index again.")
