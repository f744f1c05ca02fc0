"""Approximate indexes in several parts: what they find together, beside one index of all rows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
from kits.calibrated import Calibrated, calibrated
from kits.candidates import asking
from kits.vector_gallery import recall, vector_gallery

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.candidates import CandidateParts, cut
from zsretrieve.domain.kinds import Approximate, Covered, Effort, Part
from zsretrieve.domain.ports import CandidateIndex
from zsretrieve.domain.vectors import Vectors
from zsretrieve.store.folder import SEGMENTS, writing

N, DIM, K = 12_000, 32, 10
ENDS = (1000, 5500, 9000, N)
TRAINED = ("IVF64,Flat", "IVF64,PQ16x4fsr", "RR32,IVF64,RaBitQfs", "PCA24,IVF64,SQ8")
UNTRAINED = ("SQfp16", "HNSW16")


@pytest.fixture(scope="module")
def data() -> Calibrated:
    return calibrated(N, DIM, 100)


def write_parts(kind: str, vectors: Vectors, folder: Path) -> list[Path]:
    """Write an index in parts that share all training, as files; the last file is an index of all rows."""
    trained = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    trained.train(vectors[:6000])
    paths = []
    for number, part in enumerate([*np.split(vectors, ENDS[:-1]), vectors]):
        index = faiss.clone_index(trained)
        index.add(part)
        paths.append(folder / f"{number}.faiss")
        faiss.write_index(index, str(paths[-1]))
    return paths


def opened(paths: list[Path]) -> tuple[CandidateIndex, CandidateIndex]:
    """The index of parts, and that of all rows."""
    *parts, whole = (FaissBackend("cpu").load_candidates(path) for path in paths)
    return CandidateParts(parts), whole


@pytest.mark.parametrize("share", [1.0, 0.5, 0.05, 0.005])
@pytest.mark.parametrize("kind", [*TRAINED, "SQfp16"])
def test_parts_with_one_codebook_find_what_one_index_finds(
    kind: str, share: float, data: Calibrated, tmp_path: Path
) -> None:
    parts, whole = opened(write_parts(kind, data.images, tmp_path))
    assert (len(parts), parts.dim) == (len(whole), whole.dim)
    among = None if share == 1 else np.random.default_rng(3).random(N) < share
    queries = np.concatenate([data.queries, data.texts])
    depth, effort = (200 if share > 0.01 else 30), Effort(200, probes=24)
    scores, rows = parts.candidates(queries, depth, effort, among)
    expected_scores, expected = whole.candidates(queries, depth, effort, among)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-6)  # RaBitQ sums in another order
    for have, want, by in zip(rows, expected, scores, strict=True):
        above = by > by[-1] + 2e-6  # of rows with the same score as the last, each may keep others
        assert set(have[above]) == set(want[above])
        assert len(set(have[have >= 0])) == np.count_nonzero(have >= 0)
        assert among is None or among[have[have >= 0]].all()


def test_parts_of_a_graph_find_about_as_much(data: Calibrated, tmp_path: Path) -> None:
    parts, whole = opened(write_parts("HNSW16", data.images, tmp_path))
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


@pytest.fixture(scope="module", params=[*TRAINED, *UNTRAINED])
def gallery(request: pytest.FixtureRequest, data: Calibrated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of one segment, whose approximate index is in four parts."""
    folder = tmp_path_factory.mktemp("parts")
    out = vector_gallery(folder / "gallery", data.images)
    zs.set_index_kind(out, request.param)
    starts = (0, *ENDS)
    with writing(out) as writer:
        manifest = writer.manifest
        assert manifest is not None
        assert manifest.approximate is not None
        parts = []
        for path, start, end in zip(write_parts(request.param, data.images, folder), starts, ENDS, strict=False):
            with writer.new_segment() as segment:
                shutil.copyfile(path, segment / "approximate.faiss")
            covers = (Covered(manifest.segments[0].name, end - start, start),)
            parts.append(Part(f"{SEGMENTS}/{segment.name}/approximate.faiss", covers))
        made = Approximate(manifest.approximate.kind, manifest.approximate.effort, tuple(parts))
        writer.commit(replace(manifest, approximate=made))
    return out


def test_a_gallery_is_searched_by_all_parts(gallery: Path, data: Calibrated) -> None:
    assert zs.verify(gallery) == []
    opened = asking(zs.open_gallery(gallery, device="cpu"))
    for queries in (data.queries, data.texts):
        rows, is_exact = opened.nearest(queries, K)
        assert not is_exact.any()
        assert recall(rows, opened.index.search(queries, K)[1]) >= 0.95


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_a_filter_leaves_no_place_empty(gallery: Path, data: Calibrated, share: float) -> None:
    opened = asking(zs.open_gallery(gallery, device="cpu"))
    among = np.flatnonzero(np.random.default_rng(5).random(N) < share)
    for queries in (data.queries, data.texts):
        rows, _ = opened.nearest(queries, K, among)
        assert np.isin(rows, among).all()
        assert recall(rows, opened.index.search(queries, K, among)[1]) >= 0.95


def test_parts_with_few_selected_rows_are_compared_exactly(gallery: Path, data: Calibrated) -> None:
    """Nearly all that is selected is in one part: a graph is not asked for the little that is in others."""
    opened = asking(zs.open_gallery(gallery, device="cpu"))
    among = np.concatenate([np.arange(3), np.arange(5500, 9000), [N - 1]])
    rows, _ = opened.nearest(data.texts, K, among)
    assert recall(rows, opened.index.search(data.texts, K, among)[1]) >= 0.95
    rows, _ = opened.nearest(data.images[[1, N - 1]], 1, among)
    assert rows[:, 0].tolist() == [1, N - 1]


def test_removed_rows_are_in_no_part(gallery: Path, data: Calibrated, tmp_path: Path) -> None:
    out = Path(shutil.copytree(gallery, tmp_path / "gallery"))
    before = zs.read_manifest(out).approximate
    zs.remove(out, where="id < 1200 or label = '7'")
    assert zs.read_manifest(out).approximate == before
    opened = asking(zs.open_gallery(out, device="cpu"))
    for queries in (data.queries, data.texts):
        rows, _ = opened.nearest(queries, K)
        assert rows.min() >= 0
        assert recall(rows, opened.index.search(queries, K)[1]) >= 0.95


def test_a_damaged_part_is_named_and_repaired(gallery: Path, data: Calibrated, tmp_path: Path) -> None:
    out = Path(shutil.copytree(gallery, tmp_path / "gallery"))
    made = zs.read_manifest(out).approximate
    assert made is not None
    (out / made.files[2]).write_bytes(b"junk")
    assert any(made.files[2] in problem for problem in zs.verify(out))
    zs.repair(out)
    assert zs.verify(out) == []
    rows, _ = zs.open_gallery(out, device="cpu").nearest(data.images[:20], 1)
    assert rows[:, 0].tolist() == list(range(20))
