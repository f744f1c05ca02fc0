"""The file of a flat inner-product FAISS index, read and written without FAISS.

The file is a header of 45 bytes and the rows (docs/formats.md). It is mapped, so opening it reads almost nothing. But
its rows are not aligned as numpy's matrix product needs them: that takes a copy, or the same rows from an aligned file.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.vectors import Rows, Vectors

# Name, dim, rows, two meaningless numbers, trained, metric, floats.
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
        If it is not a complete file of a flat inner-product index.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        if size < _HEADER.size:
            raise _invalid(path, "is not a FAISS index", f"it has {size} bytes")
        mapped = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        name, dim, rows, _, _, trained, metric, floats = _HEADER.unpack(mapped[: _HEADER.size].tobytes())
        if name[:2] != b"Ix":
            raise _invalid(path, "is not a FAISS index", f"it begins with {name!r}")
        if name != _FLAT_INNER_PRODUCT or metric != _INNER_PRODUCT:
            raise _invalid(path, "is not a flat inner-product index", f"it begins with {name!r}")
        if dim < 1 or rows < 0 or trained != _TRAINED or floats != rows * dim:
            raise _invalid(path, "is damaged", f"its header gives {rows} rows of {dim} in {floats} numbers")
        # The files of an index never change, so from here on no access can go beyond the end.
        if len(mapped) != _HEADER.size + 4 * floats:
            raise _invalid(path, "is damaged", f"it has {size} bytes instead of {_HEADER.size + 4 * floats}")
        self.dim, self._rows = int(dim), mapped[_HEADER.size :].reshape(rows, 4 * dim)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: Rows) -> Vectors:
        """The rows with these numbers, float32 of shape (len(rows), dim)."""
        return self._rows[rows].view(np.dtype("<f4"))

    @property
    def mapped(self) -> Vectors:
        """All rows as they are in the file, float32 of shape (n, dim), not aligned."""
        return np.ndarray((len(self._rows), self.dim), np.dtype("<f4"), self._rows.reshape(-1).data)

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


def _invalid(path: Path, problem: str, reason: str) -> IntegrityError:
    return IntegrityError(f"'{path}' {problem}: {reason}", hint="Build the index again.")
