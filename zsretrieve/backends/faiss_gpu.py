"""Copies of an index on GPUs, in FAISS. Everything here imports FAISS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np

from zsretrieve.backends import products
from zsretrieve.vectors import Rows, Scores, Vectors

# faiss/gpu/impl: larger selections do not fit a block's shared memory and are refused.
MAX_K = 2048
# By default FAISS claims 1.5 GiB of each GPU at once, which a model beside it may want. What does not fit here is
# allocated for one search.
_SCRATCH_BYTES = 256 << 20


def count() -> int:
    """How many GPUs FAISS sees; none where it is built for CPUs only."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


def empty_index(dim: int, number: int, *, half: bool) -> Any:
    """A flat inner-product index on a GPU, ``faiss.GpuIndexFlatIP``."""
    config = faiss.GpuIndexFlatConfig()
    config.device = number
    config.useFloat16 = half
    return faiss.GpuIndexFlatIP(_resources(), dim, config)


class Mirror:
    """The rows of an index once more, on one GPU or several.

    Parameters
    ----------
    makers : sequence of callables
        Each makes an empty FAISS index on a GPU of its own.
    parts : sequence of float32 arrays of shape (n_i, dim)
        All rows, one array after the other.
    sharded : bool
        Lay a run of the rows on each GPU. Otherwise each gets all of them, and answers a part of the queries.
    """

    def __init__(self, makers: Sequence[Callable[[], Any]], parts: Sequence[Vectors], *, sharded: bool = False) -> None:
        self._indexes = [maker() for maker in makers]
        self._sharded = sharded and len(makers) > 1
        size = sum(map(len, parts))
        # Row r of index i is row starts[i] + r of all.
        self._starts = [size * i // len(makers) if self._sharded else 0 for i in range(len(makers))]
        ends = [*self._starts[1:], size] if self._sharded else [size] * len(makers)
        first = 0
        for part in parts:
            for index, start, end in zip(self._indexes, self._starts, ends, strict=True):
                mine = part[max(0, start - first) : max(0, end - first)]
                if len(mine):
                    index.add(mine)
            first += len(part)

    def add(self, vectors: Any) -> None:
        """Append unit rows, of shape (n, dim): a float32 array, or a float32 tensor of torch, which does not leave its
        GPU. Of several GPUs that share the rows, the last gets them.
        """
        for index in self._indexes[-1:] if self._sharded else self._indexes:
            if isinstance(vectors, np.ndarray):
                index.add(vectors)
            else:
                _add_tensor(index, vectors)

    def search(self, queries: Vectors, k: int) -> tuple[Scores, Rows]:
        """The k best rows for each query, best first, as near as the precision of the copy allows."""
        if len(self._indexes) == 1:
            scores, rows = self._indexes[0].search(queries, k)
            return scores, rows
        with ThreadPoolExecutor(len(self._indexes)) as pool:
            if not self._sharded:
                blocks = np.array_split(queries, len(self._indexes))
                found = list(pool.map(lambda index, block: index.search(block, k), self._indexes, blocks))
                return np.concatenate([scores for scores, _ in found]), np.concatenate([rows for _, rows in found])
            holding = [(index, start) for index, start in zip(self._indexes, self._starts, strict=True) if index.ntotal]
            found = list(pool.map(lambda one: one[0].search(queries, min(k, one[0].ntotal)), holding))
        shifted = [(scores, rows + start) for (scores, rows), (_, start) in zip(found, holding, strict=True)]
        return products.merged(shifted, k)


def nearest(resources: Any, queries: Any, vectors: Any, k: int) -> tuple[Any, Any]:
    """The k rows of greatest inner product by FAISS's ``knn_gpu``.

    Parameters
    ----------
    resources : faiss.StandardGpuResources
    queries, vectors : torch.Tensor of shapes (n, dim) and (m, dim) on one GPU; float32, float16 or bfloat16
    k : int

    Returns
    -------
    scores, rows : torch.Tensor of shape (n, k), float32 and int64, on that GPU
    """
    import faiss.contrib.torch_utils
    import torch

    with torch.cuda.device(queries.device):
        scores, rows = faiss.knn_gpu(resources, queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows


def _add_tensor(index: Any, vectors: Any) -> None:
    import faiss.contrib.torch_utils  # noqa: F401  (makes FAISS take tensors)
    import torch

    # FAISS waits for what torch still does on the current GPU, which must be the index's.
    with torch.cuda.device(index.getDevice()):
        index.add(vectors.to(torch.device("cuda", index.getDevice())))


def _resources() -> Any:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_SCRATCH_BYTES)
    return resources
