"""Approximate indexes of any kind that FAISS makes from a factory string. Everything here imports FAISS.

They name candidates, whose scores others compute: what FAISS says of scores, ties and order is not used. All compare by
inner product, so that k-means is spherical: with Euclidean centroids texts are led to the wrong lists. An index never
changes after it was written, because FAISS aborts the process if a mapped one is changed.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import IntegrityError, UsageError
from zsretrieve.domain.kind_names import ROWS_PER_LIST, SUPPORTED, KindName, parsed
from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.making import TRIALS
from zsretrieve.domain.vectors import Rows, Scores, Vectors
from zsretrieve.domain.wording import one_line

# FAISS's own stubs lack what its Python layer adds.
_FAISS: Any = faiss

_PLACE = re.compile(r"^.*?\.(cpp|h):\d+: (Error: '.*?' failed:? ?)?")

# Candidates for an exact comparison, more where codes are coarse; measured on texts (docs/decisions/0016).
_DEPTH, _DEPTH_IF_COARSE = 400, 1000
_EF = 256


def check(kind: str, dim: int, count: int) -> None:
    """See ``IndexBackend.check_kind``."""
    least = parsed(kind, dim).least
    if count < least:
        raise UsageError(
            f"the index kind '{kind}' needs {least:,} or more images, and there are {count:,}",
            hint=f"Use at most IVF{max(1, count // ROWS_PER_LIST)}, SQ8, or auto, which fits the number.",
        )
    empty(kind, dim)


def try_selector(index: Any, kind: str, queries: Vectors, effort: Effort) -> None:
    """Search among every other row. Raises UsageError if the index refuses to, or finds others."""
    among = np.arange(index.ntotal) % 2 == 0
    refused = UsageError(f"the index kind '{kind}' cannot leave out removed and filtered images", hint=SUPPORTED)
    try:
        found = index.search(queries, min(TRIALS, len(among)), params=_parameters(index, TRIALS, effort, among))[1]
    except RuntimeError as error:
        raise refused from error
    if not among[found[found >= 0]].all():
        raise refused


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
            raise damaged(path, error) from error
        self._path = path
        self.dim = int(self._index.d)
        self.starves = isinstance(inner(self._index), faiss.IndexHNSW)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def candidates(
        self, queries: Vectors, depth: int, effort: Effort, among: NDArray[np.bool_] | None = None
    ) -> tuple[Scores, Rows]:
        """See ``CandidateIndex.candidates``."""
        scores: Scores
        rows: Rows
        if among is not None and not among.any():
            return np.full((len(queries), depth), -np.inf, np.float32), np.full((len(queries), depth), -1, np.int64)
        parameters = _parameters(self._index, depth, effort, among)
        try:
            scores, rows = self._index.search(queries, depth, params=parameters)
        except RuntimeError as error:
            raise damaged(self._path, error) from error
        scores[rows < 0] = -np.inf
        return scores, rows


def _parameters(index: Any, depth: int, effort: Effort, among: NDArray[np.bool_] | None) -> Any:
    given: dict[str, Any] = {}
    if among is not None:
        given["sel"] = _FAISS.IDSelectorBitmap(np.packbits(among, bitorder="little"))
    within = inner(index)
    if isinstance(within, faiss.IndexHNSW):
        # A walk keeps only what is selected, so it must see more to keep as much.
        share = 1.0 if among is None else float(among.mean())
        return _FAISS.SearchParametersHNSW(efSearch=math.ceil(max(effort.ef or _EF, depth) / share), **given)
    if isinstance(within, faiss.IndexIVF):
        lists = int(within.nlist)
        return _FAISS.SearchParametersIVF(nprobe=min(effort.probes or _probes(lists), lists), **given)
    return faiss.SearchParameters(**given)


def damaged(path: Path, error: RuntimeError) -> IntegrityError:
    """The error for a file that FAISS refuses."""
    return IntegrityError(f"'{path}' is damaged: {reason(error)}", hint="zsretrieve index repair makes it again.")


def empty(kind: str, dim: int) -> Any:
    """An index without rows. Raises UsageError."""
    try:
        return faiss.index_factory(dim, kind, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:  # an earlier FAISS
        raise UsageError(f"this FAISS does not have the index kind '{kind}'", hint="Upgrade FAISS.") from error


def reason(error: RuntimeError) -> str:
    """What FAISS says, without the place in its source."""
    return _PLACE.sub("", str(error)) or one_line(error)


def inner(index: Any) -> Any:
    """The index behind rotations and the like."""
    while isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    return index


def _probes(lists: int) -> int:
    return min(lists, math.ceil(4 * math.sqrt(lists)))


def effort_of(index: Any, name: KindName) -> Effort:
    """What a search looks at by default."""
    within = inner(index)
    if isinstance(within, faiss.IndexHNSW):
        return Effort(_EF, ef=_EF)
    depth = _DEPTH_IF_COARSE if name.is_coarse else _DEPTH
    return Effort(depth, _probes(int(within.nlist)) if isinstance(within, faiss.IndexIVF) else None)
