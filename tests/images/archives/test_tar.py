from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from kits.archives import digests, digests_in_a_fresh_process, write_tar
from kits.hashing_encoder import HashingEncoder
from kits.images import picture, png

import zsretrieve as zs
from zsretrieve.domain.errors import ImageError, SourceError
from zsretrieve.images import opening


def test_labels_beside_the_pictures_of_a_tar(tmp_path: Path) -> None:
    content = {
        "a/1.jpg.png": png(1), "a/1.cls": b"7\n", "a/1.json": b'{"label": "wrong"}', "a/1.txt": b"wrong",
        "a/2.png": png(2), "a/2.json": b'{"caption": 1, "class_name": "great white shark"}', "a/2.txt": b"wrong",
        "a/3.txt": b" a photo \n", "a/3.png": png(3),
        "4.cls": b"tench", "4.png": png(4),
        "5.json": b"{broken", "5.txt": b"words", "5.png": png(5),
        "6.json": b'{"label": 12}', "6.png": png(6),
        "7.png": png(7),
        "a/4.png": png(8),
        "8.cls": "tench\r\n".encode("utf-16"), "8.png": png(9),
        "9.json": b'{"label": 12.0}', "9.png": png(10),
        "10.json": b'{"label": 12.5}', "10.png": png(11),
    }  # fmt: skip
    source = zs.open_source([write_tar(tmp_path / "x.tar", content)])
    assert [file.label for file in source.files] == [
        "7", "great white shark", "a photo", "tench", "words", "#12", None, None, "tench", "#12", None,
    ]  # fmt: skip


def test_odd_labels_beside_pictures_are_text_or_none_and_no_damage(tmp_path: Path) -> None:
    content = {
        "0.png": png(0), "0.cls": b"9" * 5000,
        "1.png": png(1), "1.json": b'{"label": ' + b"9" * 5000 + b"}",
        "2.png": png(2), "2.json": b'{"label": "\\ud800x"}',
        "3.png": png(3), "3.json": b'{"label": "\\ud800x", "class": "cat"}',
        "4.png": png(4), "4.cls": b"9" * 18,
        "5.png": png(5), "5.json": b"[" * 100_000,
        "6.png": png(6), "6.cls": b"\xfe\xfd",
        "7.png": png(7), "7.cls": b"x" * 1_048_577,
    }  # fmt: skip
    labels = ["9" * 5000, None, None, "cat", "9" * 18, None, "\udcfe\udcfd", None]
    built = zs.build_gallery(write_tar(tmp_path / "x.tar", content), tmp_path / "g", HashingEncoder())
    assert built.manifest.skipped == ()
    assert [item.label for item in built.items] == labels


def test_labels_of_a_tar_of_folders(tmp_path: Path) -> None:
    content = {"./README.txt": b"read me", "./cat/1.png": png(1), "./2.png": png(2), "/dog/x/3.png": png(3)}
    source = zs.open_source([write_tar(tmp_path / "x.tar", content)])
    assert [(f.path, f.label) for f in source.files] == [
        ("x.tar!/cat/1.png", "cat"), ("x.tar!/2.png", None), ("x.tar!//dog/x/3.png", "dog"),
    ]  # fmt: skip
    assert len(digests(source)) == 3


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_odd_names_in_a_tar(tmp_path: Path, form: int) -> None:
    odd = [
        "a b!/c.png", "!/d.png", "quote'\".png", "new\nline.png", "-dash.png", "../up.png", "/abs.png",
        os.fsdecode(b"\xff\xfe.png"), "é.png", "x.zip!/y.png", "deep/" * 25 + "z.png",
    ]  # fmt: skip
    content = {name: png(number) for number, name in enumerate(odd)}
    content |= {"._a.png": b"", "__MACOSX/b.png": b"", ".hidden/c.png": b""}
    source = zs.open_source([write_tar(tmp_path / "x.tar", content, form)])
    assert [file.path for file in source.files] == [f"x.tar!/{name}" for name in odd]
    wanted = [hashlib.sha256(png(number)).hexdigest() for number in range(len(odd))]
    assert digests(source) == wanted
    assert digests_in_a_fresh_process(source, tmp_path) == wanted
    assert not (tmp_path.parent / "up.png").exists()


def test_a_tar_cut_short_gives_what_is_there(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", {f"{n}.png": png(n) for n in range(5)}).read_bytes()
    third = whole.index(b"3.png\0")
    for end, count in ((third + 512 + 20, 3), (third + 100, 3), (third, 3)):
        (tmp_path / "cut.tar").write_bytes(whole[:end])
        source = zs.open_source([tmp_path / "cut.tar"])
        assert len(source.files) == count
        assert [(s.path, s.reason[:18]) for s in source.skipped] == [("cut.tar", "archive: cut short")]
        assert digests(source) == [hashlib.sha256(png(n)).hexdigest() for n in range(count)]
    (tmp_path / "cut.tar").write_bytes(whole[:third] + b"garbage!" * 200)
    built = zs.build_gallery(tmp_path / "cut.tar", tmp_path / "g", HashingEncoder())
    assert len(built.items) == 3
    # What was cut off may come back with the rest of the file.
    assert not opening.is_missing(f"{tmp_path}/cut.tar!/4.png")
    assert opening.is_missing(f"{tmp_path}/x.tar!/9.png")
    again = zs.build_gallery(tmp_path / "g", tmp_path / "g2", HashingEncoder())
    assert (again.items, again.manifest.skipped) == (built.items, built.manifest.skipped)


def test_a_tar_of_damage_never_raises_anything_else(tmp_path: Path) -> None:
    content = {f"{'long' * 40}{n}.png": png(n) for n in range(3)} | {"0.json": b"{}"}
    whole = write_tar(tmp_path / "x.tar", content).read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for number in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, 4000, 6):
            damaged[place] = rng.integers(0, 256)
        path = tmp_path / f"{number}.tar"
        path.write_bytes(damaged)
        try:
            source = zs.open_source([path])
            outcomes.add(bool(source.skipped))
            for file in source.files:
                opening.read(source.address(file))
        except (SourceError, ImageError) as error:
            outcomes.add(type(error).__name__)
        path.unlink()
    assert outcomes >= {True, "SourceError"}


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.tar"])
def test_a_compressed_tar_is_refused_with_a_way_out(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / name, "w:gz") as tar:
        tar.add(picture(tmp_path / "a.png"), "a.png")
    with pytest.raises(SourceError, match="is compressed") as raised:
        zs.open_source([tmp_path / name])
    assert "gunzip" in str(raised.value.hint)


def test_links_and_devices_in_a_tar_are_refused_one_by_one(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(picture(tmp_path / "a.png"), "a.png")
        for name, kind in (
            ("hard.png", tarfile.LNKTYPE),
            ("soft.png", tarfile.SYMTYPE),
            ("device.png", tarfile.CHRTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.png"
            tar.addfile(member)
    source = zs.open_source([tmp_path / "x.tar"])
    assert [file.path for file in source.files] == [f"x.tar!/{n}.png" for n in ("a", "hard", "soft", "device")]
    whole = (tmp_path / "a.png").read_bytes()
    assert [opening.read(source.address(file)).data for file in source.files[:2]] == [whole, whole]
    for file, reason in zip(source.files[2:], ("a link", "not a regular file"), strict=True):
        with pytest.raises(ImageError, match=reason):
            opening.read(source.address(file))
        with pytest.raises(ImageError, match=reason):
            opening.state(source.address(file))
