"""Approximate indexes in several parts: made, searched as one, added to, and deaths meanwhile."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
from kits.calibrated import Calibrated, calibrated
from kits.candidates import asking, check_candidates, in_parts
from kits.processes import in_process
from kits.vector_gallery import put, recall, vector_gallery

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.kind_choice import Demands
from zsretrieve.domain.kinds import Approximate, Covered
from zsretrieve.domain.records import Item
from zsretrieve.gallery.ingest import GalleryBuilder
from zsretrieve.store import making
from zsretrieve.store.folder import writing
from zsretrieve.store.indexes import gallery_rows

N, MORE, DIM, K = 12_000, 1500, 32, 10
KINDS = ("IVF64,Flat", "IVF64,PQ16x4fsr", "RR32,IVF64,RaBitQfs", "PCA24,IVF64,SQ8", "SQfp16", "HNSW16")


@pytest.fixture(scope="module")
def data() -> Calibrated:
    """More images than are in the index at first."""
    return calibrated(N + MORE, DIM, 100)


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, data: Calibrated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of one segment, whose approximate index is in four parts."""
    out = vector_gallery(tmp_path_factory.mktemp("parts") / "gallery", data.images[:N])
    with in_parts(3500):
        zs.set_index_kind(out, request.param)
    return out


def of(gallery: Path) -> Approximate:
    approximate = zs.read_manifest(gallery).approximate
    assert approximate is not None
    return approximate


def test_a_gallery_is_searched_by_all_parts(made: Path, data: Calibrated) -> None:
    assert [part.rows for part in of(made).parts] == [3500, 3500, 3500, 1500]
    assert of(made).parts[1].covers == (Covered(zs.read_manifest(made).segments[0].name, 3500, 3500),)
    assert zs.verify(made) == []
    opened = asking(zs.open_gallery(made, device="cpu"))
    for queries in (data.queries, data.texts):
        rows, is_exact = opened.nearest(queries, K)
        assert not is_exact.any()
        assert recall(rows, opened.index.search(queries, K)[1]) >= 0.95


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_a_filter_leaves_no_place_empty(made: Path, data: Calibrated, share: float) -> None:
    opened = asking(zs.open_gallery(made, device="cpu"))
    among = np.flatnonzero(np.random.default_rng(5).random(N) < share)
    for queries in (data.queries, data.texts):
        rows, _ = opened.nearest(queries, K, among)
        assert np.isin(rows, among).all()
        assert recall(rows, opened.index.search(queries, K, among)[1]) >= 0.95


def test_parts_with_few_selected_rows_are_compared_exactly(made: Path, data: Calibrated) -> None:
    """Nearly all that is selected is in one part: a graph is not asked for the little that is in others."""
    opened = asking(zs.open_gallery(made, device="cpu"))
    among = np.concatenate([np.arange(3), np.arange(3500, 7000), [N - 1]])
    rows, _ = opened.nearest(data.texts, K, among)
    assert recall(rows, opened.index.search(data.texts, K, among)[1]) >= 0.95
    rows, _ = opened.nearest(data.images[[1, N - 1]], 1, among)
    assert rows[:, 0].tolist() == [1, N - 1]


def test_removed_rows_are_in_no_part(made: Path, data: Calibrated, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made, tmp_path / "gallery"))
    before = of(out)
    zs.remove(out, where="id < 1200 or label = '7'")
    assert of(out) == before
    opened = asking(zs.open_gallery(out, device="cpu"))
    for queries in (data.queries, data.texts):
        rows, _ = opened.nearest(queries, K)
        assert rows.min() >= 0
        assert recall(rows, opened.index.search(queries, K)[1]) >= 0.95


def test_a_damaged_part_is_named_and_repaired(made: Path, data: Calibrated, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made, tmp_path / "gallery"))
    (out / of(out).files[2]).write_bytes(b"junk")
    assert any(of(out).files[2] in problem for problem in zs.verify(out))
    zs.repair(out)
    assert zs.verify(out) == []
    rows, _ = zs.open_gallery(out, device="cpu").nearest(data.images[:20], 1)
    assert rows[:, 0].tolist() == list(range(20))


def test_new_images_get_a_part_of_their_own(made: Path, data: Calibrated, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made, tmp_path / "gallery"))
    before = of(out)
    put(out, data.images[N : N + 1000])
    assert of(out) == replace(before, added=1000)
    put(out, data.images[N + 1000 :])
    after = of(out)
    assert after.parts[:4] == before.parts
    assert [part.rows for part in after.parts[4:]] == [1500]
    assert (after.trained, after.effort) == (N, before.effort)
    assert zs.verify(out) == []
    opened = asking(zs.open_gallery(out, device="cpu"))
    for queries in (data.texts, data.queries):
        rows, is_exact = opened.nearest(queries, K)
        assert not is_exact.any()
        assert recall(rows, opened.index.search(queries, K)[1]) >= 0.95
    rows, _ = opened.nearest(data.images[N : N + 50], 1)
    assert rows[:, 0].tolist() == list(range(N, N + 50))


# --- one kind suffices for what follows


@pytest.fixture
def lists(data: Calibrated, tmp_path: Path) -> Path:
    """A gallery of 3,000 images whose index is in three parts."""
    out = vector_gallery(tmp_path / "lists", data.images[:3000])
    with in_parts(1000):
        zs.set_index_kind(out, "IVF16,SQ8")
    return out


def test_an_index_is_trained_again_once_a_third_of_the_images_are_new(
    lists: Path, data: Calibrated, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zsretrieve")
    put(lists, data.images[3000:4000])
    assert (of(lists).trained, [part.rows for part in of(lists).parts]) == (3000, [1000, 1000, 1000, 1000])
    assert caplog.messages[-1] == "adding 1,000 rows to the index IVF16,SQ8 ..."
    assert of(lists).added == 1000
    put(lists, data.images[4000:4500])
    assert (of(lists).trained, of(lists).added, of(lists).rows) == (3000, 1500, 4500)
    put(lists, data.images[4500:4600])
    assert (of(lists).trained, of(lists).added, [part.rows for part in of(lists).parts]) == (4600, 0, [4600])
    assert "the index was trained for less than two thirds of the 4,600 images" in caplog.messages
    assert zs.verify(lists) == []


@pytest.mark.parametrize("change", ["replaced", "grown", "outlived"])
def test_images_of_another_kind_are_found_after_any_change(tmp_path: Path, change: str) -> None:
    """Codebooks of other images find 0.29 to 0.45 of the new ones."""
    before, later = calibrated(8000, 64, 100), calibrated(7500, 64, 200, seed=1)
    out = vector_gallery(tmp_path / "gallery", before.images)
    zs.set_index_kind(out, "IVF64,PQ16x4fsr")
    match change:
        case "replaced":
            put(out, {number: later.images[number] for number in range(7500)})
        case "grown":
            for start in range(0, 7500, 1500):
                put(out, later.images[start : start + 1500])
        case _:
            put(out, later.images[:3000])
            assert of(out).trained == 8000
            zs.remove(out, where="id < 8000")
    opened = asking(zs.open_gallery(out, device="cpu"))
    rows, is_exact = opened.nearest(later.texts, K)
    assert not is_exact.any()
    assert recall(rows, opened.index.search(later.texts, K)[1]) >= 0.8


def test_what_trains_nothing_needs_no_least_number_of_images(
    data: Calibrated, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = vector_gallery(tmp_path / "gallery", data.images[:1000])
    zs.set_index_kind(out, "IVF24,Flat")  # which takes 936
    zs.remove(out, where="id < 400")
    put(out, data.images[1000:1080])
    before = of(out)
    assert [part.rows for part in before.parts] == [1000, 80]
    assert not caplog.records
    put(out, data.images[1080:1330])
    assert of(out).parts == before.parts
    assert "needs 936 or more images, and there are 930, so the approximate index stays as it is" in caplog.text


def test_another_path_is_no_other_image(lists: Path, data: Calibrated) -> None:
    with writing(lists) as writer:
        builder = GalleryBuilder(writer, *gallery_rows(writer), FaissBackend("cpu"))
        for number in range(1500):
            builder.rewrite(replace(builder.item(number), label="moved"))
        builder.finish()
    assert (of(lists).trained, of(lists).added) == (3000, 0)


def test_a_part_that_is_mostly_dead_goes_and_the_rest_of_it_moves(lists: Path, data: Calibrated) -> None:
    before = of(lists)
    zs.remove(lists, where="id >= 1000 and id < 1700")
    put(lists, data.images[3000:3400])
    after = of(lists)
    assert after.parts[:2] == (before.parts[0], before.parts[2])
    assert [one.start for part in after.parts[2:] for one in part.covers] == [1000, 0]
    assert after.rows == 3400
    assert zs.verify(lists) == []
    rows, _ = zs.open_gallery(lists, device="cpu").nearest(data.images[[5, 1750, 2500, 3300]], 1)
    assert zs.open_gallery(lists, device="cpu").ids[rows[:, 0]].tolist() == [5, 1750, 2500, 3300]


def test_parts_answer_for_the_images_of_now(data: Calibrated, tmp_path: Path) -> None:
    """After every change an index that compares all its rows finds each image by its own vector."""
    out = vector_gallery(tmp_path / "gallery", data.images[:1500])
    with in_parts(600):
        zs.set_index_kind(out, "SQ8")
        for step in (
            lambda: put(out, data.images[1500:1900]),
            lambda: put(out, {number: data.images[4000 + number] for number in range(0, 1500, 6)}),
            lambda: zs.remove(out, where="label in ('1', '2')"),
            lambda: put(out, data.images[1900:2600]),
            lambda: zs.remove(out, where="id < 900"),
            lambda: zs.compact(out),
        ):
            step()
            assert check_candidates(out), "the index is asked"
            assert zs.verify(out) == []


def test_a_part_that_does_not_open_is_no_reason_to_refuse_new_images(
    lists: Path, data: Calibrated, caplog: pytest.LogCaptureFixture
) -> None:
    """What was trained is then trained again."""
    with writing(lists) as writer:
        builder = GalleryBuilder(writer, *gallery_rows(writer), FaissBackend("cpu"))
        for vector in data.images[3000:3500]:
            builder.put(Item(number := builder.new_id(), f"{number}.jpg", None, 9, 9, 0, 0, ""), vector)
        for file in of(lists).files:
            (lists / file).write_bytes(b"junk")
        builder.finish()
    assert "is damaged" in caplog.text
    assert "the index is made again" in caplog.text
    assert (of(lists).trained, of(lists).rows) == (3500, 3500)
    assert zs.verify(lists) == []


@pytest.mark.parametrize("change", ["compact", "remove", "kind"])
def test_progress_is_shown_while_it_is_made(lists: Path, change: str) -> None:
    steps: list[tuple[str, int, int]] = []

    def on_stage(stage: str, done: int, total: int) -> None:
        steps.append((stage, done, total))

    match change:
        case "compact":
            zs.remove(lists, where="id < 100")
            zs.compact(lists, on_stage=on_stage)
        case "kind":
            zs.set_index_kind(lists, "IVF16,SQ8", on_stage=on_stage)
        case _:
            zs.remove(lists, where="id < 1600", on_stage=on_stage)
    rows = sum(segment.rows for segment in zs.read_manifest(lists).segments)
    assert steps[-1] == ("filling the index", rows, rows)
    assert ("training the index" in {stage for stage, *_ in steps}) == (change != "remove")


def test_the_memory_is_kept_for_later(lists: Path, data: Calibrated, monkeypatch: pytest.MonkeyPatch) -> None:
    zs.set_index_kind(lists, "IVF16,SQ8", memory="8GB")  # all that the process of the tests holds counts
    assert of(lists).memory == 8_000_000_000
    given: list[int | None] = []
    real = making.steps

    def steps(kind: str, dim: int, count: int, most: int | None, taken: int) -> object:
        given.append(most)
        assert taken > 20_000_000
        return real(kind, dim, count, most, taken)

    monkeypatch.setattr(making, "steps", steps)
    put(lists, data.images[3000:4000])
    zs.compact(lists)
    assert given == [8_000_000_000] * 2
    assert of(lists).memory == 8_000_000_000


def test_too_little_memory_is_refused_before_any_work(lists: Path) -> None:
    before = (lists / "manifest.json").read_bytes()
    for kind, size in (("HNSW16", "100kB"), ("IVF16,SQ8", "50MB")):
        with pytest.raises(zs.UsageError, match=f"the index {kind} of 3,000 images") as caught:
            zs.set_index_kind(lists, kind, memory=size, on_stage=lambda *_: pytest.fail("work was begun"))
        assert "`memory`" in str(caught.value.hint)
    with pytest.raises(zs.UsageError, match="recall is for the kind auto"):
        zs.set_index_kind(lists, "SQ8", recall=0.9)
    assert (lists / "manifest.json").read_bytes() == before


def killed(gallery: Path) -> None:
    """Make an index in parts, and be killed when the second of them is half written."""
    real, files = faiss.write_index, []

    def write(index: object, path: object, *more: object) -> None:
        if isinstance(path, str):  # and not into memory
            files.append(path)
            if len(files) == 2:
                Path(path).write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
        real(index, path, *more)

    faiss.write_index = write
    with in_parts(1000):
        zs.set_index_kind(gallery, "IVF16,PQ16x4fsr")


def test_a_kill_while_parts_are_made_leaves_the_index_of_before(lists: Path, data: Calibrated) -> None:
    before, manifest = (lists / "manifest.json").read_bytes(), of(lists)
    with pytest.raises(EOFError):
        in_process(killed, lists)
    assert (lists / "manifest.json").read_bytes() == before
    assert len(list(lists.rglob("approximate.faiss"))) == 3 + 2
    rows, _ = zs.open_gallery(lists, device="cpu").nearest(data.images[:5], 1)
    assert rows[:, 0].tolist() == list(range(5))
    assert zs.verify(lists) == []  # as a writer it also deletes what the dead one left
    assert {path.relative_to(lists).as_posix() for path in lists.rglob("approximate.faiss")} == set(manifest.files)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what is mapped")
@pytest.mark.parametrize("kind", ["SQ8", "HNSW16", "IVF16,Flat"])
def test_mapped_parts_cannot_be_written_to(lists: Path, kind: str) -> None:
    with in_parts(1000):
        zs.set_index_kind(lists, kind)
    opened = zs.open_gallery(lists, device="cpu")
    assert opened.approximate is not None
    assert opened.approximate.index is not None
    files = {str(lists / file) for file in of(lists).files}
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    rights = {fields[1] for fields in maps if len(fields) > 5 and fields[5] in files}
    assert rights == {"r--s"} or rights == {"r--p"}


def test_what_compares_everything_never_asks_it(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kits.hashing_encoder import HashingEncoder

    monkeypatch.setattr(FaissBackend, "load_candidates", lambda *_: pytest.fail("the approximate index is asked"))
    gallery = zs.open_gallery(lists, device="cpu")
    zs.find_duplicates(gallery, near=0.95)
    monkeypatch.setattr("zsretrieve.gallery.projection._FEW", len(gallery.items) + 1)  # t-SNE would take long
    zs.make_map(lists)
    encoder = HashingEncoder(DIM)
    for wanted in (zs.Wanted(min_score=0.1), zs.Wanted(order="date"), zs.Wanted(exact=True)):
        zs.search(gallery, "a cat", encoder, wanted=wanted)


def test_auto_is_refused_before_any_work_if_nothing_fits() -> None:
    backend = FaissBackend("cpu")
    making.check("auto", 512, 10**6, Demands(recall=0.99), backend)
    with pytest.raises(zs.UsageError, match=r"no index kind with a recall of 0\.95 can be made of .* within 1 MB"):
        making.check("auto", 512, 10**6, Demands(10**6), backend)
    with pytest.raises(zs.UsageError, match="and the memory is 1 MB"):
        making.check("SQ8", 512, 10**6, Demands(10**6), backend)
