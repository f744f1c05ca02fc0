from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kits.archives import KINDS, digests, digests_in_a_fresh_process, tables, two_tars, write_tar, write_zip
from kits.hashing_encoder import NEVER, HashingEncoder
from kits.images import picture, png

import zsretrieve as zs
from zsretrieve.domain.errors import ImageError, SourceError
from zsretrieve.images import opening
from zsretrieve.images.archives import open_archive


class _Odd:
    """An archive of what no index can hold."""

    damage = None
    label_problem = None
    repeated = 0

    def members(self) -> Iterable[tuple[str, str | None]]:
        return iter([("a.png", "\ud800"), ("\ud800.png", "cat"), ("\udcff.png", "\udcff")])


def test_what_no_index_could_hold_is_skipped_or_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["zsretrieve.images.sources.archived"], "open_archive", lambda _: _Odd())
    source = zs.open_source([write_tar(tmp_path / "x.tar", {"a.png": png(0)})])
    assert [(file.path, file.label) for file in source.files] == [
        ("x.tar!/a.png", None), ("x.tar!/\udcff.png", "\udcff"),
    ]  # fmt: skip
    assert [(s.path, s.reason) for s in source.skipped] == [
        ("x.tar!/\\ud800.png", "archive: a member's name that is not text")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_read_in_threads_and_opened_again_elsewhere(kind: str, tmp_path: Path) -> None:
    source = zs.open_source(KINDS[kind](tmp_path))
    expected = {
        "tar": [*range(6)],
        "zip": [0, 2, 4, 1, 3],
        "parquet": [*range(7), *range(10, 17)],
        "hf": [*range(6)],
    }[kind]
    labels = {
        "tar": [str(n) for n in range(6)],
        "zip": ["a", "a", "a", "b", "b"],
        "parquet": ["cat", "dog", "cat", "dog", "cat", "dog", "cat"] * 2,
        "hf": ["cat", "dog"] * 3,
    }[kind]
    assert [file.label for file in source.files] == labels
    wanted = [hashlib.sha256(png(n)).hexdigest() for n in expected]
    assert digests(source) == wanted
    (tmp_path / "elsewhere").mkdir()
    assert digests_in_a_fresh_process(source, tmp_path / "elsewhere") == wanted
    for file, number in zip(source.files, expected, strict=True):
        found, read = opening.state(source.address(file)), opening.read(source.address(file))
        assert (found.bytes, found.mtime_ns) == (len(png(number)), read.mtime_ns)
        assert found.mtime_ns > 0
        assert opening.relative(source.root, source.address(file)) == file.path
        assert not opening.is_missing(source.address(file))
        assert opening.is_missing(f"{source.address(file)}99")
    assert source.origin is not None
    again = zs.open_source([source.origin])
    assert (again.root, again.files) == (source.root, source.files)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gallery_of_every_kind_is_read_again(kind: str, tmp_path: Path) -> None:
    first = zs.build_gallery(KINDS[kind](tmp_path)[0], tmp_path / "g1", HashingEncoder())
    again = zs.build_gallery(tmp_path / "g1", tmp_path / "g2", HashingEncoder())
    assert again.items == first.items
    assert len(first.items) > 4


def test_addresses_and_paths(tmp_path: Path) -> None:
    source = zs.open_source(two_tars(tmp_path))
    assert source.root == str(tmp_path)
    assert source.files[3].path == "train-0001.tar!/n0003.png"
    assert source.address(source.files[3]) == f"{tmp_path}/train-0001.tar!/n0003.png"
    single = zs.open_source([source.address(source.files[3]), source.address(source.files[0])])
    assert digests(single) == [hashlib.sha256(png(n)).hexdigest() for n in (3, 0)]
    assert zs.open_source([tmp_path / "train-0001.tar"]).origin == f"{tmp_path}/train-0001.tar"


def test_several_archives_of_several_kinds_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a,b").mkdir()
    (tmp_path / "c{1..2}").mkdir()
    write_tar(tmp_path / "a,b" / "x.tar", {"cat/1.png": png(1), "dog/2.png": png(2)})
    write_zip(tmp_path / "c{1..2}" / "y\\.zip", {"bird/3.png": png(3)})
    monkeypatch.chdir(tmp_path)
    source = zs.open_source(["a,b/x.tar", "./c{1..2}/y\\.zip"])
    assert source.root == str(tmp_path)
    assert [(f.path, f.label) for f in source.files] == [
        ("a,b/x.tar!/cat/1.png", "cat"), ("a,b/x.tar!/dog/2.png", "dog"), ("c{1..2}/y\\.zip!/bird/3.png", "bird"),
    ]  # fmt: skip
    monkeypatch.chdir("/")
    assert source.origin is not None
    assert zs.open_source([source.origin]).files == source.files
    assert digests(source) == [hashlib.sha256(png(n)).hexdigest() for n in (1, 2, 3)]


def test_real_folders_that_look_like_archives(tmp_path: Path) -> None:
    for folder in ("a!", "b.tar!", "c.zip", "d.parquet"):
        picture(tmp_path / "in" / folder / "1.png")
    source = zs.open_source([tmp_path / "in"])
    assert [file.path for file in source.files] == ["a!/1.png", "b.tar!/1.png", "c.zip/1.png", "d.parquet/1.png"]
    assert len(set(digests(source))) == 1
    assert opening.state(source.address(source.files[1])).bytes > 0
    assert len(zs.open_source([tmp_path / "in" / "c.zip"]).files) == 1
    write_tar(tmp_path / "in" / "b.tar", {"1.png": png(1)})
    with pytest.raises(SourceError, match="the same address"):
        zs.open_source([tmp_path / "in" / "b.tar"])


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for name in ("x.tar", "x.zip", "x.parquet"):
        (tmp_path / name).write_bytes(b"no archive at all" * 1000)
        with pytest.raises(SourceError, match="is not a"):
            zs.open_source([tmp_path / name])
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(SourceError, match=r"is not a|no images"):
            zs.open_source([tmp_path / name])
        with pytest.raises(SourceError, match=r"no folder or file|no file"):
            zs.open_source([tmp_path / f"missing-{name}"])
    write_zip(tmp_path / "none.zip", {"a.txt": b"x"})
    with pytest.raises(SourceError, match="no images"):
        zs.open_source([tmp_path / "none.zip"])
    two_tars(tmp_path)
    with pytest.raises(SourceError, match=r"no file '.*train-0002.tar'"):
        zs.open_source([f"{tmp_path}/train-{{0000..0002}}.tar"])
    with pytest.raises(SourceError, match="is an archive"):
        zs.open_source([picture(tmp_path / "a.png"), tmp_path / "train-0000.tar"])
    (tmp_path / "only").mkdir()
    write_tar(tmp_path / "only" / "x.tar", {"a.png": png(1)})
    with pytest.raises(SourceError, match="no images") as raised:
        zs.open_source([tmp_path / "only"])
    assert "by name" in str(raised.value.hint)


def test_an_archive_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / "x.tar", {f"{'pad' * number}.txt": b"x", "a.png": png(number)})
        os.utime(tmp_path / "x.tar", ns=(number + 1, number + 1))
        assert opening.read(f"{tmp_path}/x.tar!/a.png").data == png(number)
    with pytest.raises(ImageError, match="no such member"):
        opening.read(f"{tmp_path}/x.tar!/b.png")
    (tmp_path / "x.tar").unlink()
    for action in (opening.read, opening.state):
        with pytest.raises(ImageError, match="no such file"):
            action(f"{tmp_path}/x.tar!/a.png")


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    for shard in range(200):
        write_tar(tmp_path / f"{shard:03}.tar", {"a.png": png(shard)})
    source = zs.open_source([f"{tmp_path}/{{000..199}}.tar"])
    assert digests(source, 16) == [hashlib.sha256(png(shard)).hexdigest() for shard in range(200)]
    open_now = [
        os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")
    ]
    assert 0 < sum(name.startswith(str(tmp_path)) for name in open_now) <= 64


def test_the_same_archive_is_opened_once(tmp_path: Path) -> None:
    path = str(write_tar(tmp_path / "x.tar", {"a.png": png(1)}))
    with ThreadPoolExecutor(8) as pool:
        assert len({id(archive) for archive in pool.map(open_archive, [path] * 50)}) == 1


def test_ground_truth_for_a_flat_tar(tmp_path: Path) -> None:
    content = {f"ILSVRC2012_val_0000000{n}.JPEG": png(n) for n in (3, 1, 2)}
    path = write_tar(tmp_path / "val.tar", content)
    (tmp_path / "truth.txt").write_text("n00000001\nn00000002\nn00000003\n")
    source = zs.open_source([path], ground_truth=tmp_path / "truth.txt")
    assert [file.label for file in source.files] == ["n00000003", "n00000001", "n00000002"]
    (tmp_path / "truth.txt").write_text("ILSVRC2012_val_00000002.JPEG 65\n")
    source = zs.open_source([path], ground_truth=tmp_path / "truth.txt")
    assert [file.label for file in source.files] == [None, None, "65"]
    with pytest.raises(SourceError, match="goes with one folder"):
        zs.open_source([*tables(tmp_path), path], ground_truth=tmp_path / "truth.txt")


def test_a_picture_in_an_archive_may_be_asked_for(tmp_path: Path) -> None:
    """By the address that a search prints; its vector is the gallery's own, and it is left out of its own results."""
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for number in range(6):
            archive.writestr(f"class {number % 2}/{number}.png", png(number))
    gallery = zs.build_gallery(tmp_path / "photos.zip", tmp_path / "g", HashingEncoder())
    address = gallery.path_of(gallery.items[2])
    assert address == f"{tmp_path}/photos.zip!/class 0/4.png"

    hits = zs.search(gallery, address, NEVER, k=5)
    assert len(hits) == 5
    assert address not in {hit.path for hit in hits}
    (tmp_path / "link.zip").symlink_to("photos.zip")
    again = zs.search(gallery, f"{tmp_path}/link.zip!/class 0/4.png", HashingEncoder(), k=5)
    assert [hit.id for hit in again] == [hit.id for hit in hits]


def test_keeping_a_gallery_of_an_archive(tmp_path: Path) -> None:
    def write(numbers: Iterable[int]) -> None:
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for number in numbers:
                archive.writestr(f"class {number % 2}/{number}.png", png(number))

    write(range(6))
    out = tmp_path / "g"
    zs.build_gallery(tmp_path / "photos.zip", out, HashingEncoder())
    write([0, 1, 2, 4, 5, 6])
    changes = zs.sync(out, HashingEncoder())
    assert (changes.added, changes.removed, changes.unchanged, changes.encoded) == (1, 1, 5, 1)
    ids = {item.path.rpartition("/")[2]: item.id for item in zs.open_gallery(out).items}
    assert ids == {"0.png": 0, "2.png": 1, "4.png": 2, "1.png": 3, "5.png": 5, "6.png": 6}, "the one of 3.png is gone"
    assert zs.verify_deep(out, HashingEncoder(), sample=99).n_same == 6
    (tmp_path / "photos.zip").unlink()
    with pytest.raises(SourceError):
        zs.sync(out, HashingEncoder())
    assert len(zs.open_gallery(out).items) == 6
