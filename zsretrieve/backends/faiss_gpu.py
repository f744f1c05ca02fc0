"""Copies of an index on GPUs, in FAISS. Everything here imports FAISS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np

from zsretrieve.backends import products
from zsretrieve.domain.vectors import Rows, Scores, Vectors

# FAISS refuses a larger k on a GPU: the selection does not fit a block's shared memory.
MAX_K = 2048
# By default FAISS claims 1.5 GiB of each GPU at once, which a model may need. A search that needs more than this
# allocates it for itself.
_SCRATCH_BYTES = 256 << 20


def count() -> int:
    """How many GPUs FAISS sees; 0 if it is built for CPUs only."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


def empty_index(dim: int, number: int, *, half: bool) -> Any:
    """A flat inner-product index on a GPU, ``faiss.GpuIndexFlatIP``."""
    config = faiss.GpuIndexFlatConfig()
    config.device = number
    config.useFloat16 = half
    return faiss.GpuIndexFlatIP(_resources(), dim, config)


class Mirror:
    """A copy of the rows of an index, on one GPU or several.

    Parameters
    ----------
    factories : sequence of callables
        Each creates an empty FAISS index on its GPU.
    parts : sequence of float32 arrays of shape (n_i, dim)
        All rows, one array after the other.
    sharded : bool
        Put a range of the rows on each GPU. Otherwise each gets all rows and answers a part of the queries.
    """

    def __init__(
        self, factories: Sequence[Callable[[], Any]], parts: Sequence[Vectors], *, sharded: bool = False
    ) -> None:
        self._indexes = [factory() for factory in factories]
        self._sharded = sharded and len(factories) > 1
        size = sum(map(len, parts))
        # Row r of index i is row starts[i] + r of all.
        self._starts = [size * i // len(factories) if self._sharded else 0 for i in range(len(factories))]
        ends = [*self._starts[1:], size] if self._sharded else [size] * len(factories)
        first = 0
        for part in parts:
            for index, start, end in zip(self._indexes, self._starts, ends, strict=True):
                rows = part[max(0, start - first) : max(0, end - first)]
                if len(rows):
                    index.add(rows)
            first += len(part)

    def add(self, vectors: Any) -> None:
        """Append unit rows of shape (n, dim): a float32 array, or a float32 torch tensor, which stays on its GPU. If
        the rows are split over several GPUs, the last one gets them.
        """
        for index in self._indexes[-1:] if self._sharded else self._indexes:
            if isinstance(vectors, np.ndarray):
                index.add(vectors)
            else:
                _add_tensor(index, vectors)

    def search(self, queries: Vectors, k: int) -> tuple[Scores, Rows]:
        """The k best rows for each query, best first, within the precision of the copy."""
        if len(self._indexes) == 1:
            scores, rows = self._indexes[0].search(queries, k)
            return scores, rows
        with ThreadPoolExecutor(len(self._indexes)) as pool:
            if not self._sharded:
                blocks = np.array_split(queries, len(self._indexes))
                answers = list(pool.map(lambda index, block: index.search(block, k), self._indexes, blocks))
                return np.concatenate([scores for scores, _ in answers]), np.concatenate([rows for _, rows in answers])
            shards = [(index, start) for index, start in zip(self._indexes, self._starts, strict=True) if index.ntotal]
            answers = list(pool.map(lambda shard: shard[0].search(queries, min(k, shard[0].ntotal)), shards))
        shifted = [(scores, rows + start) for (scores, rows), (_, start) in zip(answers, shards, strict=True)]
        return products.merged(shifted, k)


def _add_tensor(index: Any, vectors: Any) -> None:
    import faiss.contrib.torch_utils  # noqa: F401  (makes FAISS take tensors)
    import torch

    # FAISS waits for torch's work on the current GPU, which must be the index's.
    with torch.cuda.device(index.getDevice()):
        index.add(vectors.to(torch.device("cuda", index.getDevice())))


def _resources() -> Any:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_SCRATCH_BYTES)
    return resources
