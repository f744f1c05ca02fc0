"""Making approximate indexes part by part, so that neither rows nor the index need be in memory at once.

Everything here imports FAISS. What is trained, the centroids of the lists and the codebooks, is trained once on a
sample, and every part starts from a copy of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from zsretrieve.backends import devices, products
from zsretrieve.backends.faiss_kinds import damaged, effort_of, empty, inner, reason, try_selector
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_names import SUPPORTED, parsed
from zsretrieve.domain.making import BLOCK_BYTES, TRIALS
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.domain.vectors import Vectors
from zsretrieve.domain.wording import one_line
from zsretrieve.system import memory

_SEED = 0
# As OPQ trains by itself.
_OPQ_BITS = 8
_log = logging.getLogger("zsretrieve")
# FAISS's own stubs lack what its GPU builds add.
_FAISS: Any = faiss


class FaissPartMaker:
    """PartMaker port over a trained index without rows, ``faiss.Index``."""

    def __init__(self, kind: str, dim: int, index: Any) -> None:
        self._kind = kind
        self.effort = effort_of(index, parsed(kind, dim))
        # Copies of an index object do not exist for all kinds; bytes always do.
        self._trained = faiss.serialize_index(index)

    def write(self, vectors: Sequence[Vectors], path: Path, on_progress: Callable[[int], None] | None = None) -> None:
        """See ``PartMaker.write``."""
        try:
            index = faiss.deserialize_index(self._trained)
            for part in vectors:
                step = _rows(index.d)
                for start in range(0, len(part), step):
                    index.add(part[start : start + step])
                    memory.release(part)
                    if on_progress is not None:
                        on_progress(index.ntotal)
        except (MemoryError, RuntimeError) as error:
            why = one_line(error) if isinstance(error, MemoryError) else reason(error)
            raise UsageError(
                f"the index kind '{self._kind}' cannot be made of {sum(map(len, vectors)):,} images: {why}",
                hint="If the memory was too little, give the amount there is as `memory`, so that parts fit.",
            ) from error
        queries = next(part for part in vectors if len(part))[:TRIALS]
        try_selector(index, self._kind, queries, self.effort)
        try:
            faiss.write_index(index, str(path))
        except RuntimeError as error:
            raise OSError(reason(error)) from error


def trained(
    kind: str,
    dim: int,
    vectors: Sequence[Vectors],
    size: int,
    on_stage: OnStage | None = None,
    cache: Callable[[], Path] | None = None,
) -> FaissPartMaker:
    """See ``IndexBackend.train_candidates``; ``cache`` as in ``FaissBackend``."""
    index = empty(kind, dim)
    if not index.is_trained:
        kept = _quiet(index)
        with one_step(on_stage, "training the index"):
            sample = _sample(vectors, dim, size)
            assigning = _on_gpus(inner(index), cache)
            try:
                index.train(sample)
            except RuntimeError as error:
                raise UsageError(
                    f"the index kind '{kind}' cannot be made of {sum(map(len, vectors)):,} images: {reason(error)}",
                    hint=SUPPORTED,
                ) from error
            if assigning is not None:
                inner(index).clustering_index = None
            del kept
    return FaissPartMaker(kind, dim, index)


def _quiet(index: Any) -> list[Any]:
    """Let k-means be quiet about few rows for a centroid: the least number of images is checked before.

    Returns what OPQ trains with, which the index does not own, so it must live until that is done.
    """
    within, kept = inner(index), []
    clusterings = [within.cp] if isinstance(within, faiss.IndexIVF) else []
    clusterings += [within.pq.cp] if hasattr(within, "pq") else []
    if isinstance(index, faiss.IndexPreTransform):
        chain: Any = index.chain
        turns = (faiss.downcast_VectorTransform(chain.at(number)) for number in range(chain.size()))
        for turn in (one for one in turns if isinstance(one, faiss.OPQMatrix)):
            kept.append(faiss.ProductQuantizer(turn.d_out, turn.M, _OPQ_BITS))
            turn.pq = kept[-1]
            clusterings.append(kept[-1].cp)
    for one in clusterings:
        one.min_points_per_centroid = 1
    return kept


def _on_gpus(index: Any, cache: Callable[[], Path] | None) -> Any:
    """Let an index with lists find its centroids on the GPUs that FAISS sees; what it uses there, or None.

    The index does not own that, so it must live as long as the index may use it.
    """
    if not isinstance(index, faiss.IndexIVF) or devices.usable("auto", cache) == "cpu":
        return None
    _log.info("the centroids of the lists are found on the GPU")
    assigning = _FAISS.index_cpu_to_all_gpus(faiss.IndexFlatIP(index.d))
    index.clustering_index = assigning
    return assigning


def trained_for(kind: str, dim: int, path: Path) -> FaissPartMaker:
    """See ``IndexBackend.trained_candidates``."""
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise damaged(path, error) from error
    index.reset()
    return FaissPartMaker(kind, dim, index)


def _rows(dim: int) -> int:
    """How many rows are read at a time."""
    return max(1, BLOCK_BYTES // (4 * dim))


def _sample(vectors: Sequence[Vectors], dim: int, size: int) -> Vectors:
    """Rows drawn at random, in their order, float32 of shape (size, dim)."""
    count = sum(map(len, vectors))
    rows = np.sort(np.random.default_rng(_SEED).choice(count, size, replace=False))
    sample = np.empty((size, dim), np.float32)
    step = _rows(dim) // 8  # a row that is read brings its neighbours with it
    for start in range(0, size, step):
        products.gathered(vectors, rows[start : start + step], dim, out=sample[start : start + step])
        for part in vectors:
            memory.release(part)
    return sample
