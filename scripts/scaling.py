"""What bench_scale measures: each function is a step in a process of its own, and returns figures for JSON."""

from __future__ import annotations

import math
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import zsretrieve as zs
from zsretrieve.domain import kind_costs
from zsretrieve.domain.kind_names import parsed, usual_lists
from zsretrieve.domain.kind_sizes import index_bytes
from zsretrieve.domain.kinds import FLAT, Effort
from zsretrieve.domain.vectors import Vectors

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from kits.calibrated import Streamed
from kits.vector_gallery import streamed_gallery

K = 10
# Queries in a batch, and first queries after the cache of the files was dropped.
BATCH, COLD = 64, 20
# A measurement of single queries ends after so many seconds, once there are some.
SECONDS, LEAST = 8.0, 3
# Distances to so many images give the mean distance.
SAMPLE = 20_000
GALLERY, QUERIES, TRUTH = "gallery", "queries.npz", "truth.npz"


def kinds_for(size: int, dim: int) -> list[str]:
    """The kinds to measure: above a million only those that two cores make in minutes."""
    lists = usual_lists(size)
    half = f"PQ{dim // 2}x4fsr"
    if size > 1_000_000:
        # The time of k-means grows with the square of the lists, so there are half as many.
        return [f"IVF{lists // 2},{half}", f"IVF{lists // 2},SQ8"]
    kinds = [f"IVF{lists},{code}" for code in ("SQ8", half, f"PQ{dim // 4}x4fsr", f"PQ{dim // 8}x4fsr")]
    return ["Flat", "SQfp16", "SQ8", *kinds, f"RR{dim},IVF{lists},RaBitQfs", "HNSW32"]


def efforts_for(kind: str, dim: int) -> list[Effort]:
    """From the most to the least, so that the first measurement warms what the others read."""
    parts = parsed(kind, dim).parts
    if parts.links:
        return [Effort(near, ef=near) for near in (512, 256, 128, 64)]
    if parts.code == "PQ":
        depths: tuple[int, ...] = {2: (400, 100), 4: (1000, 400)}.get(dim // parts.pq, (2000, 1000))
    else:
        depths = (2000, 1000, 400) if parts.code == "RaBitQ" else (40,)
    if parts.lists is None:
        return [Effort(depth) for depth in depths]
    probes = [min(parts.lists, round(times * math.sqrt(parts.lists))) for times in (8, 4, 2, 1)]
    return [Effort(depth, some) for some in dict.fromkeys(probes) for depth in depths]


def measure_rates(place: Path, dim: int) -> dict[str, Any]:
    """How fast this machine is at the parts of the work, as a plan takes it."""
    return zs.measure_rates(dim, place).to_dict()


def planned(kind: str, result: dict[str, Any], effort: dict[str, Any]) -> dict[str, float]:
    """What a plan says of a kind with these rates: bytes, seconds to make it, and milliseconds of a query."""
    rates, size, dim = zs.Rates(**result["rates"]), result["size"], result["dim"]
    looked = Effort(effort.get("depth", 0), effort.get("probes"), effort.get("ef"))
    return {
        "bytes": index_bytes(kind, dim, size),
        "make_s": 0.0 if kind == FLAT else kind_costs.making_seconds(kind, dim, size, rates),
        "one_ms": 1e3 * kind_costs.query_seconds(kind, dim, size, looked, rates),
    }


def family(kind: str, dim: int) -> str:
    """The family of a kind, as plans name it."""
    parts = parsed(kind, dim).parts
    named = re.sub(r"IVF\d+", "IVF*", kind).replace(f"RR{dim}", "RRD")
    return named.replace(f"PQ{parts.pq}x", f"PQD/{dim // parts.pq}x") if parts.pq else named


def roots(kind: str, probes: int) -> int:
    """The lists that are searched in square roots of their number."""
    return round(probes / math.sqrt(int(re.findall(r"IVF(\d+)", kind)[0])))


def make_gallery(place: Path, size: int, dim: int, queries: int) -> dict[str, Any]:
    """Write a gallery of the kind Flat, and the queries, unless they are there."""
    source = Streamed(size, dim)
    if not (place / QUERIES).exists():
        started = time.perf_counter()
        streamed_gallery(place / GALLERY, source.images(), size, dim)
        print(f"gallery: {time.perf_counter() - started:.0f} s", file=sys.stderr)
        images, texts = source.queries(queries)
        np.savez(place / QUERIES, images=images, texts=texts)
    return {}


def answer_exactly(place: Path) -> dict[str, Any]:
    """Find the ten best of every query among all images, unless they are there; how hard the queries are."""
    if not (place / TRUTH).exists():
        gallery, queries = zs.open_gallery(place / GALLERY), np.load(place / QUERIES)
        some = np.sort(
            np.random.default_rng(0).choice(len(gallery.live), min(SAMPLE, len(gallery.live)), replace=False)
        )
        sample = gallery.live.take(some)
        # All queries at once, since a pass over all vectors may have to read them from the disk.
        names = ("images", "texts")
        rows = gallery.nearest(np.vstack([queries[name] for name in names]), K, exact=True)[0]
        found = dict(zip(names, np.split(rows, len(names)), strict=True))
        for name in names:
            far = _distances(queries[name] @ sample.T).mean(axis=1)
            near = np.einsum("nd,nd->n", gallery.index.stored(found[name][:, -1]), queries[name])
            found[f"{name}_contrast"] = np.mean(far / _distances(near))
        np.savez(place / TRUTH, **found)
    truth = np.load(place / TRUTH)
    return {f"{name}_contrast": float(truth[f"{name}_contrast"]) for name in ("images", "texts")}


def make(place: Path, kind: str, memory: int | None) -> dict[str, Any]:
    """Make the index of a gallery again: seconds of all and of the stages, bytes of the index and of memory.

    It is made within ``memory`` bytes, if these are given.
    """
    began: dict[str, float] = {}
    ended: dict[str, float] = {}

    def on_stage(stage: str, *_: int) -> None:
        began.setdefault(stage, time.perf_counter())
        ended[stage] = time.perf_counter()

    with _peak() as peak:
        started = time.perf_counter()
        manifest = zs.set_index_kind(place / GALLERY, kind, memory=None if kind == FLAT else memory, on_stage=on_stage)
        took = time.perf_counter() - started
    training = ended.get("training the index", 0) - began.get("training the index", 0)
    files = {name: entry.bytes for name, entry in manifest.files.items() if name.endswith(".faiss")}
    held = sum(size for name, size in files.items() if kind == FLAT or name != manifest.index)
    return {"make_s": took, "train_s": training, "index_bytes": held, "make_bytes": peak[0]}


def search(place: Path, kind: str, repeats: int) -> dict[str, Any]:
    """Search with every effort: recall of both kinds of queries, latency, and memory."""
    queries, truth = dict(np.load(place / QUERIES)), np.load(place / TRUTH)
    with _peak() as peak:
        gallery = zs.open_gallery(place / GALLERY)
        dim = gallery.manifest.dim
        _forget(place / GALLERY / str(gallery.manifest.index))
        gallery.nearest(queries["images"][:1], K)  # opens the index
        cold = _one_by_one(gallery, queries["images"][1 : 1 + COLD]) if kind != FLAT else []
        tried: list[dict[str, Any]] = []
        for effort in [None] if kind == FLAT else efforts_for(kind, dim):
            found = gallery if effort is None else _with(gallery, effort)
            one: dict[str, Any] = {} if effort is None else asdict(effort)
            for name in ("images", "texts"):
                rows = truth[name] if kind == FLAT else found.nearest(queries[name], K)[0]
                shares = np.array([np.isin(want, have).mean() for have, want in zip(rows, truth[name], strict=True)])
                one |= {name: float(shares.mean()), f"{name}_p5": float(np.percentile(shares, 5))}
            one["one_ms"] = _one_by_one(found, queries["texts"])
            batch = queries["texts"][:BATCH]
            one["batch_ms"] = [_seconds(found, batch) * 1e3 / len(batch) for _ in range(repeats)]
            tried.append(one)
    return {"search_bytes": peak[0], "efforts": tried, "cold_ms": cold}


def _with(gallery: zs.Gallery, effort: Effort) -> zs.Gallery:
    assert gallery.approximate is not None
    gallery.approximate.made = replace(gallery.approximate.made, effort=effort)
    return gallery


def _one_by_one(gallery: zs.Gallery, queries: Vectors) -> list[float]:
    """Milliseconds of single queries."""
    taken: list[float] = []
    for query in queries:
        taken.append(_seconds(gallery, query[None]) * 1e3)
        if len(taken) >= LEAST and sum(taken) > SECONDS * 1e3:
            break
    return taken


def _seconds(gallery: zs.Gallery, queries: Vectors) -> float:
    started = time.perf_counter()
    gallery.nearest(queries, K)
    return time.perf_counter() - started


def _distances(scores: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * scores, 0))


def _forget(file: Path) -> None:
    """Let the system drop a file from its cache, so that reading it is reading the disk."""
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _peak() -> Iterator[list[int]]:
    """The most memory that the process has of its own while the block runs, in bytes, sampled."""
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], _own())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def _own() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])
