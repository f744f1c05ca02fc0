from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kits.archives import digests, write_parquet
from kits.hashing_encoder import HashingEncoder
from kits.images import png

import zsretrieve as zs
from zsretrieve.domain.errors import ImageError, SourceError
from zsretrieve.images import opening
from zsretrieve.images.archives import parquet
from zsretrieve.images.archives.caching import Recent


@pytest.mark.parametrize(
    ("classes", "values", "labels"),
    [
        (["cat", "dog"], pa.array([1, 0, None, -1, 5]), ["dog", "cat", None, None, "#5"]),
        (["tench, Tinca tinca", "dog"], pa.array([1, 0, None, -1, 5]), ["#1", "#0", None, None, "#5"]),
        (["crane", "crane"], pa.array([1, 0, None, -1, 5]), ["#1", "#0", None, None, "#5"]),
        (None, pa.array([1, 0, None, -1, 5], pa.int8()), ["#1", "#0", None, None, "#5"]),
        (None, pa.array(["red", " ", None, "3", "blue "]), ["red", None, None, "3", "blue"]),
        (None, pa.array(["red", "", None, "3", "blue"]).dictionary_encode(), ["red", None, None, "3", "blue"]),
        (["a", "\ud800"], pa.array([1, 0, None, -1, 5]), [None, "a", None, None, "#5"]),
        (
            None,
            pa.array([b"\xed\xa0\x80", b"", None, b"9" * 5000, b"\xff"]).view(pa.string()),
            ["\udced\udca0\udc80", None, None, "9" * 5000, "\udcff"],
        ),
        (None, pa.array([1.5, 0, None, -1, 5]), [None, "#0", None, None, "#5"]),
        (None, pa.array([1, 0, None, float("nan"), 5], pa.float32()), ["#1", "#0", None, None, "#5"]),
        (["cat", "dog"], pa.array([1.0, 0, None, -1, 5]), ["dog", "cat", None, None, "#5"]),
        (None, pa.array([True, False, None, True, False]), ["#1", "#0", None, "#1", "#0"]),
        (None, pa.array(["001", "002", None, "1.0", "a\u200b"]), ["001", "002", None, "1.0", "a"]),
        (None, pa.array([b"cat", b"dog", None, b" ", b"\xff"]), ["cat", "dog", None, None, "\udcff"]),
        (
            None,
            pa.array([b"cat", b"do\0", None, b"\0\0\0", b"\xff  "], pa.binary(3)),
            ["cat", "do", None, None, "\udcff"],
        ),
        (None, pa.array([3, 0, None, 3, 5]).dictionary_encode(), ["#3", "#0", None, "#3", "#5"]),
        (None, pa.array([None] * 5), [None] * 5),
    ],
)
def test_labels_of_a_parquet_file(
    tmp_path: Path, classes: list[str] | None, values: pa.Array, labels: list[str | None]
) -> None:
    table = pa.table({"labels": values, "jpg": pa.array([png(n) for n in range(5)], pa.large_binary())})
    features = {} if classes is None else {"labels": {"_type": "ClassLabel", "names": classes}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "x.parquet")
    source = zs.open_source([tmp_path / "x.parquet"])
    assert [file.label for file in source.files] == labels
    assert digests(source) == [hashlib.sha256(png(n)).hexdigest() for n in range(5)]


@pytest.mark.parametrize(
    ("columns", "features", "problem"),
    [
        ({"label": [[1], [0]]}, (), "the column 'label' is list<element: int64>, which gives no labels"),
        ({"label": [{"id": 1}, {"id": 0}]}, (), "the column 'label' is struct<id: int64>, which gives no labels"),
        ({"labels": pa.array([1, 2], pa.timestamp("s"))}, (), r"the column 'labels' is timestamp\[ms\], which"),
        ({"label": [0.5, 1.0]}, (), "the column 'label' holds 1 value with a fraction"),
        ({"a": [1, 2], "b": [1, 2]}, ("a", "b"), "the columns 'a', 'b' all hold class labels"),
    ],
)
def test_labels_that_cannot_be_used_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, columns: dict[str, Any], features: tuple[str, ...], problem: str
) -> None:
    marked = {name: {"_type": "ClassLabel", "names": ["x", "y"]} for name in features}
    table = pa.table({**columns, "image": pa.array([png(0), png(1)])})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": marked}})})
    for shard in ("0", "1"):
        pq.write_table(table, tmp_path / f"{shard}.parquet")
    source = zs.open_source([tmp_path / "0.parquet", tmp_path / "1.parquet"])
    assert {file.label for file in source.files} <= {None, "#1"}
    (note,) = caplog.messages
    assert re.search(problem, note)


def test_rows_without_an_image_are_skipped_and_keep_their_place(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [png(0), None, png(2), b""], pa.array([0, 1, 0, 1]))
    built = zs.build_gallery(path, tmp_path / "g", HashingEncoder())
    assert [item.id for item in built.items] == [0, 2]
    assert [(s.path, s.reason) for s in built.manifest.skipped] == [
        ("x.parquet!/1", "no image in this row"), ("x.parquet!/3", "empty file"),
    ]  # fmt: skip
    again = zs.open_source([tmp_path / "g"])
    assert [file.label for file in again.files] == ["cat", "cat", "dog", "dog"], "those once skipped come last"
    for row in ("4", "-1", "x", "", "²"):
        with pytest.raises(ImageError, match="no such row"):
            opening.read(f"{path}!/{row}")


def test_parquet_files_that_do_not_do(tmp_path: Path) -> None:
    pq.write_table(pa.table({"caption": ["a cat"], "x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match="no column of images; its columns are caption, x"):
        zs.open_source([tmp_path / "x.parquet"])
    with pytest.raises(SourceError, match=r"no images in .*no column of images"):
        zs.open_source([tmp_path])
    for split in ("train", "test"):
        write_parquet(tmp_path / "in" / "data" / f"{split}-00000-of-00001.parquet", [png(1)], pa.array([0]))
    with pytest.raises(SourceError, match="several splits: test, train"):
        zs.open_source([tmp_path / "in"])
    whole = (tmp_path / "in" / "data" / "test-00000-of-00001.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    with pytest.raises(SourceError, match="cut short"):
        zs.open_source([tmp_path / "cut.parquet"])
    images = [os.urandom(2000) for _ in range(20)]
    path = write_parquet(tmp_path / "y.parquet", images, pa.array([0] * 20), compression="snappy")
    damaged = bytearray(path.read_bytes())
    damaged[4:40] = os.urandom(36)
    path.write_bytes(damaged)
    source = zs.open_source([path])
    for _ in range(2):
        with pytest.raises(ImageError, match="damaged"):
            opening.read(source.address(source.files[0]))


def test_a_huge_row_group_is_read_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_values", Recent(1 << 25, lambda value: value.weight))
    images: list[bytes | None] = [bytes([n]) * 1_000_000 for n in range(200)]
    path = write_parquet(tmp_path / "x.parquet", images, pa.array([0] * 200), row_group_size=200, compression="none",
                         use_dictionary=False, data_page_size=1 << 20, write_batch_size=4)  # fmt: skip
    source = zs.open_source([path])
    before = pa.total_allocated_bytes()
    most = 0
    for number, file in enumerate(source.files):
        assert opening.read(source.address(file)).data[:1] == bytes([number])
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 100_000_000, "the row group of 200 MB was decoded whole"
    for number in (3, 199, 0, 100):
        assert opening.read(source.address(source.files[number])).data[:1] == bytes([number])


def test_parquet_is_decoded_once_in_order_by_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[bytes | None] = [png(n) for n in range(5000)]
    path = write_parquet(tmp_path / "x.parquet", images, pa.array([0] * 5000), row_group_size=2000)
    source = zs.open_source([path])
    started = []
    start = parquet._Reader.start
    monkeypatch.setattr(parquet._Reader, "start", lambda self, *a: (started.append(a), start(self, *a)))
    assert digests(source, 16) == [hashlib.sha256(png(n)).hexdigest() for n in range(5000)]
    assert started == [(0, 0)]


_BOUNDED = """
import resource, sys
import zsretrieve as zs
from zsretrieve.images import opening
import pyarrow.parquet
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
source = zs.open_source([sys.argv[1]])
for file in source.files:
    assert len(opening.read(source.address(file)).data) == 1 << 22
print(len(source.files), max(len(file.label or "") for file in source.files))
"""


@pytest.mark.parametrize("encoding", ["dictionary", "delta", "struct"])
def test_what_a_file_stores_once_may_stand_in_many_rows(tmp_path: Path, encoding: str) -> None:
    images = pa.array([bytes(1 << 22)] * 280)
    if encoding == "struct":
        images = pa.StructArray.from_arrays([images], ["bytes"])
    options: dict[str, Any] = {"use_dictionary": True, "dictionary_pagesize_limit": 1 << 30}
    if encoding == "delta":
        options = {"use_dictionary": False, "column_encoding": {"image": "DELTA_BYTE_ARRAY", "label": "PLAIN"}}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": images, "label": ["cat"] * 280}), path, compression="zstd", **options)
    assert path.stat().st_size < 10_000
    told = subprocess.run([sys.executable, "-c", _BOUNDED, path], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, "280 3\n"), told.stderr


def test_labels_of_impossible_length_are_none_and_take_no_room(tmp_path: Path) -> None:
    images = pa.array([bytes(1 << 22)] * 280)
    path = tmp_path / "x.parquet"
    labels = pa.array(["x" * (1 << 22)] * 280)
    pq.write_table(pa.table({"image": images, "label": labels}), path, dictionary_pagesize_limit=1 << 30)
    told = subprocess.run([sys.executable, "-c", _BOUNDED, path], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, "280 0\n"), told.stderr
