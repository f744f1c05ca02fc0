"""Approximate indexes of any kind that FAISS makes from a factory string. Everything here imports FAISS.

They name candidates, whose scores others compute: what FAISS says of scores, ties and order is not used. All compare by
inner product, so that k-means is spherical: with Euclidean centroids texts are led to the wrong lists. An index never
changes after it was written, because FAISS aborts the process if a mapped one is changed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from zsretrieve.backends import products
from zsretrieve.domain.errors import IntegrityError, UsageError
from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.domain.wording import one_line

# FAISS's own stubs lack what its Python layer adds.
_FAISS: Any = faiss

_PLACE = re.compile(r"^.*?\.(cpp|h):\d+: (Error: '.*?' failed:? ?)?")
_LISTS = re.compile(r"(?:^|,)IVF(\d+)")
# Below that, FAISS warns that centroids are not worth much.
_ROWS_PER_LIST = 39
# Training on more changes centroids little and takes long.
_SAMPLE, _SAMPLE_PER_LIST = 1 << 16, 100
_SEED = 0
_ADDED_AT_ONCE = 1 << 16
# Those that take a selector of rows; of the others some refuse one, and some ignore it.
_FILTERED = (faiss.IndexIVF, faiss.IndexHNSW, faiss.IndexScalarQuantizer, faiss.IndexRaBitQ, faiss.IndexFlat)
_KNOWN = "Use Flat, SQfp16, SQ8, HNSW32, IVF1024,Flat, IVF1024,PQ128x4fsr or auto (docs/index-kinds.md)."

# Candidates for an exact comparison, by how coarse the codes are; measured on texts (docs/decisions/0016).
_DEPTH, _DEPTH_OF_PQ, _DEPTH_OF_ONE_BIT = 100, 400, 1000
_EF = 256


def check(kind: str, dim: int, count: int) -> None:
    """See ``IndexBackend.check_kind``."""
    lists = _LISTS.search(kind)
    least = 1 if lists is None else _ROWS_PER_LIST * int(lists[1])
    if count < least:
        raise UsageError(
            f"the index kind '{kind}' needs {least:,} or more images, and there are {count:,}",
            hint=f"Use at most IVF{max(1, count // _ROWS_PER_LIST)}, or auto, which fits the number.",
        )
    _empty(kind, dim)


def make(kind: str, dim: int, parts: Sequence[Vectors], path: Path, on_stage: OnStage | None = None) -> Effort:
    """See ``IndexBackend.make_candidates``."""
    index = _empty(kind, dim)
    count = sum(map(len, parts))
    if not index.is_trained:
        sample = _sample(parts, dim, count, getattr(_inner(index), "nlist", 0))
        with one_step(on_stage, "training the index"):
            try:
                index.train(sample)
            except RuntimeError as error:  # codes may need more rows than lists do
                raise UsageError(
                    f"the index kind '{kind}' cannot be made of {count:,} images: {_reason(error)}",
                    hint=_KNOWN,
                ) from error
    done = 0
    for part in parts:
        for start in range(0, len(part), _ADDED_AT_ONCE):
            block = part[start : start + _ADDED_AT_ONCE]
            index.add(block)
            done += len(block)
            if on_stage is not None:
                on_stage("filling the index", done, count)
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise OSError(_reason(error)) from error
    return _effort(index)


class FaissCandidates:
    """CandidateIndex port over a file of FAISS, mapped as far as its kind can be.

    Parameters
    ----------
    path : Path

    Raises
    ------
    IntegrityError
        If it is not an index by inner product.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise IntegrityError(
                f"'{path}' is damaged: {_reason(error)}", hint="zsretrieve index repair makes it again."
            ) from error
        self._inner = _inner(self._index)
        self.dim = int(self._index.d)
        self.starves = isinstance(self._inner, faiss.IndexHNSW)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def candidates(self, queries: Vectors, depth: int, effort: Effort, among: NDArray[np.bool_] | None = None) -> Rows:
        """See ``CandidateIndex.candidates``."""
        rows: Rows = self._index.search(queries, depth, params=self._parameters(depth, effort, among))[1]
        return rows

    def _parameters(self, depth: int, effort: Effort, among: NDArray[np.bool_] | None) -> Any:
        given: dict[str, Any] = {}
        if among is not None:
            given["sel"] = _FAISS.IDSelectorBitmap(np.packbits(among, bitorder="little"))
        if isinstance(self._inner, faiss.IndexHNSW):
            # A walk keeps only what is selected, so it must see more to keep as much.
            share = 1.0 if among is None else float(among.mean())
            return _FAISS.SearchParametersHNSW(efSearch=math.ceil(max(effort.ef or _EF, depth) / share), **given)
        if isinstance(self._inner, faiss.IndexIVF):
            lists = int(self._inner.nlist)
            return _FAISS.SearchParametersIVF(nprobe=min(effort.probes or _probes(lists), lists), **given)
        return faiss.SearchParameters(**given)


def _empty(kind: str, dim: int) -> Any:
    """An index without rows. Raises UsageError."""
    try:
        index = faiss.index_factory(dim, kind, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UsageError(f"FAISS has no index kind '{kind}' for vectors of {dim} dimensions", hint=_KNOWN) from error
    if isinstance(index, faiss.IndexRefine):
        raise UsageError(
            f"the index kind '{kind}' refines its results, and every search here compares candidates exactly",
            hint="Leave the refinement out.",
        )
    if not isinstance(_inner(index), _FILTERED) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise UsageError(f"the index kind '{kind}' cannot leave out removed and filtered images", hint=_KNOWN)
    return index


def _reason(error: RuntimeError) -> str:
    """What FAISS says, without the place in its source."""
    return _PLACE.sub("", str(error)) or one_line(error)


def _inner(index: Any) -> Any:
    """The index behind rotations and the like."""
    while isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    return index


def _sample(parts: Sequence[Vectors], dim: int, count: int, lists: int) -> Vectors:
    size = min(count, max(_SAMPLE, _SAMPLE_PER_LIST * lists))
    rows = np.sort(np.random.default_rng(_SEED).choice(count, size, replace=False))
    return products.gathered(parts, rows, dim)


def _probes(lists: int) -> int:
    return min(lists, math.ceil(4 * math.sqrt(lists)))


def _effort(index: Any) -> Effort:
    inner = _inner(index)
    if isinstance(inner, faiss.IndexHNSW):
        return Effort(_DEPTH, ef=_EF)
    name = type(inner).__name__
    depth = _DEPTH_OF_ONE_BIT if "RaBitQ" in name else _DEPTH_OF_PQ if "PQ" in name or inner is not index else _DEPTH
    return Effort(depth, _probes(int(inner.nlist)) if isinstance(inner, faiss.IndexIVF) else None)
