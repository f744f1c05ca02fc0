"""The one writer of an index folder: its lock, its staging, what it leaves alone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest
from kits.folders import contents, table
from kits.hashing_encoder import HashingEncoder
from kits.pictures import Counting, picture, pictures

import zsretrieve as zs
from zsretrieve.api.indexes import cpu_backend
from zsretrieve.backends.faiss_flat import FaissFlatIndex
from zsretrieve.domain.errors import (
    IndexFolderError,
    IndexFormatError,
    IndexVersionError,
    IntegrityError,
    OutputExistsError,
)
from zsretrieve.store import folder, indexes
from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import Writer
from zsretrieve.system import atomic


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures(tmp_path / "photos", 30)


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    zs.build_gallery(photos, tmp_path / "gallery", HashingEncoder())
    return tmp_path / "gallery"


def test_a_staging_folder_that_is_somebody_s_is_left_alone(photos: Path, gallery: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "new", gallery):
        (out / ".building").mkdir(parents=True)
        (out / ".building" / "precious.txt").write_text("years of work")
        with pytest.raises(OutputExistsError, match="left alone"):
            zs.build_gallery(photos, out, HashingEncoder(), force=True)
        assert (out / ".building" / "precious.txt").read_text() == "years of work"


def test_death_between_the_last_staged_commit_and_its_adoption(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build is finished by the next run: same ids, nothing encoded again, no id spent."""
    (photos / "class 0" / "0000 bad.png").write_bytes(b"junk")
    whole = table(zs.build_gallery(photos, tmp_path / "whole", HashingEncoder()))
    out = tmp_path / "out"

    def dies(self: Writer, staging: Writer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "adopt", dies)
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(photos, out, HashingEncoder())
    monkeypatch.undo()
    assert not (out / manifests.NAME).exists()
    encoder = Counting()
    built = zs.build_gallery(photos, out, encoder)
    assert (encoder.count, built.manifest.next_id, built.manifest.building) == (0, 31, None)
    assert table(built) == whole


def test_death_right_after_the_adoption(photos: Path, gallery: Path, tmp_path: Path) -> None:
    """The staging index is still there; whatever is done next throws it away."""
    shutil.copytree(gallery, tmp_path / "kept")
    shutil.move(tmp_path / "kept", gallery / ".building")
    picture(photos / "new.png", 77)
    zs.add(gallery, photos, HashingEncoder())
    assert not (gallery / ".building").exists()
    zs.rebuild(gallery, HashingEncoder(seed=1))
    assert zs.verify(gallery) == []


def test_a_copy_that_cannot_be_written_is_no_failure(
    photos: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file = atomic.write_file

    def full(place: Path, content: bytes) -> None:
        if place.name == manifests.COPY:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_file(place, content)

    monkeypatch.setattr(atomic, "write_file", full)
    picture(photos / "new.png", 77)
    assert zs.add(gallery, photos, HashingEncoder()).added == 1
    assert zs.verify(gallery) == []
    assert len(zs.open_gallery(gallery).items) == 31


def test_what_was_encoded_is_kept_when_the_end_fails(
    photos: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FaissFlatIndex, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FaissFlatIndex, "save", full)
    pictures(photos, 10, first=50)
    with pytest.raises(IndexFolderError, match="No space left"):
        zs.add(gallery, photos, HashingEncoder())
    monkeypatch.undo()
    assert zs.verify(gallery) == []
    assert zs.add(gallery, photos, Counting(0)).encoded == 0
    assert len(zs.open_gallery(gallery).items) == 40


def test_a_file_system_without_locks_is_told(gallery: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(IndexFolderError, match=r"cannot be locked.*No locks available"):
        zs.compact(gallery)


def test_a_folder_that_is_replaced_while_its_lock_is_waited_for(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is locked must be what is written."""
    flock, locked = fcntl.flock, []

    def swapped(handle: int, how: int) -> None:
        flock(handle, how)
        if not locked:
            shutil.copytree(gallery, gallery.with_name("twin"))
            shutil.rmtree(gallery)
            gallery.with_name("twin").rename(gallery)
        locked.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(fcntl, "flock", swapped)
    zs.compact(gallery)
    assert len(locked) == 2
    assert locked[1] == gallery.stat().st_ino
    assert zs.verify(gallery) == []


def test_a_damaged_gallery_is_neither_added_to_nor_rebuilt(photos: Path, gallery: Path) -> None:
    path = next((gallery / "segments").rglob("items.parquet"))
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    before = contents(gallery)
    for work in (
        lambda: zs.add(gallery, photos, HashingEncoder()),
        lambda: zs.sync(gallery, HashingEncoder()),
        lambda: zs.remove(gallery, ["class 0"]),
        lambda: zs.compact(gallery),
        lambda: zs.rebuild(gallery, HashingEncoder(seed=1)),
    ):
        with pytest.raises(IntegrityError, match="damaged"):
            work()
        assert contents(gallery) == before


def test_repair_leaves_a_newer_version_alone(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    content = json.loads((gallery / manifests.NAME).read_bytes())
    del content["digest"]
    content["format_version"] = 6
    content["digest"] = manifests._digest(content)
    (gallery / manifests.NAME).write_bytes(manifests._canonical(content))
    (gallery / "segments" / "0123456789ab").mkdir()
    before = contents(gallery)
    with pytest.raises(IndexVersionError, match="format version 6"):
        zs.repair(gallery)
    assert contents(gallery) == before
    assert (gallery / "segments" / "0123456789ab").exists()


def test_repair_does_not_take_what_it_may_not_read_for_damaged(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes = Path.read_bytes

    def refusing(self: Path) -> bytes:
        if self.name == manifests.NAME:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read_bytes(self)

    before = contents(gallery)
    monkeypatch.setattr(Path, "read_bytes", refusing)
    with pytest.raises(IndexFormatError, match="cannot be read"):
        zs.repair(gallery)
    monkeypatch.undo()
    assert contents(gallery) == before


def test_the_lock_is_waited_for_some_moments(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verification that notes its time is no reason to refuse a writer."""
    assert 0.5 <= folder._LOCK_S <= 5
    handle = os.open(gallery, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    slept = []

    def released(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            os.close(handle)

    monkeypatch.setattr("zsretrieve.store.folder.time.sleep", released)
    indexes.open_gallery(gallery, cpu_backend())
    zs.compact(gallery)
    assert len(slept) == 2


def test_a_lost_manifest_makes_no_leftovers_of_the_segments(photos: Path, gallery: Path) -> None:
    before = table(zs.open_gallery(gallery, device="cpu"))
    (gallery / manifests.NAME).unlink()
    with pytest.raises(OutputExistsError, match="there is already an index"):
        zs.build_gallery(photos, gallery, HashingEncoder())
    with pytest.raises(IndexFormatError, match="missing") as caught:
        zs.open_gallery(gallery)
    assert "index repair" in str(caught.value.hint)
    zs.repair(gallery)
    assert table(zs.open_gallery(gallery, device="cpu")) == before


def test_no_index_inside_an_index(photos: Path, gallery: Path) -> None:
    with pytest.raises(OutputExistsError, match="is inside the index"):
        zs.build_gallery(photos, gallery / "deep" / "er", HashingEncoder())
    assert not (gallery / "deep").exists()


def test_how_to_go_on_is_told(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(photos, tmp_path / "out", Counting(16))
    with pytest.raises(IndexFormatError, match="not finished") as caught:
        zs.open_gallery(tmp_path / "out")
    told = f"Continue with: zsretrieve index gallery {photos} {tmp_path / 'out'} --model hashing-0"
    assert caught.value.hint == told
