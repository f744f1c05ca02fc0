"""FAISS flat inner product on the CPU, mirrored on the GPU where there is one.

The float32 vectors always stay in a CPU index: it is what is saved, what near-equal scores are settled from, and
what answers a k beyond the GPU's limit, a search among selected rows and a range search, none of which FAISS does on
a GPU. The GPU holds a copy, in half precision if asked.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import DeviceError, IntegrityError
from zsretrieve.ranking import check_k, check_rows, check_threshold, float32_score_error, settle, settle_range
from zsretrieve.vectors import Limits, Rows, Scores, Vectors, check_unit_rows

# faiss/gpu/impl: larger selections do not fit a block's shared memory and are refused.
GPU_MAX_K = 2048
# Rounding to half moves each factor by at most 2^-11 of itself, and unit rows bound the sum of products by 1.
_HALF_SCORE_ERROR = 2.0 * 2.0**-11
# Measured on 50,000 x 512: from about this many queries on, fetching the selected rows is not slower.
_FETCH_FROM = 16
_FETCHED_ROWS = 1 << 14


class FaissFlatIndex:
    """VectorIndex port over ``faiss.IndexFlatIP``.

    Parameters
    ----------
    index : faiss.IndexFlatIP
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``.
    half : bool
        Keep the GPU's copy in float16: half the memory; results stay exact.
    """

    factory = "Flat"

    def __init__(self, index: Any, device: str = "cpu", *, half: bool = False) -> None:
        self._cpu = index
        self._half = half and device != "cpu"
        self.device = device
        self._gpu: Any = None
        self._resources: Any = None

    @property
    def dim(self) -> int:
        return int(self._cpu.d)

    def __len__(self) -> int:
        return int(self._cpu.ntotal)

    def add(self, vectors: NDArray[np.float32]) -> None:
        self._cpu.add(check_unit_rows(vectors, self.dim))
        self._gpu = None

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
        # FAISS keeps what is greater than its radius, and what rounds to just below the threshold must not be lost.
        radius = float(np.nextafter(np.float32(float(least) - error), np.float32(-np.inf)))
        parts = [self._in_range(asked, radius, part) for part in ([None] if among is None else _parts(among))]
        owners, scores, found = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return settle_range(asked, least, (owners, scores, found), fetch=self.stored, score_error=error)

    def stored(self, rows: NDArray[np.int64]) -> Vectors:
        found: Vectors = self._cpu.reconstruct_batch(rows.ravel())
        return found.reshape(*rows.shape, self.dim)

    def save(self, path: Path) -> None:
        try:
            faiss.write_index(self._cpu, str(path))
        except RuntimeError as error:
            raise OSError(f"FAISS cannot write it: {' '.join(str(error).split())[-120:]}") from error

    def _search(self, queries: Vectors, k: int) -> tuple[Scores, Rows]:
        index = self._cpu if self.device == "cpu" or k > GPU_MAX_K else self._mirror()
        scores, rows = index.search(queries, k)
        return scores, rows

    def _search_among(self, among: Rows, queries: Vectors, k: int) -> tuple[Scores, Rows]:
        """FAISS's own selection is quick for a few queries; for many, products of the fetched rows are several times
        quicker, since its matrix product takes no selection.
        """
        if len(queries) < _FETCH_FROM:
            chosen = faiss.SearchParameters(sel=faiss.IDSelectorArray(among))  # type: ignore[call-arg]
            scores, rows = self._cpu.search(queries, k, params=chosen)
            return scores, rows
        scores, rows = np.empty((len(queries), 0), dtype=np.float32), np.empty((len(queries), 0), dtype=np.int64)
        for part in _parts(among):
            more, places = faiss.knn(queries, self._block(part), min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
            scores, rows = np.hstack((scores, more)), np.hstack((rows, part[places]))
            by = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, rows = np.take_along_axis(scores, by, axis=1), np.take_along_axis(rows, by, axis=1)
        return scores, rows

    def _in_range(self, queries: Vectors, radius: float, part: Rows | None) -> tuple[Rows, Scores, Rows]:
        index = self._cpu
        if part is not None:
            index = faiss.IndexFlatIP(self.dim)
            index.add(self._block(part))
        limits, scores, places = index.range_search(queries, radius)
        owners = np.repeat(np.arange(len(queries), dtype=np.int64), np.diff(limits.astype(np.int64)))
        return owners, scores, places if part is None else part[places]

    def _block(self, rows: Rows) -> Vectors:
        if rows[-1] - rows[0] + 1 > len(rows):
            return self.stored(rows)
        every: Vectors = faiss.rev_swig_ptr(self._cpu.get_xb(), len(self) * self.dim).reshape(-1, self.dim)
        return every[rows[0] : rows[-1] + 1]

    def _mirror(self) -> Any:
        if self._gpu is None:
            options = faiss.GpuClonerOptions()
            options.useFloat16 = self._half
            self._resources = faiss.StandardGpuResources()
            self._gpu = faiss.index_cpu_to_gpu(self._resources, gpu_number(self.device), self._cpu, options)
        return self._gpu


def _parts(among: Rows) -> list[Rows]:
    """A selection in parts small enough to be fetched."""
    return [among[start : start + _FETCHED_ROWS] for start in range(0, len(among), _FETCHED_ROWS)]


class FaissBackend:
    """IndexBackend port over FAISS.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU that FAISS sees, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
    half : bool
        Keep GPU copies in float16.

    Raises
    ------
    DeviceError
        If FAISS does not see the GPU asked for.
    """

    def __init__(self, device: str = "auto", *, half: bool = False) -> None:
        gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
        if device == "auto":
            device = "cuda" if gpus else "cpu"
        if device != "cpu" and gpu_number(device) >= gpus:
            raise DeviceError(f"FAISS sees {gpus} GPUs, so not '{device}'", hint="Use --device cpu.")
        self.device = device
        self._half = half

    def create(self, dim: int) -> FaissFlatIndex:
        return FaissFlatIndex(faiss.IndexFlatIP(dim), self.device, half=self._half)

    def load(self, path: Path) -> FaissFlatIndex:
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-160:]
            raise IntegrityError(f"'{path}' is not a FAISS index: {reason}", hint="Build the index again.") from error
        if not isinstance(index, faiss.IndexFlat) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise IntegrityError(f"'{path}' is not a flat inner-product index", hint="Build the index again.")
        return FaissFlatIndex(index, self.device, half=self._half)


def gpu_number(device: str) -> int:
    """The number in ``cuda:N``, 0 for ``cuda``. Raises DeviceError for anything else."""
    name, _, number = device.partition(":")
    if name != "cuda" or (number and not number.isdigit()):
        raise DeviceError(f"'{device}' is not a device", hint="Use auto, cpu, cuda or cuda:0.")
    return int(number or 0)
