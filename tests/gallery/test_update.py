"""Adding, removing and synchronising: what is encoded, what keeps its id, what is told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.folders import table
from kits.hashing_encoder import NEVER, HashingEncoder, LazyModel
from kits.pictures import Counting, picture, pictures

import zsretrieve as zs
from zsretrieve.domain.errors import IndexFormatError, SkippedInputError, SourceError, SpaceMismatchError
from zsretrieve.domain.records import Changes, Skipped
from zsretrieve.images import sources


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures(tmp_path / "photos", 30)


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    zs.build_gallery(photos, tmp_path / "gallery", HashingEncoder())
    return tmp_path / "gallery"


def ids(gallery: Path) -> dict[str, int]:
    return {item.path: item.id for item in zs.open_gallery(gallery, device="cpu").items}


def labels(gallery: Path) -> dict[str, str | None]:
    return {item.path: item.label for item in zs.open_gallery(gallery, device="cpu").items}


def sound(gallery: Path) -> None:
    """Verified, and every vector is what its file encodes to."""
    assert zs.verify(gallery) == []
    checked = zs.verify_deep(gallery, HashingEncoder(), sample=10_000)
    assert (checked.n_changed, checked.damages) == (0, ())


def test_nothing_new_encodes_nothing_and_commits_nothing(gallery: Path, photos: Path) -> None:
    before = (gallery / "manifest.json").read_bytes()

    assert zs.add(gallery, photos, NEVER) == Changes(unchanged=30)
    assert zs.sync(gallery, NEVER) == Changes(unchanged=30)
    assert (gallery / "manifest.json").read_bytes() == before


def test_adding_new_and_changed(gallery: Path, photos: Path) -> None:
    before = ids(gallery)
    picture(photos / "class 9" / "new.png", 100)
    picture(photos / "class 0" / "0003.png", 101)
    os.utime(photos / "class 1" / "0004.png", ns=(5, 5))
    encoder = Counting()
    changes = zs.add(gallery, photos, encoder)
    assert changes == Changes(added=1, changed=1, unchanged=29, encoded=2)
    assert encoder.count == 2
    after = ids(gallery)
    assert after == {**before, "class 9/new.png": 30}
    assert labels(gallery)["class 9/new.png"] == "class 9"
    sound(gallery)
    assert zs.add(gallery, photos, Counting(0)).unchanged == 31, "the touched one is known by its new time"


def test_a_moved_file_keeps_its_id_and_a_copied_one_shares_the_vector(gallery: Path, photos: Path) -> None:
    before = ids(gallery)
    (photos / "class 7").mkdir()
    (photos / "class 0" / "0000.png").rename(photos / "class 7" / "moved.png")
    shutil.copy(photos / "class 1" / "0001.png", photos / "copy.png")
    changes = zs.add(gallery, photos, Counting(0))
    assert (changes.moved, changes.added, changes.encoded) == (1, 1, 0)
    after = ids(gallery)
    assert after["class 7/moved.png"] == before["class 0/0000.png"]
    assert "class 0/0000.png" not in after
    assert after["copy.png"] == 30
    assert labels(gallery)["class 7/moved.png"] == "class 7"
    opened = zs.open_gallery(gallery, device="cpu")
    row = {item.path: r for r, item in enumerate(opened.items)}
    np.testing.assert_array_equal(opened.vectors[row["copy.png"]], opened.vectors[row["class 1/0001.png"]])
    sound(gallery)


def test_the_model_is_not_asked_for_what_it_need_not_see(gallery: Path, photos: Path) -> None:
    """Moved, copied, touched and broken files are known or refused without it."""
    (photos / "class 0" / "0000.png").rename(photos / "moved.png")
    shutil.copy(photos / "class 1" / "0001.png", photos / "copy.png")
    (photos / "broken.png").write_bytes(b"no")
    os.utime(photos / "class 2" / "0002.png", ns=(5, 5))

    changes = zs.sync(gallery, NEVER)
    assert (changes.moved, changes.added, changes.unchanged, len(changes.skipped)) == (1, 1, 29, 1)


def test_contents_are_compared_on_demand(gallery: Path, photos: Path) -> None:
    path = photos / "class 0" / "0000.png"
    state, size = path.stat(), path.stat().st_size
    for number in range(1000, 3000):  # another picture of the same size in bytes
        picture(path, number)
        if path.stat().st_size == size:
            break
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert zs.add(gallery, photos, HashingEncoder()).changed == 0
    assert zs.add(gallery, photos, HashingEncoder(), checksum=True) == Changes(changed=1, unchanged=29, encoded=1)
    sound(gallery)


def test_another_folder_may_be_added(gallery: Path, tmp_path: Path) -> None:
    others = pictures(tmp_path / "others", 6, first=500)
    assert zs.add(gallery, others, HashingEncoder()).added == 6
    opened = zs.open_gallery(gallery, device="cpu")
    assert opened.items[-1].path == str(others / "class 2" / "0503.png")
    assert opened.items[-1].label == "class 2"
    assert all(os.path.isfile(opened.path_of(item)) for item in opened.items)
    assert opened.manifest.origins == (str(tmp_path / "photos"), str(others))
    (others / "class 2" / "0503.png").unlink()
    picture(others / "class 2" / "0600.png", 600)
    assert zs.sync(gallery, HashingEncoder()) == Changes(added=1, removed=1, unchanged=35, encoded=1)
    sound(gallery)


def test_the_model_is_made_once_for_several_sources(gallery: Path, photos: Path, tmp_path: Path) -> None:
    others = pictures(tmp_path / "others", 3, first=500)
    zs.add(gallery, others, HashingEncoder())
    picture(photos / "new.png", 600)
    picture(others / "new.png", 601)
    made = []

    def make() -> HashingEncoder:
        made.append(HashingEncoder())
        return made[-1]

    assert zs.sync(gallery, LazyModel(make)).added == 2
    assert len(made) == 1


def test_syncing(gallery: Path, photos: Path) -> None:
    before = ids(gallery)
    shutil.move(photos / "class 2", photos / "class 8")
    (photos / "class 0" / "0000.png").unlink()
    picture(photos / "class 0" / "0003.png", 300)
    picture(photos / "class 0" / "0100.png", 301)
    (photos / "class 0" / "bad.png").write_bytes(b"bad")
    changes = zs.sync(gallery, Counting())
    assert changes == Changes(
        added=1, changed=1, moved=10, removed=1, unchanged=18, encoded=2,
        skipped=(Skipped("class 0/bad.png", "not a readable image"),),
    )  # fmt: skip
    after = ids(gallery)
    for path, id_ in before.items():
        now = path.replace("class 2", "class 8")
        assert after.get(now) == (None if path == "class 0/0000.png" else id_)
    assert after["class 0/0100.png"] == 30
    sound(gallery)
    (photos / "class 0" / "bad.png").unlink()
    assert zs.sync(gallery, Counting(0)) == Changes(unchanged=30)
    assert zs.open_gallery(gallery).manifest.skipped == ()


def test_an_id_is_never_given_twice(gallery: Path, photos: Path) -> None:
    assert zs.remove(gallery, ["class 2/0029.png"]).removed == 1
    zs.compact(gallery)
    assert zs.sync(gallery, HashingEncoder()).added == 1
    assert ids(gallery)["class 2/0029.png"] == 30


def test_what_cannot_be_looked_at_stays(gallery: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "class 1" / "0001.png").write_bytes(b"became unreadable")
    changes = zs.sync(gallery, HashingEncoder())
    assert (changes.removed, changes.unchanged) == (0, 29)
    assert changes.skipped == (Skipped("class 1/0001.png", "not a readable image"),)
    assert "class 1/0001.png" in ids(gallery)
    shutil.move(photos / "class 2", photos.parent / "hidden")
    stat = os.stat

    def refusing(path: object, **options: object) -> os.stat_result:
        if "class 2" in os.fsdecode(path):  # type: ignore[arg-type]
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "stat", refusing)
    assert zs.sync(gallery, HashingEncoder()).removed == 0


def test_a_drive_that_is_not_there_removes_nothing(gallery: Path, photos: Path) -> None:
    photos.rename(photos.with_name("elsewhere"))
    with pytest.raises(SourceError, match="there is no folder"):
        zs.sync(gallery, HashingEncoder())
    photos.mkdir()
    with pytest.raises(SourceError, match="no images"):
        zs.sync(gallery, HashingEncoder())
    assert len(ids(gallery)) == 30


def test_a_gallery_of_files_named_one_by_one(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "listed"
    names = sorted(photos.rglob("*.png"))[:12]
    zs.build_gallery(sources.paths(names, photos), out, HashingEncoder())
    picture(names[0], 400)
    names[1].unlink()
    assert zs.sync(out, HashingEncoder()) == Changes(changed=1, removed=1, unchanged=10, encoded=1)
    for name in names[2:]:
        name.unlink()
    names[0].unlink()
    (photos / "class 0" / "notes.txt").write_text("its folder is not empty, so no drive is missing")
    with pytest.raises(SourceError, match="not one of the 11 images") as caught:
        zs.sync(out, HashingEncoder())
    assert "mounted" in str(caught.value.hint)
    sound_ids = [item.id for item in zs.open_gallery(out).items]
    assert sound_ids == [0, *range(2, 12)]


def test_labels_are_kept_or_taken(photos: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.txt"
    names = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.png"))
    truth.write_text("".join(f"{name} tench\n".replace("class ", "class_") for name in names))
    for number in range(3):
        (photos / f"class {number}").rename(photos / f"class_{number}")
    out = tmp_path / "labelled"
    zs.build_gallery(photos, out, HashingEncoder(), ground_truth=truth)
    assert set(labels(out).values()) == {"tench"}
    picture(photos / "class_0" / "0000.png", 900)
    (photos / "class_1" / "0001.png").rename(photos / "class_2" / "from 1.png")
    assert zs.sync(out, HashingEncoder()).changed == 1
    assert set(labels(out).values()) == {"tench"}, "a ground truth is not forgotten by a sync without it"
    truth.write_text("".join(f"{path} goldfish\n" for path in ids(out) if " " not in path))
    assert zs.add(out, photos, Counting(0), ground_truth=truth).encoded == 0
    assert set(labels(out).values()) == {"goldfish", None}
    sound(out)


def test_removing_by_path_folder_and_glob(gallery: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert zs.remove(gallery, ["class 0/0000.png"]) == Changes(removed=1, unchanged=29)
    assert zs.remove(gallery, [str(photos / "class 0" / "0003.png")]).removed == 1
    monkeypatch.chdir(photos / "class 0")
    assert zs.remove(gallery, ["0006.png"]).removed == 1
    assert zs.remove(gallery, ["class 1/"], dry_run=True).removed == 10
    assert len(ids(gallery)) == 27
    assert zs.remove(gallery, ["class 1"]).removed == 10
    assert zs.remove(gallery, ["*/00[01]?.png", "class 2/0020.png"]).removed == 4 + 6 + 1
    assert sorted(ids(gallery)) == [
        "class 0/0021.png", "class 0/0024.png", "class 0/0027.png",
        "class 2/0023.png", "class 2/0026.png", "class 2/0029.png",
    ]  # fmt: skip
    with pytest.raises(SourceError, match=r"matches 'nothing\*'; nothing was removed"):
        zs.remove(gallery, ["class 0", "nothing*"])
    assert len(ids(gallery)) == 6
    sound(gallery)
    assert len(list(photos.rglob("*.png"))) == 30, "the files stay"


def test_what_is_nearer_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    for number, name in enumerate(["a.png", "x/a.png", "x/b.png", "y/x/b.png"]):
        picture(photos / name, number)
    out = tmp_path / "g"
    zs.build_gallery(photos, out, HashingEncoder())
    monkeypatch.chdir(photos / "x")
    assert zs.remove(out, ["a.png"], dry_run=True).removed == 1, "as the gallery writes it, not also as it is from here"
    assert zs.remove(out, ["b.png"], dry_run=True).removed == 1
    assert zs.remove(out, ["."], dry_run=True).removed == 2
    monkeypatch.chdir(photos)
    assert zs.remove(out, ["."], dry_run=True).removed == 4
    assert zs.remove(out, ["x"], dry_run=True).removed == 2
    others = pictures(tmp_path / "others", 3)
    zs.add(out, others, HashingEncoder())
    assert zs.remove(out, ["."], dry_run=True).removed == 4
    with pytest.raises(SourceError, match="an empty path"):
        zs.remove(out, [""])
    assert len(ids(out)) == 7


def test_names_that_look_like_globs_are_names_first(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number, name in enumerate(["a[1].png", "a1.png", "-x.png", "b*.png", "bc.png"]):
        picture(photos / name, number)
    zs.build_gallery(photos, tmp_path / "g", HashingEncoder())
    assert zs.remove(tmp_path / "g", ["a[1].png"]).removed == 1
    assert zs.remove(tmp_path / "g", ["b*.png"]).removed == 1
    assert sorted(ids(tmp_path / "g")) == ["-x.png", "a1.png", "bc.png"]


def test_a_gallery_may_be_emptied_and_filled_again(gallery: Path, photos: Path) -> None:
    assert zs.remove(gallery, ["*"]).removed == 30
    opened = zs.open_gallery(gallery, device="cpu")
    assert (len(opened.items), opened.vectors.shape) == (0, (0, 32))
    assert zs.verify(gallery) == []
    zs.compact(gallery)
    assert zs.verify(gallery) == []
    assert zs.add(gallery, photos, HashingEncoder()).added == 30
    assert sorted(ids(gallery).values()) == list(range(30, 60))
    sound(gallery)


def test_there_are_never_many_segments_and_compacting_leaves_one(gallery: Path, photos: Path) -> None:
    for number in range(40):
        picture(photos / "class 4" / f"{number}.png", 2000 + number)
        zs.add(gallery, photos, HashingEncoder())
    opened = zs.open_gallery(gallery, device="cpu")
    assert len(opened.manifest.segments) <= 6
    before = table(opened)
    _, after = zs.compact(gallery)
    assert len(after.segments) == 1
    assert table(zs.open_gallery(gallery, device="cpu")) == before
    assert len(list((gallery / "segments").iterdir())) == 2
    sound(gallery)


def test_the_wrong_encoder_or_index_is_refused(gallery: Path, photos: Path, tmp_path: Path) -> None:
    picture(photos / "new.png", 50)
    with pytest.raises(SpaceMismatchError, match=r"the embedding spaces of the index \('hashing-0'\)"):
        zs.add(gallery, photos, HashingEncoder(seed=1))
    zs.build_prototypes(tmp_path / "p", "a,b", HashingEncoder())
    with pytest.raises(IndexFormatError, match="not a gallery index"):
        zs.add(tmp_path / "p", photos, HashingEncoder())
    with pytest.raises(IndexFormatError, match="no index at"):
        zs.remove(tmp_path / "nowhere", ["x"])


def test_interrupted_adding_keeps_what_was_encoded(gallery: Path, photos: Path) -> None:
    pictures(photos, 60, first=100)
    with pytest.raises(KeyboardInterrupt):
        zs.add(gallery, photos, Counting(40))
    assert len(ids(gallery)) == 30 + 32
    assert zs.verify(gallery) == []
    encoder = Counting()
    assert zs.add(gallery, photos, encoder).added == 28
    assert encoder.count == 28
    sound(gallery)


def test_strict_adding(gallery: Path, photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"x")
    with pytest.raises(SkippedInputError, match="bad"):
        zs.add(gallery, photos, HashingEncoder(), reading=zs.Reading(strict=True))
    assert zs.add(gallery, photos, HashingEncoder()).skipped[0].path == "bad.png"


def test_the_exif_policy_of_the_gallery_holds(tmp_path: Path) -> None:
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(1).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(pixels).save(photos / name, exif=exif, quality=90 + ord(name[0]) % 5)
    (photos / "b.jpg").rename(tmp_path / "b.jpg")
    zs.build_gallery(photos, tmp_path / "g", HashingEncoder(), reading=zs.Reading(exif=False))
    (tmp_path / "b.jpg").rename(photos / "b.jpg")
    zs.add(tmp_path / "g", photos, HashingEncoder())
    opened = zs.open_gallery(tmp_path / "g")
    assert [(i.width, i.height) for i in opened.items] == [(16, 8), (16, 8)]
    sound(tmp_path / "g")
