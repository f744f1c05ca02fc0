"""Random histories of a gallery and its photos, with interruptions, against what must be so after each step."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from kits.candidates import check_candidates
from kits.hashing_encoder import HashingEncoder, LazyModel
from kits.pictures import Counting, picture, pictures
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import OutputExistsError, SourceError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.records import Changes, Item
from zsretrieve.images import sources
from zsretrieve.store import manifest as manifests

HISTORIES = 25
STEPS = 10


class World:
    """A folder of photos in which things happen."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.photos = pictures(root / "photos", rng.randint(4, 14))
        self.gallery = root / "gallery"
        self._rng = rng
        self._number = 1000

    def files(self) -> list[Path]:
        return sorted(self.photos.rglob("*.png"))

    def readable(self) -> dict[str, str]:
        """The digest of each sound picture, by path."""
        contents = {path.relative_to(self.photos).as_posix(): path.read_bytes() for path in self.files()}
        return {path: hashlib.sha256(c).hexdigest() for path, c in contents.items() if not c.startswith(b"junk")}

    def change(self) -> None:
        self._number += 1
        folder = self.photos / f"class {self._rng.randint(0, 3)}"
        path = self._rng.choice(self.files())
        match self._rng.choice(["new", "edit", "move", "copy", "delete", "break"]):
            case "new":
                picture(folder / f"{self._number}.png", self._number)
            case "edit":
                picture(path, self._number)
            case "move":
                folder.mkdir(exist_ok=True)
                path.rename(folder / f"moved {self._number}.png")
            case "copy":
                folder.mkdir(exist_ok=True)
                shutil.copy(path, folder / f"copy {self._number}.png")
            case "delete" if len(self.files()) > 4:
                path.unlink()
            case "break":
                path.write_bytes(f"junk {self._number}".encode())
            case _:
                pass

    def relocate(self) -> tuple[str, str]:
        """Give the folder another name; returns both."""
        self._number += 1
        before, self.photos = self.photos, self.photos.with_name(f"photos {self._number}")
        before.rename(self.photos)
        return str(before), str(self.photos)


def items(gallery: Path) -> dict[int, Item]:
    return {item.id: item for item in zs.open_gallery(gallery, device="cpu").items}


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_random_history(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    world = World(tmp_path, rng)
    gallery, model = world.gallery, 0
    zs.build_gallery(world.photos, gallery, HashingEncoder(), kind=rng.choice(["Flat", "SQ8"]))
    ever = set(items(gallery))
    for _ in range(STEPS):
        for _ in range(rng.randint(0, 4)):
            world.change()
        before, first_free = items(gallery), manifests.read(gallery).next_id
        step = rng.choice(["add", "sync", "sync", "remove", "compact", "rebuild", "repair", "relocate"])
        limit, checkpoint = rng.choice([None, None, 0, 4, 8]), rng.choice([1, 4, 8])
        ended = True
        try:
            match step:
                case "add":
                    zs.add(gallery, world.photos, Counting(limit, model), checkpoint=checkpoint)
                case "sync":
                    zs.sync(gallery, Counting(limit, model), checkpoint=checkpoint)
                case "remove" if before:
                    ids = rng.sample(sorted(before), min(len(before), 3))
                    zs.remove(gallery, where=f"id in ({', '.join(map(str, ids))})")
                case "compact":
                    zs.compact(gallery)
                case "repair":
                    zs.repair(gallery)
                case "relocate":
                    zs.relocate(gallery, *world.relocate())
                case "rebuild":
                    other = rng.choice([0, 1])
                    drop = rng.random() < 0.5
                    encoder = Counting(limit, other)
                    zs.rebuild(gallery, encoder, drop_missing=drop, force=rng.random() < 0.5, checkpoint=checkpoint)
                    model = other
        except (KeyboardInterrupt, SourceError, OutputExistsError):
            ended = False
        assert zs.verify(gallery) == []
        check_candidates(gallery)
        after, now_free = items(gallery), manifests.read(gallery).next_id
        assert not (ever - set(before)) & set(after), "an id came back"
        assert all(first_free <= id_ < now_free for id_ in set(after) - set(before)), "an old id for a new picture"
        ever |= set(after)
        if step in ("remove", "compact", "repair"):
            assert all(after[id_] == before[id_] for id_ in after)
        if step == "rebuild":
            assert all((after[id_].path, after[id_].label) == (before[id_].path, before[id_].label) for id_ in after)
            assert len(after) == len(before) or (ended and drop)
        if step == "sync" and ended:
            here = {item.path: item.digest for item in after.values()}
            assert len(here) == len(after), "a picture is there twice"
            assert {path: here.get(path) for path in world.readable()} == world.readable()
            # What was in a folder that is empty now may come back.
            assert all(
                (world.photos / path).exists() or not any((world.photos / path).parent.iterdir()) for path in here
            )
            skipped = {one.path for one in manifests.read(gallery).skipped}
            assert skipped == {p.relative_to(world.photos).as_posix() for p in world.files()} - set(world.readable())
        checked = zs.verify_deep(gallery, HashingEncoder(seed=model), sample=10_000)
        assert checked.damages == ()


def begun(photos: Path, out: Path, after: int, seed: int = 0) -> None:
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(photos, out, Counting(after, seed), checkpoint=8)


def test_what_cannot_be_read_any_more_is_not_in_a_build_that_goes_on(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 40), tmp_path / "out"
    begun(photos, out, 32)
    (photos / "class 0" / "0000.png").write_bytes(b"junk")
    built = zs.build_gallery(photos, out, HashingEncoder())
    assert "class 0/0000.png" not in {item.path for item in built.items}
    assert [one.path for one in built.manifest.skipped] == ["class 0/0000.png"]
    assert len(built.items) == 39
    assert zs.verify(out) == []


def test_an_old_path_does_not_come_back_with_a_rebuilding_that_goes_on(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 40), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    with pytest.raises(KeyboardInterrupt):
        zs.rebuild(out, Counting(32, seed=1))
    (photos / "class 0" / "0000.png").rename(photos / "renamed.png")
    zs.sync(out, HashingEncoder())
    (photos / "renamed.png").write_bytes(b"junk")
    with pytest.raises(SourceError, match=r"1 images of .* cannot be read any more.* 'renamed.png'"):
        zs.rebuild(out, HashingEncoder(seed=1))
    assert items(out)[0].path == "renamed.png"
    zs.rebuild(out, HashingEncoder(seed=1), drop_missing=True)
    assert 0 not in items(out)
    assert [one.path for one in manifests.read(out).skipped] == ["renamed.png"]


def test_a_deleted_file_stops_a_rebuilding_that_goes_on(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 40), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    with pytest.raises(KeyboardInterrupt):
        zs.rebuild(out, Counting(32, seed=1))
    (photos / "class 0" / "0000.png").unlink()
    with pytest.raises(SourceError, match="1 images"):
        zs.rebuild(out, HashingEncoder(seed=1))


def test_rebuilding_where_a_sync_had_skipped_already(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 20), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    (photos / "class 0" / "0000.png").write_bytes(b"junk")
    zs.sync(out, HashingEncoder())
    with pytest.raises(SourceError, match="not a readable image"):
        zs.rebuild(out, HashingEncoder(seed=1))
    assert len(items(out)) == 20


def test_a_missing_drive_does_not_empty_a_gallery(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 20), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    shutil.move(photos, tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="not one of the 20 images") as caught:
        zs.rebuild(out, HashingEncoder(seed=1), drop_missing=True)
    assert "mounted" in str(caught.value.hint)
    picture(photos / "stray.png", 999)
    for _ in range(3):
        with pytest.raises(SourceError, match=r"not one of the 20 images .* nothing was done"):
            zs.sync(out, HashingEncoder())
        assert len(items(out)) == 20
    assert zs.verify(out) == []


def test_a_folder_that_was_renamed_as_a_whole_is_no_missing_drive(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 21), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    for number in range(3):
        (photos / f"class {number}").rename(photos / f"renamed {number}")
    assert zs.sync(out, Counting(0)).moved == 21


def test_an_empty_mount_point_and_a_drive_beside_an_archive(tmp_path: Path) -> None:
    out, drive = tmp_path / "out", pictures(tmp_path / "usb", 3, first=100)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in pictures(tmp_path / "packed", 6).rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path / "packed"))
    zs.build_gallery(tmp_path / "a.zip", out, HashingEncoder())
    single = sorted(drive.rglob("*.png"))
    for path in single:
        zs.add(out, zs.open_source([path]), HashingEncoder())
    shutil.move(drive, tmp_path / "unplugged")
    away = zs.sync(out, HashingEncoder())
    assert (away.unchanged, away.missing, away.removed, len(away.skipped)) == (6, 3, 0, 3)
    for path in single:
        path.parent.mkdir(parents=True)
    away = zs.sync(out, HashingEncoder())
    assert (away.unchanged, away.missing, away.removed, len(away.skipped)) == (6, 3, 0, 3)
    assert len(items(out)) == 9
    shutil.rmtree(drive)
    shutil.move(tmp_path / "unplugged", drive)
    assert zs.sync(out, HashingEncoder()) == Changes(unchanged=9)
    assert manifests.read(out).skipped == ()


def test_a_model_that_cannot_be_had_is_no_fault_of_the_pictures(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 20), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    pictures(photos, 20, first=100)
    asked = []

    def fails() -> HashingEncoder:
        asked.append(threading.current_thread())
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        zs.sync(out, LazyModel(fails))
    assert asked == [threading.main_thread()]
    assert manifests.read(out).skipped == ()
    assert len(items(out)) == 20


def test_many_known_pictures_before_a_new_one(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 20), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    for number in range(1100):
        shutil.copy(photos / "class 0" / "0000.png", photos / f"copy {number:04}.png")
    picture(photos / "new.png", 5000)

    class Elsewhere(HashingEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.encoding = replace(self.encoding, device="cuda")

    changes = zs.sync(out, Elsewhere(), checkpoint=50)
    assert (changes.added, changes.encoded) == (1101, 1)
    assert zs.verify(out) == []
    assert manifests.read(out).encoding.device == "cpu+cuda"
    assert len(items(out)) == 1121


def test_a_gallery_that_grows_while_another_is_built_from_it(tmp_path: Path) -> None:
    photos, one, other = pictures(tmp_path / "photos", 40), tmp_path / "one", tmp_path / "other"
    (photos / "class 0" / "z bad.png").write_bytes(b"junk")
    zs.build_gallery(photos, one, HashingEncoder())
    picture(photos / "class 0" / "z bad.png", 800)
    os.utime(photos / "class 0" / "z bad.png", ns=(1, 1))
    whole = zs.open_source([one])
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(whole, other, Counting(32, seed=1), checkpoint=1)
    picture(photos / "class 1" / "later.png", 801)
    zs.add(one, photos / "class 1", HashingEncoder())
    built = zs.build_gallery(zs.open_source([one]), other, HashingEncoder(seed=1))
    assert {item.path for item in built.items} == {p.relative_to(photos).as_posix() for p in photos.rglob("*.png")}
    mine = {item.path: item.id for item in built.items}
    assert all(mine[item.path] == id_ for id_, item in items(one).items() if item.path != "class 0/z bad.png")


def test_a_list_that_names_a_file_twice_goes_on_after_it_could_not_be_read(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 30), tmp_path / "out"
    late = photos / "late.png"
    names = [late, *sorted(photos.rglob("*.png"))[:16], late, *sorted(photos.rglob("*.png"))[16:30]]
    reads = 0

    class Appearing(Counting):
        def prepare(self, image: Image.Image) -> Pixels:
            nonlocal reads
            reads += 1
            if reads == 1:
                picture(late, 900)
            return super().prepare(image)

    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(sources.paths(names), out, Appearing(16), checkpoint=1)
    built = zs.build_gallery(sources.paths(names), out, HashingEncoder())
    assert [item.id for item in built.items] == list(range(len(names)))
    assert [item.path for item in built.items] == [str(name) for name in names]


def test_an_index_replaced_from_itself_gives_no_id_again(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 6), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    last = items(out)[5].path
    zs.remove(out, [last])
    built = zs.build_gallery(zs.open_source([out]), out, HashingEncoder(seed=1), force=True)
    assert built.manifest.next_id == 6


def test_pictures_added_one_by_one_stay_when_their_folder_is_gone(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 20), tmp_path / "out"
    drive = tmp_path / "drive"
    for number in range(3):
        picture(drive / f"{number}.png", 100 + number)
    zs.build_gallery(photos, out, HashingEncoder())
    for path in sorted(drive.rglob("*.png")):
        zs.add(out, zs.open_source([path]), HashingEncoder())
    shutil.move(drive, tmp_path / "unplugged")
    assert zs.sync(out, HashingEncoder()).removed == 0
    shutil.move(tmp_path / "unplugged", drive)
    next(drive.rglob("*.png")).unlink()
    assert zs.sync(out, HashingEncoder()).removed == 1


def test_a_gallery_read_again_keeps_its_ids(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 20), tmp_path / "out"
    (photos / "class 0" / "bad.png").write_bytes(b"junk")
    zs.build_gallery(photos, out, HashingEncoder())
    zs.remove(out, ["class 1"])
    again = zs.build_gallery(out, tmp_path / "again", HashingEncoder(seed=1))
    assert {i.id: i.path for i in again.items} == {i.id: i.path for i in items(out).values()}
    assert [one.path for one in again.manifest.skipped] == ["class 0/bad.png"]
    picture(photos / "class 0" / "bad.png", 5)
    third = zs.build_gallery(out, tmp_path / "third", HashingEncoder())
    assert {i.path: i.id for i in third.items}["class 0/bad.png"] > max(items(out))


def test_a_list_of_skips_follows(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 40), tmp_path / "out"
    bad = photos / "class 0" / "0000 bad.png"
    bad.write_bytes(b"junk")
    begun(photos, out, 32)
    bad.unlink()
    assert zs.build_gallery(photos, out, HashingEncoder()).manifest.skipped == ()
    with pytest.raises(KeyboardInterrupt):
        zs.rebuild(out, Counting(16, seed=1))
    (photos / "class 1" / "bad.png").write_bytes(b"junk")
    zs.add(out, photos, HashingEncoder())
    assert [s.path for s in zs.rebuild(out, HashingEncoder(seed=1)).changes.skipped] == ["class 1/bad.png"]
    victim = photos / "class 2" / "0002.png"
    kept = tmp_path / "kept.png"
    shutil.copy2(victim, kept)
    victim.write_bytes(b"junk")
    assert len(zs.sync(out, HashingEncoder(seed=1)).skipped) == 2
    shutil.copy2(kept, victim)
    zs.sync(out, HashingEncoder(seed=1))
    assert [one.path for one in manifests.read(out).skipped] == ["class 1/bad.png"]
