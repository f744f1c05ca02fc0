"""FAISS flat inner product on the CPU, mirrored on the GPU where there is one.

The float32 vectors always stay in a CPU index: it is what is saved, what near-equal scores are settled from, and
what answers a k beyond the GPU's limit. The GPU holds a copy, in half precision if asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import DeviceError, IntegrityError
from zsretrieve.ranking import check_k, float32_score_error, settle
from zsretrieve.vectors import Rows, Scores, Vectors, check_unit_rows

# faiss/gpu/impl: larger selections do not fit a block's shared memory and are refused.
GPU_MAX_K = 2048
# Rounding to half moves each factor by at most 2^-11 of itself, and unit rows bound the sum of products by 1.
_HALF_SCORE_ERROR = 2.0 * 2.0**-11


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

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[Scores, Rows]:
        check_k(k, len(self))
        asked = check_unit_rows(queries, self.dim, "queries")
        error = float32_score_error(self.dim)
        return settle(
            asked,
            k,
            len(self),
            search=self._search,
            fetch=self.stored,
            score_error=error + _HALF_SCORE_ERROR if self._half else error,
            keep_scores=not self._half,
        )

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

    def _mirror(self) -> Any:
        if self._gpu is None:
            options = faiss.GpuClonerOptions()
            options.useFloat16 = self._half
            self._resources = faiss.StandardGpuResources()
            self._gpu = faiss.index_cpu_to_gpu(self._resources, gpu_number(self.device), self._cpu, options)
        return self._gpu


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
