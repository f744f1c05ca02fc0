"""Archives as sources: what is listed, that each picture opens again from its address alone, and what is refused."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Run
from kits.pictures import picture, png

from zsretrieve import addresses, api
from zsretrieve.archives import names as archive_names
from zsretrieve.archives import open_archive, parquet
from zsretrieve.archives.caching import Recent
from zsretrieve.encoders.hashing import HashingEncoder
from zsretrieve.errors import ImageError, OptionalDependencyError, SourceError
from zsretrieve.sources import Source

Content = dict[str, bytes]


def write_tar(path: Path, content: Content, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_zip(path: Path, content: Content) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number, (name, data) in enumerate(content.items()):
            how = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            file.writestr(name, data, how)
    return path


def write_parquet(path: Path, images: list[bytes | None], label: pa.Array, **options: object) -> Path:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    values = [None if data is None else {"bytes": data, "path": None} for data in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(values, kind), "label": label})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def two_tars(folder: Path) -> list[str]:
    for shard in range(2):
        content = {}
        for number in range(shard * 3, shard * 3 + 3):
            content[f"n{number:04}.png"] = png(number)
            content[f"n{number:04}.cls"] = str(number).encode()
        write_tar(folder / f"train-{shard:04}.tar", content)
    return [f"{folder}/train-{{0000..0001}}.tar"]


def one_zip(folder: Path) -> list[str]:
    return [str(write_zip(folder / "photos.zip", {f"{'ab'[n % 2]}/x {n}.png": png(n) for n in range(5)}))]


def tables(folder: Path) -> list[str]:
    for number in range(2):
        images = [png(10 * number + row) for row in range(7)]
        write_parquet(
            folder / "data" / f"train-{number:05}-of-00002.parquet",
            images, pa.array([row % 2 for row in range(7)]), row_group_size=3,
        )  # fmt: skip
    return [str(folder / "data")]


def saved(folder: Path) -> list[str]:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": png(n), "path": None} for n in range(6)], "label": [n % 2 for n in range(6)]}
    train = datasets.Dataset.from_dict(rows, features=features)
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": train, "test": train.select(range(2))}).save_to_disk(str(folder / "ds"))
    return [f"hf:{folder}/ds:train"]


KINDS = {"tar": two_tars, "zip": one_zip, "parquet": tables, "hf": saved}


def digest_of(address: str) -> str:
    return hashlib.sha256(addresses.read(address).data).hexdigest()


def digests(source: Source, threads: int = 8) -> list[str]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(digest_of, map(source.address, source.files)))


def digests_in_a_fresh_process(source: Source, cwd: Path) -> list[str]:
    code = (
        "import sys, json, hashlib\n"
        "from zsretrieve import addresses\n"
        "root, paths = json.load(sys.stdin)\n"
        "for path in paths:\n"
        "    print(hashlib.sha256(addresses.read(addresses.join(root, path)).data).hexdigest())\n"
    )
    asked = json.dumps([source.root, [file.path for file in source.files]])
    done = subprocess.run(
        [sys.executable, "-c", code], input=asked, cwd=cwd, capture_output=True, text=True, check=True
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_read_in_threads_and_opened_again_elsewhere(kind: str, tmp_path: Path) -> None:
    source = api.open_source(KINDS[kind](tmp_path))
    expected = {
        "tar": [*range(6)],
        "zip": [0, 2, 4, 1, 3],
        "parquet": [*range(7), *range(10, 17)],
        "hf": [*range(6)],
    }[kind]
    labels = {
        "tar": [f"#{n}" for n in range(6)],
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
        found, read = addresses.state(source.address(file)), addresses.read(source.address(file))
        assert (found.bytes, found.mtime_ns) == (len(png(number)), read.mtime_ns)
        assert found.mtime_ns > 0
    assert source.where is not None
    again = api.open_source([source.where])
    assert (again.root, again.files) == (source.root, source.files)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gallery_of_every_kind_is_read_again(kind: str, tmp_path: Path) -> None:
    first = api.build_gallery(KINDS[kind](tmp_path)[0], tmp_path / "g1", HashingEncoder())
    again = api.build_gallery(tmp_path / "g1", tmp_path / "g2", HashingEncoder())
    assert again.items == first.items
    assert len(first.items) > 4


def test_addresses_and_paths(tmp_path: Path) -> None:
    source = api.open_source(two_tars(tmp_path))
    assert source.root == str(tmp_path)
    assert source.files[3].path == "train-0001.tar!/n0003.png"
    assert source.address(source.files[3]) == f"{tmp_path}/train-0001.tar!/n0003.png"
    single = api.open_source([source.address(source.files[3]), source.address(source.files[0])])
    assert digests(single) == [hashlib.sha256(png(n)).hexdigest() for n in (3, 0)]
    assert api.open_source([tmp_path / "train-0001.tar"]).where == f"{tmp_path}/train-0001.tar"


def test_several_archives_of_several_kinds_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a,b").mkdir()
    (tmp_path / "c{1..2}").mkdir()
    write_tar(tmp_path / "a,b" / "x.tar", {"cat/1.png": png(1), "dog/2.png": png(2)})
    write_zip(tmp_path / "c{1..2}" / "y\\.zip", {"bird/3.png": png(3)})
    monkeypatch.chdir(tmp_path)
    source = api.open_source(["a,b/x.tar", "./c{1..2}/y\\.zip"])
    assert source.root == str(tmp_path)
    assert [(f.path, f.label) for f in source.files] == [
        ("a,b/x.tar!/cat/1.png", "cat"), ("a,b/x.tar!/dog/2.png", "dog"), ("c{1..2}/y\\.zip!/bird/3.png", "bird"),
    ]  # fmt: skip
    monkeypatch.chdir("/")
    assert source.where is not None
    assert api.open_source([source.where]).files == source.files
    assert digests(source) == [hashlib.sha256(png(n)).hexdigest() for n in (1, 2, 3)]


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
    }  # fmt: skip
    source = api.open_source([write_tar(tmp_path / "x.tar", content)])
    assert [file.label for file in source.files] == [
        "#7", "great white shark", "a photo", "tench", "words", "#12", None, None,
    ]  # fmt: skip


def test_labels_of_a_tar_of_folders(tmp_path: Path) -> None:
    content = {"./README.txt": b"read me", "./cat/1.png": png(1), "./2.png": png(2), "/dog/x/3.png": png(3)}
    source = api.open_source([write_tar(tmp_path / "x.tar", content)])
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
    source = api.open_source([write_tar(tmp_path / "x.tar", content, form)])
    assert [file.path for file in source.files] == [f"x.tar!/{name}" for name in odd]
    wanted = [hashlib.sha256(png(number)).hexdigest() for number in range(len(odd))]
    assert digests(source) == wanted
    assert digests_in_a_fresh_process(source, tmp_path) == wanted
    assert not (tmp_path.parent / "up.png").exists()


def test_odd_names_in_a_zip(tmp_path: Path) -> None:
    odd = ["/abs.png", "../up.png", "a b!/c.png", "a.tar!/b.png", "é.png"]
    write_zip(tmp_path / "x.zip", {name: png(number) for number, name in enumerate(odd)} | {"__MACOSX/._a.png": b"x"})
    source = api.open_source([tmp_path / "x.zip"])
    assert [file.path for file in source.files] == [f"x.zip!/{name}" for name in odd]
    assert digests(source) == [hashlib.sha256(png(number)).hexdigest() for number in range(len(odd))]
    # Without the flag that says UTF-8, as some programs write it.
    whole = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "y.zip").write_bytes(re.sub(rb"(PK\x01\x02.{6}|PK\x03\x04.{2})\x00\x08", rb"\1\0\0", whole, flags=re.S))
    assert [f.path for f in api.open_source([tmp_path / "y.zip"]).files] == [f"y.zip!/{name}" for name in odd]


def test_real_folders_that_look_like_archives(tmp_path: Path) -> None:
    for folder in ("a!", "b.tar!", "c.zip", "d.parquet"):
        picture(tmp_path / "in" / folder / "1.png")
    source = api.open_source([tmp_path / "in"])
    assert [file.path for file in source.files] == ["a!/1.png", "b.tar!/1.png", "c.zip/1.png", "d.parquet/1.png"]
    assert len(set(digests(source))) == 1
    assert addresses.state(source.address(source.files[1])).bytes > 0
    assert len(api.open_source([tmp_path / "in" / "c.zip"]).files) == 1
    write_tar(tmp_path / "in" / "b.tar", {"1.png": png(1)})
    with pytest.raises(SourceError, match="one address"):
        api.open_source([tmp_path / "in" / "b.tar"])


def test_a_tar_cut_short_gives_what_is_there(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", {f"{n}.png": png(n) for n in range(5)}).read_bytes()
    third = whole.index(b"3.png\0")
    for end, count in ((third + 512 + 20, 3), (third + 100, 3), (third, 3)):
        (tmp_path / "cut.tar").write_bytes(whole[:end])
        source = api.open_source([tmp_path / "cut.tar"])
        assert len(source.files) == count
        assert [(s.path, s.reason[:18]) for s in source.skipped] == [("cut.tar", "archive: cut short")]
        assert digests(source) == [hashlib.sha256(png(n)).hexdigest() for n in range(count)]
    (tmp_path / "cut.tar").write_bytes(whole[:third] + b"garbage!" * 200)
    built = api.build_gallery(tmp_path / "cut.tar", tmp_path / "g", HashingEncoder())
    assert len(built.items) == 3
    again = api.build_gallery(tmp_path / "g", tmp_path / "g2", HashingEncoder())
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
            source = api.open_source([path])
            outcomes.add(bool(source.skipped))
            for file in source.files:
                addresses.read(source.address(file))
        except (SourceError, ImageError) as error:
            outcomes.add(type(error).__name__)
        path.unlink()
    assert outcomes >= {True, "SourceError"}


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for name in ("x.tar", "x.zip", "x.parquet"):
        (tmp_path / name).write_bytes(b"no archive at all" * 1000)
        with pytest.raises(SourceError, match="is not a"):
            api.open_source([tmp_path / name])
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(SourceError, match=r"is not a|no images"):
            api.open_source([tmp_path / name])
        with pytest.raises(SourceError, match=r"no folder or file|no file"):
            api.open_source([tmp_path / f"missing-{name}"])
    write_zip(tmp_path / "none.zip", {"a.txt": b"x"})
    with pytest.raises(SourceError, match="no images"):
        api.open_source([tmp_path / "none.zip"])
    two_tars(tmp_path)
    with pytest.raises(SourceError, match=r"no file '.*train-0002.tar'"):
        api.open_source([f"{tmp_path}/train-{{0000..0002}}.tar"])
    with pytest.raises(SourceError, match="one archive of several sources"):
        api.open_source([picture(tmp_path / "a.png"), tmp_path / "train-0000.tar"])
    with pytest.raises(SourceError, match="given by name"):
        raise_hint(lambda: api.open_source([tmp_path / "only"]), write_tar, tmp_path / "only")


def raise_hint(action: Callable[[], object], write: Callable[..., Path], folder: Path) -> None:
    folder.mkdir()
    write(folder / "x.tar", {"a.png": png(1)})
    try:
        action()
    except SourceError as error:
        raise SourceError(error.hint or "") from error


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.tar"])
def test_a_compressed_tar_is_refused_with_a_way_out(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / name, "w:gz") as tar:
        tar.add(picture(tmp_path / "a.png"), "a.png")
    with pytest.raises(SourceError, match="is compressed") as raised:
        api.open_source([tmp_path / name])
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
    source = api.open_source([tmp_path / "x.tar"])
    assert [file.path for file in source.files] == [f"x.tar!/{n}.png" for n in ("a", "hard", "soft", "device")]
    whole = (tmp_path / "a.png").read_bytes()
    assert [addresses.read(source.address(file)).data for file in source.files[:2]] == [whole, whole]
    for file, reason in zip(source.files[2:], ("a link", "not a regular file"), strict=True):
        with pytest.raises(ImageError, match=reason):
            addresses.read(source.address(file))
        with pytest.raises(ImageError, match=reason):
            addresses.state(source.address(file))


def test_members_of_a_zip_that_cannot_be_read_are_skipped(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {f"{n}.png": png(n) for n in range(4)})
    whole = bytearray((tmp_path / "x.zip").read_bytes())
    central = [m.start() for m in re.finditer(b"PK\1\2", bytes(whole))]
    whole[central[0] + 8] |= 1  # encrypted
    whole[central[1] + 10] = 12  # bzip2
    at = whole.index(png(2))
    whole[at + 20] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(whole)
    built = api.build_gallery(tmp_path / "x.zip", tmp_path / "g", HashingEncoder())
    assert [(item.id, item.path) for item in built.items] == [(3, "x.zip!/3.png")]
    assert [(s.path, s.reason) for s in built.manifest.skipped] == [
        ("x.zip!/0.png", "encrypted"),
        ("x.zip!/1.png", "compressed by a method that is not read: 12"),
        ("x.zip!/2.png", "damaged in the archive: its checksum does not fit"),
    ]


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_names, "MEMBER_LIMIT", 10_000_000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("honest.png", bytes(11_000_000))
        file.writestr("lying.png", bytes(9_000_000))
    whole = bytearray((tmp_path / "x.zip").read_bytes())
    at = whole.rindex(b"PK\1\2")
    whole[at + 24 : at + 28] = (100).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(whole)
    for name, reason in (("honest", "too large: 11 MB"), ("lying", "checksum does not fit")):
        with pytest.raises(ImageError, match=reason):
            addresses.read(f"{tmp_path}/x.zip!/{name}.png")
    write_tar(tmp_path / "x.tar", {"large.png": bytes(11_000_000)})
    with pytest.raises(ImageError, match="too large"):
        addresses.read(f"{tmp_path}/x.tar!/large.png")


def test_an_archive_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / "x.tar", {f"{'pad' * number}.txt": b"x", "a.png": png(number)})
        os.utime(tmp_path / "x.tar", ns=(number + 1, number + 1))
        assert addresses.read(f"{tmp_path}/x.tar!/a.png").data == png(number)
    with pytest.raises(ImageError, match="no such member"):
        addresses.read(f"{tmp_path}/x.tar!/b.png")
    (tmp_path / "x.tar").unlink()
    for action in (addresses.read, addresses.state):
        with pytest.raises(ImageError, match="no such file"):
            action(f"{tmp_path}/x.tar!/a.png")


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    for shard in range(200):
        write_tar(tmp_path / f"{shard:03}.tar", {"a.png": png(shard)})
    source = api.open_source([f"{tmp_path}/{{000..199}}.tar"])
    assert digests(source, 16) == [hashlib.sha256(png(shard)).hexdigest() for shard in range(200)]
    open_now = [
        os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")
    ]
    assert 0 < sum(name.startswith(str(tmp_path)) for name in open_now) <= 64


def test_ground_truth_for_a_flat_tar(tmp_path: Path) -> None:
    content = {f"ILSVRC2012_val_0000000{n}.JPEG": png(n) for n in (3, 1, 2)}
    path = write_tar(tmp_path / "val.tar", content)
    (tmp_path / "truth.txt").write_text("n00000001\nn00000002\nn00000003\n")
    source = api.open_source([path], ground_truth=tmp_path / "truth.txt")
    assert [file.label for file in source.files] == ["n00000003", "n00000001", "n00000002"]
    (tmp_path / "truth.txt").write_text("ILSVRC2012_val_00000002.JPEG 65\n")
    source = api.open_source([path], ground_truth=tmp_path / "truth.txt")
    assert [file.label for file in source.files] == [None, None, "#65"]
    with pytest.raises(SourceError, match="goes with one folder"):
        api.open_source([*tables(tmp_path), path], ground_truth=tmp_path / "truth.txt")


@pytest.mark.parametrize(
    ("classes", "values", "labels"),
    [
        (["cat", "dog"], pa.array([1, 0, None, -1, 5]), ["dog", "cat", None, None, "#5"]),
        (["tench, Tinca tinca", "dog"], pa.array([1, 0, None, -1, 5]), ["#1", "#0", None, None, "#5"]),
        (["crane", "crane"], pa.array([1, 0, None, -1, 5]), ["#1", "#0", None, None, "#5"]),
        (None, pa.array([1, 0, None, -1, 5], pa.int8()), ["#1", "#0", None, None, "#5"]),
        (None, pa.array(["red", " ", None, "3", "blue "]), ["red", None, None, "#3", "blue"]),
        (None, pa.array(["red", "", None, "3", "blue"]).dictionary_encode(), ["red", None, None, "#3", "blue"]),
        (None, pa.array([1.5, 0, None, -1, 5]), [None] * 5),
    ],
)
def test_labels_of_a_parquet_file(
    tmp_path: Path, classes: list[str] | None, values: pa.Array, labels: list[str | None]
) -> None:
    table = pa.table({"labels": values, "jpg": pa.array([png(n) for n in range(5)], pa.large_binary())})
    features = {} if classes is None else {"labels": {"_type": "ClassLabel", "names": classes}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "x.parquet")
    source = api.open_source([tmp_path / "x.parquet"])
    assert [file.label for file in source.files] == labels
    assert digests(source) == [hashlib.sha256(png(n)).hexdigest() for n in range(5)]


def test_rows_without_an_image_are_skipped_and_keep_their_place(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [png(0), None, png(2), b""], pa.array([0, 1, 0, 1]))
    built = api.build_gallery(path, tmp_path / "g", HashingEncoder())
    assert [item.id for item in built.items] == [0, 2]
    assert [(s.path, s.reason) for s in built.manifest.skipped] == [
        ("x.parquet!/1", "no image in this row"), ("x.parquet!/3", "empty file"),
    ]  # fmt: skip
    again = api.open_source([tmp_path / "g"])
    assert [file.label for file in again.files] == ["cat", "dog", "cat", "dog"]
    for row in ("4", "-1", "x", "", "²"):
        with pytest.raises(ImageError, match="no such row"):
            addresses.read(f"{path}!/{row}")


def test_parquet_files_that_do_not_do(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["path.jpg"], "x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match="no column of images; its columns are image, x"):
        api.open_source([tmp_path / "x.parquet"])
    for split in ("train", "test"):
        write_parquet(tmp_path / "in" / "data" / f"{split}-00000-of-00001.parquet", [png(1)], pa.array([0]))
    with pytest.raises(SourceError, match="several splits: test, train"):
        api.open_source([tmp_path / "in"])
    whole = (tmp_path / "in" / "data" / "test-00000-of-00001.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    with pytest.raises(SourceError, match="cut short"):
        api.open_source([tmp_path / "cut.parquet"])
    images = [os.urandom(2000) for _ in range(20)]
    path = write_parquet(tmp_path / "y.parquet", images, pa.array([0] * 20), compression="snappy")
    damaged = bytearray(path.read_bytes())
    damaged[4:40] = os.urandom(36)
    path.write_bytes(damaged)
    source = api.open_source([path])
    for _ in range(2):
        with pytest.raises(ImageError, match="damaged"):
            addresses.read(source.address(source.files[0]))


def test_a_huge_row_group_is_read_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_chunks", Recent(1 << 25, lambda chunk: chunk.nbytes))
    images: list[bytes | None] = [bytes([n]) * 1_000_000 for n in range(200)]
    path = write_parquet(tmp_path / "x.parquet", images, pa.array([0] * 200), row_group_size=200, compression="none",
                         use_dictionary=False, data_page_size=1 << 20, write_batch_size=4)  # fmt: skip
    source = api.open_source([path])
    before = pa.total_allocated_bytes()
    most = 0
    for number, file in enumerate(source.files):
        assert addresses.read(source.address(file)).data[:1] == bytes([number])
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 100_000_000, "the row group of 200 MB was decoded whole"
    for number in (3, 199, 0, 100):
        assert addresses.read(source.address(source.files[number])).data[:1] == bytes([number])


def test_parquet_is_decoded_once_in_order_by_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[bytes | None] = [png(n) for n in range(5000)]
    path = write_parquet(tmp_path / "x.parquet", images, pa.array([0] * 5000), row_group_size=2000)
    source = api.open_source([path])
    started = []
    start = parquet._Reader.start
    monkeypatch.setattr(parquet._Reader, "start", lambda self, *a: (started.append(a), start(self, *a)))
    assert digests(source, 16) == [hashlib.sha256(png(n)).hexdigest() for n in range(5000)]
    assert [group for group, _ in started] == [0, 1, 2]


def test_data_sets_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = saved(tmp_path)[0]
    assert api.open_source([where]).root == where
    with pytest.raises(SourceError, match="several splits: test, train"):
        api.open_source([where.removesuffix(":train")])
    with pytest.raises(SourceError, match="no such split; it has test, train"):
        api.open_source([where.replace(":train", ":val")])
    assert len(api.open_source([where.replace(":train", ":test")]).files) == 2
    monkeypatch.chdir(tmp_path)
    assert api.open_source(["hf:ds:test"]).where == f"hf:{tmp_path}/ds:test"
    single = api.open_source([f"hf:{tmp_path}/ds/test"])
    assert (len(single.files), single.where) == (2, f"hf:{tmp_path}/ds/test")
    assert len(digests(single)) == 2
    with pytest.raises(SourceError, match="no images") as raised:
        api.open_source([tmp_path / "ds"])
    assert "hf:" in str(raised.value.hint)
    with pytest.raises(ImageError, match="no such row"):
        addresses.read(f"{where}!/6")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(OptionalDependencyError, match="datasets") as missing:
        api.open_source([where])
    assert "zsretrieve[hf]" in str(missing.value.hint)


def test_a_data_set_by_name_without_a_network_says_so(tmp_path: Path, run_cli: Run) -> None:
    done = run_cli("index", "gallery", "hf:some/where:train", tmp_path / "g", "--model", "demo")
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"], done.stderr
    assert "hf:some/where:train" in done.stderr


def test_a_data_set_of_files_is_loaded_as_by_name(tmp_path: Path) -> None:
    tables(tmp_path)
    code = (
        "from zsretrieve import api, addresses\n"
        f"source = api.open_source(['hf:{tmp_path}/data'])\n"
        "print(source.where, len(source.files), source.files[1].label)\n"
        "print(len(addresses.read(source.address(source.files[1])).data))\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"hf:{tmp_path}/data:train 14 dog", str(len(png(1)))]


class Ranges(http.server.SimpleHTTPRequestHandler):
    """The plain server and, unlike it, parts of files."""

    protocol_version = "HTTP/1.1"

    def send_head(self) -> io.BytesIO | None:  # type: ignore[override]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = self.translate_path(self.path)
        if wanted is None or not os.path.isfile(path):
            return super().send_head()  # type: ignore[return-value]
        whole = Path(path).read_bytes()
        part = whole[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {wanted[1]}-{int(wanted[1]) + len(part) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return io.BytesIO(part)

    def log_message(self, *args: object) -> None:
        pass


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(params=[Ranges, Quiet], ids=["ranges", "plain"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(request.param, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_over_http(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = served
    picture(folder / "photos" / "a cat" / "1 é.png")
    picture(folder / "photos" / "dog" / "2.png")
    picture(folder / "photos" / ".hidden" / "3.png")
    two_tars(folder)
    one_zip(folder)
    tables(folder)
    source = api.open_source([f"{url}/photos/"])
    assert [(file.path, file.label) for file in source.files] == [
        ("a%20cat/1%20%C3%A9.png", "a cat"),
        ("dog/2.png", "dog"),
    ]
    assert source.root == f"{url}/photos"
    assert digests(source) == [
        hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("photos/[ad]*/*"))
    ]
    assert addresses.state(source.address(source.files[1])).mtime_ns // 10**9 == int(
        (folder / "photos/dog/2.png").stat().st_mtime
    )
    for where, local in (
        ([f"{url}/photos.zip"], [folder / "photos.zip"]),
        ([f"{url}/train-{{0000..0001}}.tar"], [folder / "train-0000.tar", folder / "train-0001.tar"]),
        ([f"{url}/data/train-00001-of-00002.parquet"], [folder / "data" / "train-00001-of-00002.parquet"]),
    ):
        remote, here = api.open_source(where), api.open_source(local)
        assert [(f.path, f.label) for f in remote.files] == [(f.path, f.label) for f in here.files]
        assert remote.root == here.root.replace(str(folder), url)
        assert digests(remote) == digests(here) == digests_in_a_fresh_process(remote, tmp_path)
        assert remote.where is not None
        assert api.open_source([remote.where]) == remote
        assert addresses.state(remote.address(remote.files[0])).bytes == len(
            addresses.read(remote.address(remote.files[0])).data
        )
    single = api.open_source([f"{url}/photos/dog/2.png"])
    assert single.address(single.files[0]) == f"{url}/photos/dog/2.png"
    assert addresses.read(single.address(single.files[0])).data == (folder / "photos/dog/2.png").read_bytes()
    with pytest.raises(ImageError, match="no such file"):
        addresses.read(f"{url}/photos/dog/3.png")
    with pytest.raises(SourceError, match=r"there is no .*/none.tar"):
        api.open_source([f"{url}/none.tar"])
    with pytest.raises(SourceError, match=r"no images below|there is no"):
        api.open_source([f"{url}/nothing/"])


def test_a_server_that_is_not_there(run_cli: Run, tmp_path: Path) -> None:
    for where in ("http://127.0.0.1:9/photos/", "http://127.0.0.1:9/x.tar", "nosuch://x/y", "s3://bucket/photos"):
        done = run_cli("index", "gallery", where, tmp_path / "g", "--model", "demo")
        assert done.returncode == 1
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"], done.stderr
    assert "s3fs" in done.stderr
    with pytest.raises(ImageError, match="cannot be fetched"):
        addresses.read("http://127.0.0.1:9/a.png")


def test_in_memory_and_file_urls(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/in/cat/1.png", png(1))
    memory.pipe("/bucket/in/2.png", png(2))
    memory.pipe("/bucket/x.tar", write_tar(tmp_path / "x.tar", {"3.png": png(3)}).read_bytes())
    memory.pipe("/bucket/t/x.parquet", write_parquet(tmp_path / "x.parquet", [png(4)], pa.array([1])).read_bytes())
    source = api.open_source(["memory://bucket/in"])
    assert [(f.path, f.label) for f in source.files] == [("2.png", None), ("cat/1.png", "cat")]
    assert digests(source) == [hashlib.sha256(png(n)).hexdigest() for n in (2, 1)]
    assert addresses.state("memory://bucket/in/2.png").bytes == len(png(2))
    for where, number in (("memory://bucket/x.tar", 3), ("memory://bucket/t", 4)):
        found = api.open_source([where])
        assert digests(found) == [hashlib.sha256(png(number)).hexdigest()]
        assert api.open_source([found.where or ""]) == found
    listed = api.open_source(["-"], standard_input=["memory://bucket/in/2.png\n", "memory://bucket/x.tar!/3.png\n"])
    assert digests(listed) == [hashlib.sha256(png(n)).hexdigest() for n in (2, 3)]
    assert api.open_source([f"file://{tmp_path}/x.tar"]).root == str(tmp_path)
    with pytest.raises(SourceError, match="different places"):
        api.open_source(["memory://bucket/x.tar", tmp_path / "x.tar"])
    with pytest.raises(ImageError, match=r"is a folder|no such file"):
        addresses.read("memory://bucket/in")


def test_the_same_archive_is_opened_once(tmp_path: Path) -> None:
    path = str(write_tar(tmp_path / "x.tar", {"a.png": png(1)}))
    with ThreadPoolExecutor(8) as pool:
        assert len({id(archive) for archive in pool.map(open_archive, [path] * 50)}) == 1
