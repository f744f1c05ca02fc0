"""A flat inner-product index in FAISS's format: searched by numpy on the CPU, mirrored in FAISS on GPUs.

The float32 rows always stay in main memory. They are saved, settle near-equal scores, and answer what FAISS does not do
on a GPU: a k beyond its limit, searches among selected rows and range searches. The GPU holds a copy, in half precision
on request. Without a GPU, FAISS is not even imported.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.backends import flat_file, products
from zsretrieve.backends.devices import usable
from zsretrieve.backends.flat_file import FlatFile
from zsretrieve.domain.ports import CandidateIndex, OnStage, PartMaker
from zsretrieve.domain.ranking import (
    check_held,
    check_k,
    check_rows,
    check_threshold,
    float32_score_error,
    settle,
    settle_range,
)
from zsretrieve.domain.vectors import Limits, Rows, Scores, Vectors, check_unit_rows
from zsretrieve.system import extras
from zsretrieve.system.devices import gpu_numbers

if TYPE_CHECKING:
    from zsretrieve.backends.faiss_gpu import Mirror

# More added arrays than this are joined into one.
_PARTS = 16


class FaissFlatIndex:
    """VectorIndex port over a flat index.

    Parameters
    ----------
    dim : int
    file : FlatFile, optional
        The initial rows.
    aligned : sequence of float32 arrays of shape (n_i, dim)
        The same rows, one array after the other, aligned in memory as the matrix product needs them. Without these the
        first search copies them out of the file.
    device : str
        ``cpu``, ``cuda``, ``cuda:N``, ``cuda:all`` or several like ``cuda:0,cuda:1``.
    half : bool
        Keep the GPU's copy in float16: half the memory, and results stay exact.
    sharded : bool
        Split the copy over several GPUs instead of repeating it: for indexes larger than a GPU.
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
        # Read-only rows, such as a mapped file, cannot change under us and are not copied.
        self._append(rows.copy() if rows.flags.writeable else rows)
        if self._copy is not None:
            self._copy.add(rows)

    def add_tensor(self, vectors: Any) -> None:
        """Append rows from a torch encoder; on a GPU they go into its copy directly.

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
        queries = check_unit_rows(queries, self.dim, "queries")
        half = self._half and among is None
        return settle(
            queries,
            k,
            size,
            search=self._search if among is None else functools.partial(self._search_among, among),
            fetch=self.stored,
            score_error=half_score_error(self.dim) if half else float32_score_error(self.dim),
            keep_scores=not half,
        )

    def range_search(
        self, queries: NDArray[np.float32], threshold: float, rows: NDArray[np.int64] | None = None
    ) -> tuple[Limits, Scores, Rows]:
        among = None if rows is None else check_rows(rows, len(self))
        least = check_threshold(threshold)
        queries = check_unit_rows(queries, self.dim, "queries")
        error = float32_score_error(self.dim)
        # Rounding must not lose a score at the threshold.
        radius = float(np.nextafter(np.float32(float(least) - error), np.float32(-np.inf)))
        pairs = products.reached(queries, self._aligned(), radius, among)
        return settle_range(queries, least, pairs, fetch=self.stored, score_error=error)

    def stored(self, rows: NDArray[np.int64]) -> Vectors:
        check_held(rows, len(self))
        flat = rows.ravel()
        vectors = products.gathered(self._parts, flat, self.dim) if self._file is None else self._file.take(flat)
        return vectors.reshape(*rows.shape, self.dim)

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
        """All rows, in arrays that need no copy for the matrix product."""
        if self._file is not None and not self._parts:
            self._parts = [self._file.read()]
        elif len(self._parts) > _PARTS:
            self._parts = [np.concatenate(self._parts)]
        return self._parts

    def _mirror(self) -> Mirror:
        if self._copy is None:
            from zsretrieve.backends import faiss_gpu

            numbers = gpu_numbers(self.device, faiss_gpu.count(), "FAISS")
            factories = [
                functools.partial(faiss_gpu.empty_index, self.dim, number, half=self._half) for number in numbers
            ]
            self._copy = faiss_gpu.Mirror(factories, self._aligned(), sharded=self._sharded)
        return self._copy


class FaissBackend:
    """IndexBackend port over flat indexes, and FAISS's approximate kinds beside them, which stay on the CPU.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU that FAISS can use, else the CPU), ``cpu``, ``cuda``, ``cuda:N``, several like
        ``cuda:0,cuda:1``, or ``cuda:all``.
    half : bool
        Keep GPU copies in float16.
    sharded : bool
        Split copies over several GPUs. Otherwise each GPU holds a whole copy and answers a part of the queries.
    cache : callable, optional
        Returns the folder in which the outcome of testing a GPU is cached.

    Raises
    ------
    DeviceError
        If FAISS does not see the requested GPU. If it sees it but cannot search on it, that is logged, and indexes
        stay on the CPU.
    """

    def __init__(
        self,
        device: str = "auto",
        *,
        half: bool = False,
        sharded: bool = False,
        cache: Callable[[], Path] | None = None,
    ) -> None:
        self.device = usable(device, cache)
        self._half = half
        self._sharded = sharded
        self._cache = cache

    def create(self, dim: int) -> FaissFlatIndex:
        return self._index(dim, None, [])

    def load(self, path: Path, aligned: Sequence[Vectors] = ()) -> FaissFlatIndex:
        file = FlatFile(path)
        fit = sum(map(len, aligned)) == len(file) and all(_is_aligned(part, file.dim) for part in aligned)
        return self._index(file.dim, file, aligned if fit else [])

    def check_kind(self, kind: str, dim: int, count: int) -> None:
        extras.require_faiss(f"the index kind '{kind}'")
        from zsretrieve.backends import faiss_kinds

        faiss_kinds.check(kind, dim, count)

    def train_candidates(
        self, kind: str, dim: int, vectors: Sequence[Vectors], sample: int, on_stage: OnStage | None = None
    ) -> PartMaker:
        from zsretrieve.backends import faiss_making

        return faiss_making.trained(kind, dim, vectors, sample, on_stage, self._cache)

    def trained_candidates(self, kind: str, dim: int, path: Path) -> PartMaker:
        extras.require_faiss("an approximate index")
        from zsretrieve.backends import faiss_making

        return faiss_making.trained_for(kind, dim, path)

    def load_candidates(self, path: Path) -> CandidateIndex:
        extras.require_faiss("an approximate index")
        from zsretrieve.backends.faiss_kinds import FaissCandidates

        return FaissCandidates(path)

    def _index(self, dim: int, file: FlatFile | None, aligned: Sequence[Vectors]) -> FaissFlatIndex:
        return FaissFlatIndex(dim, file, aligned, self.device, half=self._half, sharded=self._sharded)


def half_score_error(dim: int) -> float:
    """The largest error of the inner product of two unit vectors in float16, summed in float32.

    Rounding moves each factor by at most 2^-11 of itself, or 2^-25 where it underflows.
    """
    return float32_score_error(dim) + 2.01 * 2.0**-11 + math.sqrt(dim) * 2.0**-23


def _is_aligned(part: Vectors, dim: int) -> bool:
    return part.dtype == np.float32 and part.shape[1] == dim and part.flags.aligned and part.flags.c_contiguous
