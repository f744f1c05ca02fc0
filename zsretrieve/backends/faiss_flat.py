"""A flat inner-product index in FAISS's format: searched by numpy on the CPU, mirrored in FAISS on GPUs.

The float32 rows always stay on this side: they are what is saved, what near-equal scores are settled from, and what
answers a k beyond the GPU's limit, a search among selected rows and a range search, none of which FAISS does on a GPU.
The GPU holds a copy, in half precision if asked. Without a GPU, FAISS itself is not even imported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.backends import flat_file, products
from zsretrieve.backends.devices import usable
from zsretrieve.backends.flat_file import FlatFile
from zsretrieve.devices import gpu_numbers
from zsretrieve.ranking import (
    check_held,
    check_k,
    check_rows,
    check_threshold,
    float32_score_error,
    settle,
    settle_range,
)
from zsretrieve.vectors import Limits, Rows, Scores, Vectors, check_unit_rows

if TYPE_CHECKING:
    from zsretrieve.backends.faiss_gpu import Mirror

# Rounding to half moves each factor by at most 2^-11 of itself, and unit rows bound the sum of products by 1.
_HALF_SCORE_ERROR = 2.0 * 2.0**-11
# Arrays that were added are joined into one before there are more to go through.
_PARTS = 16


class FaissFlatIndex:
    """VectorIndex port over a flat index.

    Parameters
    ----------
    dim : int
    file : FlatFile, optional
        The rows it begins with.
    aligned : sequence of float32 arrays of shape (n_i, dim)
        The rows of ``file`` once more, one array after the other, where they lie as the matrix product wants them.
        Without these the first search copies them out of the file.
    device : str
        ``cpu``, ``cuda``, ``cuda:N``, ``cuda:all`` or several like ``cuda:0,cuda:1``.
    half : bool
        Keep the GPU's copy in float16: half the memory; results stay exact.
    sharded : bool
        Lay a part of the copy on each of several GPUs, rather than all of it: for indexes larger than a GPU.
    """

    factory = "Flat"

    def __init__(
        self,
        dim: int,
        file: FlatFile | None = None,
        aligned: Sequence[Vectors] = (),
        device: str = "cpu",
        *,
        half: bool = False,
        sharded: bool = False,
    ) -> None:
        self.dim = dim
        self.device = device
        self._file = file
        self._parts = list(aligned)
        self._half = half and device != "cpu"
        self._sharded = sharded
        self._copy: Mirror | None = None

    def __len__(self) -> int:
        return sum(map(len, self._parts)) if self._file is None else len(self._file)

    def add(self, vectors: NDArray[np.float32]) -> None:
        rows = check_unit_rows(vectors, self.dim)
        # What cannot be written to, such as a mapped file, needs no copy to stay as it is.
        self._append(rows.copy() if rows.flags.writeable else rows)
        if self._copy is not None:
            self._copy.add(rows)

    def add_tensor(self, vectors: Any) -> None:
        """Append rows that a torch encoder made, on a GPU perhaps: the copy there gets them without a way round.

        Parameters
        ----------
        vectors : torch.Tensor of shape (n, dim), unit rows
        """
        rows = check_unit_rows(vectors.detach().float().cpu().numpy(), self.dim)
        if self.device != "cpu":
            self._mirror().add(vectors.detach().float().contiguous())
        self._append(rows)

    def search(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None = None
    ) -> tuple[Scores, Rows]:
        among = None if rows is None else check_rows(rows, len(self))
        size = len(self) if among is None else len(among)
        check_k(k, size)
        asked = check_unit_rows(queries, self.dim, "queries")
        error = float32_score_error(self.dim)
        half = self._half and among is None
        return settle(
            asked,
            k,
            size,
            search=self._search if among is None else functools.partial(self._search_among, among),
            fetch=self.stored,
            score_error=error + _HALF_SCORE_ERROR if half else error,
            keep_scores=not half,
        )

    def range_search(
        self, queries: NDArray[np.float32], threshold: float, rows: NDArray[np.int64] | None = None
    ) -> tuple[Limits, Scores, Rows]:
        among = None if rows is None else check_rows(rows, len(self))
        least = check_threshold(threshold)
        asked = check_unit_rows(queries, self.dim, "queries")
        error = float32_score_error(self.dim)
        # What rounds to just below the threshold must not be lost.
        radius = float(np.nextafter(np.float32(float(least) - error), np.float32(-np.inf)))
        found = products.reached(asked, self._aligned(), radius, among)
        return settle_range(asked, least, found, fetch=self.stored, score_error=error)

    def stored(self, rows: NDArray[np.int64]) -> Vectors:
        check_held(rows, len(self))
        flat = rows.ravel()
        found = products.gathered(self._parts, flat, self.dim) if self._file is None else self._file.take(flat)
        return found.reshape(*rows.shape, self.dim)

    def save(self, path: Path) -> None:
        flat_file.write(path, self._parts if self._file is None else [self._file.read()], self.dim)

    def _search(self, queries: Vectors, k: int) -> tuple[Scores, Rows]:
        if self.device != "cpu":
            from zsretrieve.backends.faiss_gpu import MAX_K

            if k <= MAX_K:
                return self._mirror().search(queries, k)
        return products.best(queries, self._aligned(), k)

    def _search_among(self, among: Rows, queries: Vectors, k: int) -> tuple[Scores, Rows]:
        return products.best_among(queries, self._aligned(), among, k)

    def _append(self, rows: Vectors) -> None:
        if self._file is not None:
            self._parts, self._file = self._aligned(), None
        self._parts.append(rows)

    def _aligned(self) -> list[Vectors]:
        """All rows, in arrays that the matrix product takes as they are."""
        if self._file is not None and not self._parts:
            self._parts = [self._file.read()]
        elif len(self._parts) > _PARTS:
            self._parts = [np.concatenate(self._parts)]
        return self._parts

    def _mirror(self) -> Mirror:
        if self._copy is None:
            from zsretrieve.backends import faiss_gpu

            numbers = gpu_numbers(self.device, faiss_gpu.count(), "FAISS")
            makers = [functools.partial(faiss_gpu.empty_index, self.dim, number, half=self._half) for number in numbers]
            self._copy = faiss_gpu.Mirror(makers, self._aligned(), sharded=self._sharded)
        return self._copy


class FaissBackend:
    """IndexBackend port over flat indexes.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU that FAISS can use, else the CPU), ``cpu``, ``cuda``, ``cuda:N``, several like
        ``cuda:0,cuda:1``, or ``cuda:all``.
    half : bool
        Keep GPU copies in float16.
    sharded : bool
        On several GPUs, lay a part of a copy on each. Otherwise each holds all of it and answers a part of the queries.
    memory : callable, optional
        Gives the folder in which it is remembered how a GPU did when it was tried.

    Raises
    ------
    DeviceError
        If FAISS does not see the GPU asked for. If it sees it but cannot search there, that is logged, and indexes stay
        on the CPU.
    """

    def __init__(
        self,
        device: str = "auto",
        *,
        half: bool = False,
        sharded: bool = False,
        memory: Callable[[], Path] | None = None,
    ) -> None:
        self.device = usable(device, memory)
        self._half = half
        self._sharded = sharded

    def create(self, dim: int) -> FaissFlatIndex:
        return self._index(dim, None, [])

    def load(self, path: Path, aligned: Sequence[Vectors] = ()) -> FaissFlatIndex:
        file = FlatFile(path)
        fit = sum(map(len, aligned)) == len(file) and all(_multiplied_as_it_is(part, file.dim) for part in aligned)
        return self._index(file.dim, file, aligned if fit else [])

    def _index(self, dim: int, file: FlatFile | None, aligned: Sequence[Vectors]) -> FaissFlatIndex:
        return FaissFlatIndex(dim, file, aligned, self.device, half=self._half, sharded=self._sharded)


def _multiplied_as_it_is(part: Vectors, dim: int) -> bool:
    return part.dtype == np.float32 and part.shape[1] == dim and part.flags.aligned and part.flags.c_contiguous
