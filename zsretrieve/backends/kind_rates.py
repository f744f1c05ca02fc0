"""Measuring how fast this machine makes and searches indexes. Everything here imports FAISS.

What is measured is small, so that it takes about a minute: the parts of the work, on as many vectors as do not fit in a
processor's cache. ``domain.plans`` puts them together for any number of vectors.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from zsretrieve.backends import flat_file, products
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.domain.ranking import best_of
from zsretrieve.domain.rates import Rates, without_lists
from zsretrieve.domain.vectors import Rows, Vectors, unit_rows

_FAISS: Any = faiss
# Together 128 MB of vectors of 512 dimensions, in lists as long as those of a million.
_ROWS, _LISTS, _BLOCK = 1 << 16, 128, 1 << 13
_CENTROIDS, _ASSIGNED = 4096, 1 << 14
_DEPTH, _COMPARED, _QUERIES = 400, 1600, 24
_LINKS, _EF = 32, 256
_FILE_BYTES = 1 << 29
_REPEATS = 5


def measure(dim: int, folder: Path, on_stage: OnStage | None = None) -> Rates:
    """See ``api.planning.measure_rates``; ``folder`` is on the disk that is measured."""
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.standard_normal((_ROWS, dim), dtype=np.float32))
    queries = vectors[rng.choice(_ROWS, _QUERIES, replace=False)]
    with one_step(on_stage, "measuring products"):
        operations = _operations(vectors)
    encoded: dict[str, float] = {}
    with one_step(on_stage, "measuring Flat"):
        scanned = _flat(vectors, queries)
    for name, kind in _kinds(dim).items():
        with one_step(on_stage, f"measuring {kind}"):
            encoded[name], scanned[name] = _codes(kind, vectors, queries)
    for name, kind in ((without_lists("SQ16"), "SQfp16"), (without_lists("SQ8"), "SQ8")):
        with one_step(on_stage, f"measuring {kind}"):
            encoded[name], scanned[name] = _mapped(kind, vectors, queries, folder)
    with one_step(on_stage, "measuring a graph"):
        walked = _walked(vectors, queries)
    with one_step(on_stage, "measuring the disk"):
        written, read, compared = _disk(vectors, queries[0], folder, rng)
    return Rates(
        f"measured at {dim} dimensions", faiss.omp_get_max_threads(), operations, encoded, scanned, walked, compared,
        read, written,
    )  # fmt: skip


def _kinds(dim: int) -> dict[str, str]:
    """A kind for each family of codes, with so few lists that finding them takes no time."""
    parts = dim // 2 if dim % 2 == 0 else dim
    return {
        "SQ16": f"IVF{_LISTS},SQfp16",
        "SQ8": f"IVF{_LISTS},SQ8",
        "PQ": f"IVF{_LISTS},PQ{parts}x4fsr",
        "RaBitQ": f"RR{dim},IVF{_LISTS},RaBitQfs",
    }


def _operations(vectors: Vectors) -> float:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors[:_CENTROIDS])
    some = vectors[:_ASSIGNED]
    took = _median(lambda: index.search(some, 1))
    return float(2 * len(some) * _CENTROIDS * vectors.shape[1] / took)


def _flat(vectors: Vectors, queries: Vectors) -> dict[str, float]:
    """Bytes that an exact search compares on all cores, and FAISS on one, of as many centroids as its cache holds."""
    exact = _median_of_each(lambda query: products.best(query, [vectors], 10), queries, vectors)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors[:_CENTROIDS])
    near = _median(lambda: index.search(queries[:1], _LISTS))
    return {"Flat": vectors.nbytes / exact, "centroids": vectors[:_CENTROIDS].nbytes / near}


def _codes(kind: str, vectors: Vectors, queries: Vectors) -> tuple[float, float]:
    """Numbers encoded, and bytes of codes scanned."""
    dim = vectors.shape[1]
    index = _FAISS.index_factory(dim, kind, faiss.METRIC_INNER_PRODUCT)
    inner: Any = faiss.extract_index_ivf(index)
    inner.cp.niter = 2
    index.train(vectors[: 1 << 14])
    took = _seconds(lambda: index.add(vectors))
    parameters = _FAISS.SearchParametersIVF(nprobe=_LISTS)
    searched = _median_of_each(lambda query: index.search(query, _DEPTH, params=parameters), queries, vectors)
    return vectors.size / took, len(vectors) * int(inner.code_size) / searched


def _mapped(kind: str, vectors: Vectors, queries: Vectors, folder: Path) -> tuple[float, float]:
    """The same of an index without lists, which grows block by block and is mapped as searches map it."""
    index = _FAISS.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[: 1 << 14])

    def grow() -> None:
        for start in range(0, len(vectors), _BLOCK):
            index.add(vectors[start : start + _BLOCK])

    took = _seconds(grow)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        faiss.write_index(index, file.name)
        mapped = faiss.read_index(file.name, faiss.IO_FLAG_MMAP_IFC)
        mapped.search(queries[:1], 10)
        searched = _median_of_each(lambda query: mapped.search(query, 10), queries)
    return vectors.size / took, float(index.ntotal * index.code_size / searched)


def _walked(vectors: Vectors, queries: Vectors) -> float:
    """Distances that a query computes in a graph, with all that a walk does beside."""
    index: Any = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    parameters = _FAISS.SearchParametersHNSW(efSearch=_EF)
    counted = _FAISS.cvar.hnsw_stats
    counted.reset()
    took = _median_of_each(lambda query: index.search(query, 10, params=parameters), queries)
    return float(counted.ndis) / len(queries) / took


def _disk(vectors: Vectors, query: Vectors, folder: Path, rng: np.random.Generator) -> tuple[float, float, float]:
    """Bytes written, and vectors compared exactly: from a file that the system has forgotten, and from its cache."""
    dim = vectors.shape[1]
    times = max(1, _FILE_BYTES // vectors.nbytes)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        path = Path(file.name)
        size = times * vectors.nbytes
        written = size / _seconds(lambda: _write(path, [vectors] * times, dim))
        with open(path, "rb") as opened:
            hashed = size / _seconds(lambda: hashlib.file_digest(opened, "sha256"))

        def compare(flat: flat_file.FlatFile) -> float:
            vectors.sum()  # a search has filled the processor's cache with codes
            rows = rng.choice(len(flat), _COMPARED, replace=False)  # always others, which no processor has in its cache
            take = partial(_taken, flat)
            return _seconds(lambda: best_of(query[None], rows[None], 10, fetch=take))

        from_disk = _COMPARED / statistics.median(compare(_forgotten(path)) for _ in range(_REPEATS))
        flat = flat_file.FlatFile(path)
        flat.mapped.sum()  # now all of it is in memory
        from_cache = _COMPARED / statistics.median(compare(flat) for _ in range(_QUERIES))
    return 1 / (1 / written + 1 / hashed), from_disk, from_cache


def _forgotten(path: Path) -> flat_file.FlatFile:
    """A file of vectors that the system has to read again, where it can be told to forget it."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return flat_file.FlatFile(path)


def _taken(flat: flat_file.FlatFile, rows: Rows) -> Vectors:
    return flat.take(rows.ravel()).reshape(*rows.shape, flat.dim)


def _write(path: Path, parts: Sequence[Vectors], dim: int) -> None:
    flat_file.write(path, parts, dim)
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _median_of_each(work: Callable[[Vectors], object], queries: Vectors, others: Vectors | None = None) -> float:
    """The seconds of the median query, each of which finds ``others`` in the processor's cache, if they are given.

    Of a large index, the queries before have left nothing there that the next one needs.
    """
    taken = []
    for query in queries:
        if others is not None:
            others.sum()
        taken.append(_seconds(partial(work, query[None])))
    return statistics.median(taken)


def _median(work: Callable[[], object]) -> float:
    return statistics.median(_seconds(work) for _ in range(_REPEATS))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
