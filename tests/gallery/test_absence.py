"""What is not there may be away, moved or deleted; galleries follow the one and keep the other."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from kits.archives import write_zip
from kits.folders import contents
from kits.hashing_encoder import NEVER, HashingEncoder
from kits.images import png
from kits.pictures import Counting, picture, pictures

import zsretrieve as zs
from zsretrieve.domain.errors import SkippedInputError, SourceError
from zsretrieve.domain.records import Changes, Origin


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures(tmp_path / "photos", 6)


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    zs.build_gallery(photos, tmp_path / "gallery", HashingEncoder())
    return tmp_path / "gallery"


def ids(gallery: Path) -> dict[str, int]:
    return {item.path: item.id for item in zs.open_gallery(gallery, device="cpu").items}


def paths(gallery: Path) -> list[str]:
    opened = zs.open_gallery(gallery, device="cpu")
    return [opened.path_of(item) for item in opened.items]


class TestAway:
    def test_a_drive_behind_a_link_may_come_back(self, gallery: Path, photos: Path, tmp_path: Path) -> None:
        drive = pictures(tmp_path / "drive", 4, first=50)
        (photos / "linked").symlink_to(drive)
        zs.sync(gallery, HashingEncoder())
        before = ids(gallery)
        drive.rename(tmp_path / "unplugged")

        changes = zs.sync(gallery, NEVER)
        assert changes == Changes(unchanged=6, missing=4, skipped=changes.skipped)
        assert [one.path for one in changes.skipped] == ["linked"]
        assert changes.skipped[0].reason == (
            f"folder: a link to '{drive}', which is missing; 4 images kept, to remove with index sync --prune"
        )
        written = (gallery / "manifest.json").read_bytes()
        assert zs.sync(gallery, NEVER).missing == 4
        assert (gallery / "manifest.json").read_bytes() == written
        (tmp_path / "unplugged").rename(drive)
        assert zs.sync(gallery, NEVER) == Changes(unchanged=10)
        assert ids(gallery) == before

        drive.rename(tmp_path / "unplugged")
        assert zs.sync(gallery, NEVER, prune=True).removed == 4
        assert len(ids(gallery)) == 6

    def test_an_empty_mount_point_keeps_what_was_in_it(self, gallery: Path, photos: Path, tmp_path: Path) -> None:
        pictures(photos / "mount", 4, first=50)
        zs.sync(gallery, HashingEncoder())
        before = ids(gallery)
        shutil.rmtree(photos / "mount")
        (photos / "mount").mkdir()
        changes = zs.sync(gallery, NEVER)
        assert (changes.missing, changes.removed) == (4, 0)
        assert changes.skipped[0].reason.startswith("folder: empty now; 4 images kept")
        assert ids(gallery) == before
        assert zs.sync(gallery, NEVER, prune=True, dry_run=True).removed == 4
        assert zs.sync(gallery, NEVER, prune=True).removed == 4

    def test_a_folder_that_is_deleted_or_replaced_by_a_file_is_gone(self, gallery: Path, photos: Path) -> None:
        shutil.rmtree(photos / "class 0")
        shutil.rmtree(photos / "class 1")
        (photos / "class 1").write_text("now a file")
        assert zs.sync(gallery, NEVER) == Changes(unchanged=2, removed=4)

    def test_images_moved_out_of_a_folder_keep_their_ids(self, gallery: Path, photos: Path) -> None:
        before = ids(gallery)
        for file in list((photos / "class 0").iterdir()):
            file.rename(photos / "class 1" / f"from 0 {file.name}")
        assert zs.sync(gallery, NEVER) == Changes(moved=2, unchanged=4)
        assert sorted(ids(gallery).values()) == sorted(before.values())

    def test_a_copy_does_not_take_the_id_of_an_image_that_is_away(
        self, gallery: Path, photos: Path, tmp_path: Path
    ) -> None:
        drive = pictures(tmp_path / "drive", 2, first=50)
        (photos / "linked").symlink_to(drive)
        zs.sync(gallery, HashingEncoder())
        before = ids(gallery)
        drive.rename(tmp_path / "backup")
        changes = zs.add(gallery, tmp_path / "backup", NEVER)
        assert (changes.added, changes.moved) == (2, 0)
        assert before.items() <= ids(gallery).items()

    def test_what_cannot_be_looked_at_is_pruned_on_request_alone(
        self, gallery: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.move(photos / "class 2", photos.parent / "hidden")
        stat = os.stat

        def refusing(path: object, **options: object) -> os.stat_result:
            if "class 2" in os.fsdecode(path):  # type: ignore[arg-type]
                raise PermissionError(13, "Permission denied")
            return stat(path, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(os, "stat", refusing)
        assert zs.sync(gallery, NEVER).removed == 0
        assert zs.sync(gallery, NEVER, prune=True).removed == 2

    def test_one_source_that_is_missing_does_not_stop_the_others(
        self, gallery: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        others = pictures(tmp_path / "others", 3, first=80)
        zs.add(gallery, others, HashingEncoder())
        before = ids(gallery)
        others.rename(tmp_path / "renamed")
        picture(photos / "new.png", 99)
        with caplog.at_level("INFO", "zsretrieve"):
            changes = zs.sync(gallery, HashingEncoder())
        assert (changes.added, changes.missing, changes.removed) == (1, 3, 0)
        assert f"zsretrieve index relocate {gallery} {others} NEW" in caplog.text
        assert f"index sources {gallery} --drop {others}" in caplog.text
        assert before.items() <= ids(gallery).items()
        with pytest.raises(SkippedInputError):
            zs.sync(gallery, NEVER, reading=zs.Reading(strict=True))
        photos.rename(tmp_path / "away")
        with pytest.raises(SourceError, match="there is no folder") as raised:
            zs.sync(gallery, NEVER)
        assert "index relocate" in str(raised.value.hint)
        assert f"zsretrieve index remove {gallery} {others}" in str(raised.value.hint)
        assert zs.remove(gallery, [str(others)]).removed == 3


class TestMoves:
    def test_a_renamed_folder_is_relocated(self, gallery: Path, photos: Path, tmp_path: Path) -> None:
        before = ids(gallery)
        photos.rename(tmp_path / "renamed")
        assert zs.relocate(gallery, f"{photos}/", tmp_path / "renamed") == 6
        assert (ids(gallery), zs.sync(gallery, NEVER)) == (before, Changes(unchanged=6))
        assert all(os.path.isfile(path) for path in paths(gallery))
        assert zs.verify(gallery) == []

    def test_a_folder_that_was_added_from_its_new_place_first(
        self, gallery: Path, photos: Path, tmp_path: Path
    ) -> None:
        photos.rename(tmp_path / "renamed")
        assert zs.add(gallery, tmp_path / "renamed", NEVER).moved == 6
        assert (zs.sync(gallery, NEVER).unchanged, len(ids(gallery))) == (6, 6)
        assert zs.relocate(gallery, photos, tmp_path / "renamed") == 0
        assert zs.sync(gallery, NEVER) == Changes(unchanged=6)
        assert sorted(ids(gallery)) == sorted(str(p.relative_to(tmp_path / "renamed")) for p in
                                              (tmp_path / "renamed").rglob("*.png"))  # fmt: skip
        assert [origin.source for origin in zs.gallery_sources(gallery)] == [str(tmp_path / "renamed")]

    def test_images_that_are_there_twice_after_a_move_are_one(
        self, gallery: Path, photos: Path, tmp_path: Path
    ) -> None:
        before = ids(gallery)
        shutil.copytree(photos, tmp_path / "copy")
        assert zs.add(gallery, tmp_path / "copy", NEVER).added == 6
        shutil.rmtree(photos)
        zs.relocate(gallery, photos, tmp_path / "copy")
        assert ids(gallery) == before

    def test_a_part_and_an_archive_are_relocated(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_zip(tmp_path / "a.zip", {f"{n}.png": png(n) for n in range(3)})
        zs.build_gallery(tmp_path / "a.zip", tmp_path / "g", HashingEncoder())
        pictures(tmp_path / "photos", 3)
        zs.add(tmp_path / "g", tmp_path / "photos", HashingEncoder())
        (tmp_path / "a.zip").rename(tmp_path / "b.zip")
        (tmp_path / "photos" / "class 0").rename(tmp_path / "photos" / "new\nline")
        monkeypatch.chdir(tmp_path)
        assert zs.relocate("g", "a.zip", "b.zip") == 3
        assert zs.relocate("g", "photos/class 0", "photos/new\nline") == 1
        assert all(zs.open_source([path]).files for path in paths(tmp_path / "g"))
        assert zs.sync("g", NEVER) == Changes(unchanged=6)

    def test_shards_given_in_braces_are_relocated(self, tmp_path: Path) -> None:
        old = tmp_path / "a{1}"
        old.mkdir()
        for number in range(2):
            write_zip(old / f"{number}.zip", {f"{number}.png": png(number)})
        zs.build_gallery(zs.open_source([old / "0.zip", old / "1.zip"]), tmp_path / "g", HashingEncoder())
        old.rename(tmp_path / "b,c")
        assert zs.relocate(tmp_path / "g", old, tmp_path / "b,c") == 2
        assert zs.sync(tmp_path / "g", NEVER) == Changes(unchanged=2)
        assert zs.gallery_sources(tmp_path / "g")[0].missing is False

    def test_a_wrong_place_changes_nothing(self, gallery: Path, photos: Path, tmp_path: Path) -> None:
        before = (gallery / "manifest.json").read_bytes()
        with pytest.raises(SourceError, match="none of the 6 images is at"):
            zs.relocate(gallery, photos, tmp_path / "nowhere")
        with pytest.raises(SourceError, match=r"nothing in .* is from") as raised:
            zs.relocate(gallery, f"{photos}-2", tmp_path)
        assert "index sources" in str(raised.value.hint)
        assert (gallery / "manifest.json").read_bytes() == before

    def test_gallery_and_photos_move_together(self, tmp_path: Path) -> None:
        """Wherever they go, and whichever is used first: a search, an update or a verification."""
        old = tmp_path / "old"
        pictures(old / "photos", 3)
        pictures(old / "more", 3, first=20)
        zs.build_gallery(old / "photos", old / "indexes" / "g", HashingEncoder())
        zs.add(old / "indexes" / "g", old / "more", HashingEncoder())
        before = ids(old / "indexes" / "g")
        new = tmp_path / "elsewhere" / "new"
        new.parent.mkdir()
        old.rename(new)
        gallery = new / "indexes" / "g"
        assert all(os.path.isfile(path) for path in paths(gallery))
        assert zs.verify(gallery) == []
        assert zs.sync(gallery, NEVER) == Changes(unchanged=3, moved=3)
        assert sorted(ids(gallery).values()) == sorted(before.values())
        assert [origin.missing for origin in zs.gallery_sources(gallery)] == [False, False]
        new.rename(old)
        assert all(path.startswith(str(old)) for path in paths(old / "indexes" / "g"))

    def test_a_gallery_of_shards_moves_with_them(self, tmp_path: Path) -> None:
        old = tmp_path / "old"
        old.mkdir()
        for number in range(2):
            write_zip(old / f"{number}.zip", {f"{number}.png": png(number)})
        zs.build_gallery(f"{old}/{{0..1}}.zip", old / "g", HashingEncoder())
        old.rename(tmp_path / "new")
        assert zs.sync(tmp_path / "new" / "g", NEVER) == Changes(unchanged=2)
        assert zs.read_manifest(tmp_path / "new" / "g").origins == (f"{tmp_path}/new/{{0.zip,1.zip}}",)

    def test_a_copied_gallery_stays_with_the_photos_that_are_still_there(self, gallery: Path, tmp_path: Path) -> None:
        before = paths(gallery)
        shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-copy"))
        assert paths(tmp_path.with_name(f"{tmp_path.name}-copy") / "gallery") == before


class TestSources:
    def test_sources_are_listed_and_dropped(self, gallery: Path, photos: Path, tmp_path: Path) -> None:
        others = pictures(tmp_path / "others", 3, first=80)
        zs.add(gallery, others, HashingEncoder())
        shutil.rmtree(others)
        assert zs.gallery_sources(gallery) == (Origin(str(photos), 6, False), Origin(str(others), 3, True))
        with pytest.raises(SourceError, match="does not follow 'nowhere'"):
            zs.drop_source(gallery, "nowhere")
        zs.drop_source(gallery, f"{others}/")
        assert [origin.source for origin in zs.gallery_sources(gallery)] == [str(photos)]
        assert len(ids(gallery)) == 9
        assert zs.sync(gallery, NEVER).missing == 3

    def test_one_folder_in_two_spellings_is_one_source(self, gallery: Path, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "alias").symlink_to(photos)
        picture(photos / "new.png", 99)
        assert zs.add(gallery, tmp_path / "alias", HashingEncoder()) == Changes(added=1, unchanged=6, encoded=1)
        assert zs.add(gallery, f"{photos}/./", NEVER) == Changes(unchanged=7)
        assert zs.read_manifest(gallery).origins == (str(photos),)

    def test_what_is_excluded_stays_out(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "g"
        picture(photos / "@eaDir" / "1.png", 90)
        zs.build_gallery(photos, out, HashingEncoder(), exclude="class 0")
        assert len(ids(out)) == 4
        assert zs.sync(out, NEVER) == Changes(unchanged=4)
        assert zs.sync(out, NEVER, exclude=["class 1"]) == Changes(unchanged=4), "what is in the gallery stays"
        zs.remove(out, ["class 1"])
        assert zs.add(out, photos, NEVER) == Changes(unchanged=2)
        assert zs.read_manifest(out).exclude == ("class 0", "class 1")
        assert zs.sync(out, HashingEncoder(), include=["@eaDir"]).added == 1
        zs.rebuild(out, HashingEncoder(seed=1))
        assert zs.read_manifest(out).include == ("@eaDir",)


class TestDryRuns:
    def test_it_counts_what_would_be_done_and_writes_nothing(self, gallery: Path, photos: Path) -> None:
        (photos / "class 0" / "0000.png").rename(photos / "moved.png")
        (photos / "class 1" / "0001.png").unlink()
        picture(photos / "class 0" / "0003.png", 300)
        for name in ("new.png", "twin.png"):
            picture(photos / name, 301)
        (photos / "bad.png").write_bytes(b"bad")
        before = contents(gallery)
        times = {path: path.stat().st_mtime_ns for path in gallery.rglob("*")}
        planned = zs.sync(gallery, NEVER, dry_run=True)
        assert zs.add(gallery, photos, NEVER, dry_run=True).added == 2
        assert contents(gallery) == before
        assert {path: path.stat().st_mtime_ns for path in gallery.rglob("*")} == times
        encoder = Counting()
        assert zs.sync(gallery, encoder) == planned
        assert (planned.added, planned.changed, planned.moved, planned.removed, planned.encoded) == (2, 1, 1, 1, 2)
        assert encoder.count == 2

    def test_it_needs_no_permission_to_write(
        self, gallery: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        picture(photos / "new.png", 99)
        for name in ("replace", "mkdir", "unlink", "rename"):
            monkeypatch.setattr(os, name, lambda *_, **__: pytest.fail("it writes"))
        assert zs.sync(gallery, NEVER, dry_run=True).added == 1


class TestMissingHits:
    def test_a_hit_whose_file_is_gone_is_marked(self, gallery: Path, photos: Path, tmp_path: Path) -> None:
        (photos / "class 0" / "0000.png").unlink()
        hits = zs.search(gallery, "a cat", HashingEncoder(), k=6)
        assert [Path(hit.path).name for hit in hits if hit.missing] == ["0000.png"]
        assert [hit.to_dict()["missing"] for hit in hits].count(True) == 1
        write_zip(tmp_path / "a.zip", {"1.png": png(1)})
        zs.build_gallery(tmp_path / "a.zip", tmp_path / "z", HashingEncoder())
        assert not zs.search(tmp_path / "z", "a cat", HashingEncoder())[0].missing
        (tmp_path / "a.zip").rename(tmp_path / "b.zip")
        assert zs.search(tmp_path / "z", "a cat", HashingEncoder())[0].missing

    def test_the_command_line_counts_them(
        self, scene_folder: Path, tmp_path: Path, run_cli: object
    ) -> None:  # fmt: skip
        shutil.copytree(next(scene_folder.iterdir()), tmp_path / "in" / "a")
        run_cli("index", "gallery", tmp_path / "in", tmp_path / "g", "--model", "demo", "--exclude", "*.gif")  # type: ignore[operator]
        assert zs.read_manifest(tmp_path / "g").exclude == ("*.gif",)
        next((tmp_path / "in" / "a").iterdir()).unlink()
        found = run_cli("search", tmp_path / "g", "a star")  # type: ignore[operator]
        assert found.stdout.count("(missing)") == 1
        assert "1 missing file among the hits" in found.stderr
        assert f"run: zsretrieve index sync {tmp_path / 'g'}" in found.stderr
        (tmp_path / "in").rename(tmp_path / "away")
        found = run_cli("search", tmp_path / "g", "a star")  # type: ignore[operator]
        moved = f"zsretrieve index relocate {tmp_path / 'g'} {tmp_path / 'in'} NEW; if it is gone for good: "
        assert f"{moved}zsretrieve index remove {tmp_path / 'g'} {tmp_path / 'in'}" in found.stderr
        (tmp_path / "away").rename(tmp_path / "in")
        rows = json.loads(run_cli("search", tmp_path / "g", "a star", "--format", "json").stdout)  # type: ignore[operator]
        assert sum(row["missing"] for row in rows) == 1
        shown = run_cli("index", "sources", tmp_path / "g")  # type: ignore[operator]
        assert "there" in shown.stdout
        (tmp_path / "in").rename(tmp_path / "out")
        failed = run_cli("index", "sync", tmp_path / "g")  # type: ignore[operator]
        assert failed.returncode == 1
        assert "index relocate" in failed.stderr
        moved = run_cli("index", "relocate", tmp_path / "g", tmp_path / "in", tmp_path / "out")  # type: ignore[operator]
        assert (moved.returncode, "3 images" in moved.stderr) == (0, True), moved.stderr
        dry = run_cli("index", "sync", tmp_path / "g", "--dry-run")  # type: ignore[operator]
        assert "dry run" in dry.stderr
