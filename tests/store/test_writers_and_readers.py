"""Deaths, full disks, folders that may not be written, and readers beside writers: with real processes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kits.folders import contents, table
from kits.hashing_encoder import HashingEncoder
from kits.pictures import picture, pictures
from kits.processes import as_nobody, in_process, with_small_files

import zsretrieve as zs
from zsretrieve.domain.errors import IndexFolderError
from zsretrieve.store import folder
from zsretrieve.store.folder import staged

ROOT = Path(__file__).parent.parent.parent


def test_deaths_lose_nothing() -> None:
    """A few of them; scripts/torture takes a count."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "torture", "18", "--seed", "7"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "18 deaths, nothing lost, nothing twice, no ID moved, every end as undisturbed" in done.stdout


def _as_nobody(work: Callable[..., None], *args: object) -> None:
    zs.open_gallery(args[-1])  # what is imported on the way may lie where only root may read
    as_nobody(work, *args)


def build(photos: Path, out: Path, force: bool = False) -> None:
    zs.build_gallery(photos, out, HashingEncoder(), force=force)


def add(photos: Path, out: Path) -> None:
    zs.add(out, photos, HashingEncoder())


def remove(photos: Path, out: Path) -> None:
    zs.remove(out, ["class 0"])


def sync(photos: Path, out: Path) -> None:
    zs.sync(out, HashingEncoder())


def compact(photos: Path, out: Path) -> None:
    zs.compact(out)


def rebuild(photos: Path, out: Path) -> None:
    zs.rebuild(out, HashingEncoder(seed=2))


def replace(photos: Path, out: Path) -> None:
    build(photos, out, force=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures(tmp_path / "photos", 60)


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    build(photos, tmp_path / "gallery")
    pictures(photos, 60, first=100)
    return tmp_path / "gallery"


@pytest.mark.parametrize("limit", [0, 2000, 4500])
def test_a_disk_that_is_full_keeps_the_old_state(photos: Path, gallery: Path, limit: int) -> None:
    before = contents(gallery)
    for work in (add, sync, rebuild, replace):
        told = in_process(with_small_files, limit, work, photos, gallery)
        assert "cannot be written" in told, work.__name__
        assert "Check the free space" in told
        assert {n: c for n, c in contents(gallery).items() if not n.startswith(".building")} == before, work.__name__
        assert zs.verify(gallery) == []
        before = {n: c for n, c in contents(gallery).items() if not n.startswith(".building")}
    told = in_process(with_small_files, limit, build, photos, gallery.with_name("new"))
    assert "cannot be written" in told
    assert not zs.is_index(gallery.with_name("new")) or staged(gallery.with_name("new"))
    add(photos, gallery)
    assert len(zs.open_gallery(gallery).items) == 120
    build(photos, gallery.with_name("new"))
    assert table(zs.open_gallery(gallery.with_name("new"), device="cpu")).keys() == set(range(120))


@pytest.mark.parametrize("work", [add, remove, sync, compact, rebuild, replace], ids=lambda work: work.__name__)
def test_a_folder_that_may_not_be_written(work: Callable[..., None]) -> None:
    # Not below pytest's own folder, which it keeps to its user.
    with tempfile.TemporaryDirectory() as where:
        Path(where).chmod(0o755)
        photos, gallery = pictures(Path(where) / "photos", 60), Path(where) / "gallery"
        build(photos, gallery)
        pictures(photos, 60, first=100)
        for path in (gallery, *gallery.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = contents(gallery)
        try:
            told = in_process(_as_nobody, work, photos, gallery)
            assert "cannot be written" in told
            assert "Permission denied" in told
            assert contents(gallery) == before
            assert in_process(_as_nobody, _opens, gallery) == "", "reading needs no permission to write"
        finally:
            for path in (gallery, *gallery.rglob("*")):
                path.chmod(0o755)


def _opens(gallery: Path) -> None:
    assert len(zs.open_gallery(gallery).items) == 60
    assert zs.verify(gallery) == []


def writer(photos: Path, gallery: Path) -> None:
    for number in range(50):
        picture(photos / "class 7" / f"{number}.png", 5000 + number)
        zs.add(gallery, photos / "class 7", HashingEncoder())
        if number % 2:
            zs.compact(gallery)


def test_a_reader_sees_the_state_before_or_after_and_never_an_error(tmp_path: Path) -> None:
    """A second process adds a picture and compacts, again and again, while this one opens and searches."""
    photos, gallery = pictures(tmp_path / "photos", 30), tmp_path / "gallery"
    build(photos, gallery)
    process = multiprocessing.get_context("forkserver").Process(target=writer, args=(photos, gallery))
    process.start()
    query = HashingEncoder().encode_texts(["anything"])
    kept = zs.open_gallery(gallery, device="cpu")
    first = kept.index.search(query, 5)
    seen: list[int] = []
    while process.is_alive():
        opened = zs.open_gallery(gallery, device="cpu")
        assert len(opened.items) == len(opened.index) == opened.manifest.count
        assert [item.id for item in opened.items] == list(range(len(opened.items)))
        scores, _ = opened.index.search(query, 5)
        again = opened.vectors @ query[0]
        np.testing.assert_allclose(scores[0], np.sort(again)[::-1][:5], atol=1e-6)
        seen.append(len(opened.items))
    process.join()
    assert process.exitcode == 0
    assert seen == sorted(seen)
    assert set(seen) <= set(range(30, 81))
    assert len(set(seen)) > 5, "the reader hardly met the writer"
    np.testing.assert_array_equal(kept.index.search(query, 5)[1], first[1])
    np.testing.assert_array_equal(kept.vectors @ query[0], kept.index.stored(np.arange(30)) @ query[0])
    assert len(zs.open_gallery(gallery).items) == 80
    assert zs.verify(gallery) == []


def test_one_writer_at_a_time(photos: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LOCK_S", 0.0)

    class Second(HashingEncoder):
        def encode_prepared(self, batch: object) -> np.ndarray:
            for work in (add, remove, sync, compact, rebuild, replace):
                with pytest.raises(IndexFolderError, match="another process is writing"):
                    work(photos, gallery)
            return super().encode_prepared(batch)

    assert zs.add(gallery, photos, Second()).added == 60
