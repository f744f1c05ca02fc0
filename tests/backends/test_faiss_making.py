"""Parts of approximate indexes as FAISS makes them: what they find beside one index, and what making them takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.calibrated import Calibrated, calibrated
from kits.vector_gallery import recall

from zsretrieve.backends import devices, faiss_making
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.candidates import CandidateParts, cut
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.ports import CandidateIndex
from zsretrieve.domain.vectors import Vectors
from zsretrieve.system import memory

N, DIM, K = 12_000, 32, 10
ENDS = (1000, 5500, 9000, N)
KINDS = ("IVF64,Flat", "IVF64,PQ16x4fsr", "RR32,IVF64,RaBitQfs", "PCA24,IVF64,SQ8", "SQfp16")


@pytest.fixture(scope="module")
def data() -> Calibrated:
    return calibrated(N, DIM, 100)


def parts_and_whole(kind: str, vectors: Vectors, folder: Path) -> tuple[CandidateIndex, CandidateIndex]:
    """An index in parts that share all training, and one of all rows."""
    backend = FaissBackend("cpu")
    maker = backend.train_candidates(kind, DIM, [vectors], 6000)
    opened = []
    for number, part in enumerate([*np.split(vectors, ENDS[:-1]), vectors]):
        if number == 2:  # what a part holds is trained as it was
            maker = backend.trained_candidates(kind, DIM, folder / "1.faiss")
        maker.write([part[:700], part[700:]], folder / f"{number}.faiss")
        opened.append(backend.load_candidates(folder / f"{number}.faiss"))
    *parts, whole = opened
    return CandidateParts(parts), whole


@pytest.mark.parametrize("kind", KINDS)
def test_parts_with_one_codebook_find_what_one_index_finds(kind: str, data: Calibrated, tmp_path: Path) -> None:
    parts, whole = parts_and_whole(kind, data.images, tmp_path)
    assert (len(parts), parts.dim) == (len(whole), whole.dim)
    queries = np.concatenate([data.queries, data.texts])
    for share in (1.0, 0.5, 0.05, 0.005):
        among = None if share == 1 else np.random.default_rng(3).random(N) < share
        depth, effort = (200 if share > 0.01 else 30), Effort(200, probes=24)
        scores, rows = parts.candidates(queries, depth, effort, among)
        expected_scores, expected = whole.candidates(queries, depth, effort, among)
        assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
        # RaBitQ sums in another order.
        np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-6)
        for have, want, by in zip(rows, expected, scores, strict=True):
            above = by > by[-1] + 2e-6  # of rows with the same score as the last, each may keep others
            assert set(have[above]) == set(want[above])
            assert len(set(have[have >= 0])) == np.count_nonzero(have >= 0)
            assert among is None or among[have[have >= 0]].all()


def test_parts_of_a_graph_find_about_as_much(data: Calibrated, tmp_path: Path) -> None:
    parts, whole = parts_and_whole("HNSW16", data.images, tmp_path)
    best = np.argsort(-(data.texts @ data.images.T), axis=1)[:, :K]
    found = [recall(index.candidates(data.texts, 64, Effort(64, ef=64))[1][:, :K], best) for index in (parts, whole)]
    assert found[0] >= found[1] > 0.9, "each part is walked through with the same effort, so more is seen"


def test_a_cut_takes_the_best_of_all_and_of_equals_the_lowest_row() -> None:
    one = np.array([[0.9, 0.5, 0.1]], np.float32), np.array([[4, 0, 2]])
    two = np.array([[0.7, 0.5, -np.inf]], np.float32), np.array([[9, 7, -1]])
    scores, rows = cut([two, one], 4)
    assert rows.tolist() == [[4, 9, 0, 7]]
    np.testing.assert_array_equal(scores, np.array([[0.9, 0.7, 0.5, 0.5]], np.float32))
    scores, rows = cut([two, one], 6)
    assert rows.tolist() == [[4, 9, 0, 7, 2, -1]]
    assert scores[0, -1] == -np.inf


def test_centroids_are_found_on_a_gpu_where_faiss_sees_one(
    data: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flat index on the CPU stands in for the one on the GPU."""
    asked: list[Any] = []

    def to_gpus(index: Any) -> Any:
        asked.append(index)
        return index

    monkeypatch.setattr(devices, "usable", lambda *_: "cuda")
    monkeypatch.setattr(faiss_making._FAISS, "index_cpu_to_all_gpus", to_gpus, raising=False)
    backend = FaissBackend("cpu")
    for kind, dims in (("PCA24,IVF64,SQ8", [24]), ("SQ8", [])):
        asked.clear()
        backend.train_candidates(kind, DIM, [data.images], 6000).write([data.images], tmp_path / "with")
        assert [one.d for one in asked] == dims
        assert [one.ntotal for one in asked] == [64] * len(dims), "k-means leaves its centroids in what it assigned by"
    backend.train_candidates("IVF64,SQ8", DIM, [data.images], 6000).write([data.images], tmp_path / "with")
    monkeypatch.setattr(devices, "usable", lambda *_: "cpu")
    backend.train_candidates("IVF64,SQ8", DIM, [data.images], 6000).write([data.images], tmp_path / "without")
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()


@pytest.mark.parametrize("kind", [*KINDS, "HNSW16"])
def test_nothing_is_found_where_nothing_is_selected(kind: str, data: Calibrated, tmp_path: Path) -> None:
    for index in parts_and_whole(kind, data.images, tmp_path):
        scores, rows = index.candidates(data.texts[:3], 20, Effort(20), np.zeros(N, np.bool_))
        assert (scores.dtype, rows.dtype, scores.shape, rows.shape) == (np.float32, np.int64, (3, 20), (3, 20))
        assert (rows == -1).all()
        assert (scores == -np.inf).all()


def test_few_rows_for_a_centroid_are_no_reason_for_warnings(
    data: Calibrated, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images = [data.images[:2000]]
    for kind in ("OPQ8_16,IVF8,PQ8x4fsr", "IVF64,PQ8"):
        FaissBackend("cpu").train_candidates(kind, DIM, images, 600).write(images, tmp_path / "x")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("step", ["deserialize_index", "IndexIVFFlat.add"])
@pytest.mark.parametrize("error", [MemoryError("std::bad_alloc"), RuntimeError("no memory")])
def test_too_little_memory_for_a_part_is_said(
    data: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    maker = FaissBackend("cpu").train_candidates("IVF64,Flat", DIM, [data.images], 6000)
    monkeypatch.setattr(f"faiss.{step}", fail)
    with pytest.raises(UsageError, match=f"'IVF64,Flat' cannot be made of 12,000 images: {error}") as caught:
        maker.write([data.images], tmp_path / "x")
    assert "`memory`" in str(caught.value.hint)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is in memory now")
def test_rows_that_were_read_are_given_back(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((50_000, 256), np.float32))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    before = memory.resident_bytes()
    assert rows.sum() == rows.size
    assert memory.resident_bytes() - before > 0.8 * rows.nbytes
    memory.release(rows[5:10])
    assert memory.resident_bytes() - before < 0.2 * rows.nbytes
    assert rows[-1, -1] == 1
    memory.release(np.ones(3))
