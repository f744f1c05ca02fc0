"""Folders and files as other tools leave them: img2dataset, WebDataset, tables of paths, broken shards."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kits.archives import digests, write_tar, write_zip
from kits.images import picture, png
from kits.servers import serving

import zsretrieve as zs
from zsretrieve.domain.errors import SkippedInputError, SourceError


def img2dataset(root: Path, shards: int = 2) -> Path:
    root.mkdir(parents=True)
    for shard in range(shards):
        keys = [f"{shard:05}{row:04}" for row in range(2)]
        content = {}
        for key in keys:
            content |= {f"{key}.jpg": png(int(key)), f"{key}.txt": b"a caption", f"{key}.json": b'{"caption": "x"}'}
        write_tar(root / f"{shard:05}.tar", content)
        table = {"url": ["https://x/y.jpg"] * 2, "caption": ["a"] * 2, "key": keys, "status": ["success"] * 2}
        pq.write_table(pa.table(table), root / f"{shard:05}.parquet")
        (root / f"{shard:05}_stats.json").write_text("{}")
    return root


def test_the_output_of_img2dataset_is_one_data_set(tmp_path: Path) -> None:
    root = img2dataset(tmp_path / "out")
    source = zs.open_source([root])
    assert [file.path for file in source.files] == [
        "00000.tar!/000000000.jpg", "00000.tar!/000000001.jpg", "00001.tar!/000010000.jpg", "00001.tar!/000010001.jpg",
    ]  # fmt: skip
    assert source.origin == str(root)
    assert len(set(digests(source))) == 4


def test_shards_of_several_sets_are_not_mixed(tmp_path: Path) -> None:
    for name in ("train-0000.tar", "train-0001.tar", "val-0000.tar"):
        write_tar(tmp_path / name, {"a.png": png(1)})
    with pytest.raises(SourceError, match=r"several data sets: 'train-\*.tar', 'val-\*.tar'"):
        zs.open_source([tmp_path])


def test_a_broken_shard_among_others_is_skipped(tmp_path: Path, hashing_encoder: object) -> None:
    for number in range(3):
        write_tar(tmp_path / f"t-{number}.tar", {f"{number}.png": png(number)})
    (tmp_path / "t-1.tar").write_bytes(b"no tar at all" * 100)
    source = zs.open_source([f"{tmp_path}/t-{{0..2}}.tar"])
    assert [file.path for file in source.files] == ["t-0.tar!/0.png", "t-2.tar!/2.png"]
    assert [(one.path, one.reason[:9]) for one in source.skipped] == [("t-1.tar", "archive: ")]
    with pytest.raises(SkippedInputError, match="t-1"):
        zs.build_gallery(source, tmp_path / "g", hashing_encoder, reading=zs.Reading(strict=True))  # type: ignore[arg-type]


def test_a_name_that_is_in_an_archive_twice_is_reported(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"1.png": png(1), "1.cls": b"cat"})
    write_tar(tmp_path / "b.tar", {"1.png": png(2), "1.cls": b"dog"})
    first, second = ((tmp_path / name).read_bytes() for name in ("a.tar", "b.tar"))
    (tmp_path / "both.tar").write_bytes(first[: first.rindex(b"cat") + 512] + second)
    source = zs.open_source([tmp_path / "both.tar"])
    assert [(file.path, file.label) for file in source.files] == [("both.tar!/1.png", "dog")]
    assert source.skipped[0].reason == "archive: 1 image of the same name as a later one, which counts"
    path = write_zip(tmp_path / "x.zip", {"1.png": png(1)})
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as twice:
        twice.writestr("1.png", png(3))
    assert "same name" in zs.open_source([path]).skipped[0].reason


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        # Keys with dots: each image has the label of its own name.
        (
            {"22.05.jpg": "", "22.05.cls": "may", "22.jpg": "", "22.cls": "year", "v1.2_7.jpg": "", "v1.2_7.cls": "v"},
            ["may", "year", "v"],
        ),
        # One of them has none; that of another image is not taken.
        ({"v1.jpg": "", "v1.cls": "one", "v1.2.jpg": "", "w.1.jpg": "", "w.1.cls": "w"}, ["one", None, "w"]),
        # WebDataset's own reading: several images of a key share its label.
        ({"0.jpg": "", "0.seg.png": "", "0.cls": "cat", "1.jpg": "", "1.cls": "dog"}, ["cat", "cat", "dog"]),
        ({"0.cls": "cat", "0.jpg.png": "", "a.b/0.jpg": ""}, ["cat", None]),
    ],
)
def test_keys_with_dots_in_a_tar(tmp_path: Path, content: dict[str, str], labels: list[str | None]) -> None:
    data = {name: text.encode() or png(number) for number, (name, text) in enumerate(content.items())}
    source = zs.open_source([write_tar(tmp_path / "x.tar", data)])
    assert [file.label for file in source.files] == labels


@pytest.mark.parametrize("column", ["image_path", "path", "file_name", "image"])
def test_a_table_of_paths_is_a_list_of_images(tmp_path: Path, column: str) -> None:
    picture(tmp_path / "in/a/1.png")
    elsewhere = picture(tmp_path / "out/2.png")
    paths = ["a/1.png", str(elsewhere), None, "gone.png"]
    table = pa.table({column: paths, "label": ["cat", "dog", "cat", None]})
    pq.write_table(table, tmp_path / "in/list.parquet")
    source = zs.open_source([tmp_path / "in/list.parquet"])
    assert [(file.path, file.label) for file in source.files] == [
        ("a/1.png", "cat"), (str(elsewhere), "dog"), ("gone.png", None),
    ]  # fmt: skip
    assert source.origin == str(tmp_path / "in/list.parquet")
    assert os.path.isfile(source.address(source.files[0]))


def test_a_table_does_not_choose_what_this_machine_reads(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "secret.png")
    paths = ["a.png", "../secret.png", str(tmp_path / "secret.png"), "http://127.0.0.1:9/x.png", "file:///etc/x.png"]
    pq.write_table(pa.table({"path": paths}), tmp_path / "in/list.parquet")
    here = zs.open_source([tmp_path / "in/list.parquet"])
    assert [file.path for file in here.files] == paths[:3], "what lies on this machine may name what else does"
    assert [one.path for one in here.skipped] == [f"list.parquet: {path}" for path in paths[3:]]
    with serving(tmp_path) as url:
        remote = zs.open_source([f"{url}/in/list.parquet"])
    assert [file.path for file in remote.files] == ["a.png"]
    assert len(remote.skipped) == 4


def test_a_table_of_paths_keeps_its_gallery_in_step(tmp_path: Path, hashing_encoder: object) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    where = tmp_path / "list.parquet"
    pq.write_table(pa.table({"path": ["0.png", "1.png"], "label": pa.array([1, 0])}), where)
    zs.build_gallery(where, tmp_path / "g", hashing_encoder)  # type: ignore[arg-type]
    pq.write_table(pa.table({"path": ["0.png", "1.png", "2.png"], "label": pa.array([1, 0, 1])}), where)
    changes = zs.sync(tmp_path / "g", hashing_encoder)  # type: ignore[arg-type]
    assert (changes.added, changes.unchanged) == (1, 2)
    assert [item.label for item in zs.open_gallery(tmp_path / "g").items] == ["#1", "#0", "#1"]
