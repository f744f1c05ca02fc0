"""Texts in every form of file, and what cannot be used."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import zsretrieve as zs
from zsretrieve.images.sources import Source
from zsretrieve.texts import files as text_files
from zsretrieve.texts.records import Row, Wanted

KARPATHY = {
    "dataset": "coco",
    "images": [
        {
            "filepath": "val2014", "filename": "a.jpg", "imgid": 0, "split": "test", "cocoid": 9,
            "sentences": [{"raw": "a red  star", "tokens": ["a"], "sentid": 1}, {"raw": "one star"}],
        },
        {"filepath": "train2014", "filename": "b.jpg", "split": "train", "sentences": [{"raw": "a blue cross"}]},
        {"filepath": "val2014", "filename": "c.jpg", "split": "test", "sentences": []},
    ],
}  # fmt: skip
COCO = {
    "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 8, "file_name": "8.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 7, "caption": "seven"},
        {"id": 2, "image_id": 8, "caption": " eight\n"},
        {"id": 3, "image_id": 5, "caption": "of nothing"},
        {"id": 4, "image_id": 7},
    ],
}


def found(source: Source) -> list[tuple[str, str | None]]:
    return [(file.text.text, file.text.image) for file in source.files if file.text is not None]


def skips(source: Source) -> list[tuple[str, str]]:
    return [(one.path, one.reason) for one in source.skipped]


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_lines(tmp_path: Path) -> None:
    source = zs.open_texts(written(tmp_path, "a.txt", "a dog\r\n\r\n  a   cat\n\xff bad\na dog\n".encode("latin-1")))
    assert found(source) == [("a dog", None), ("a cat", None), ("a dog", None)]
    assert [file.path for file in source.files] == ["a.txt!/1", "a.txt!/3", "a.txt!/5"]
    assert skips(source) == [("a.txt!/2", "empty"), ("a.txt!/4", "not valid UTF-8")]
    assert (source.root, source.origin) == (str(tmp_path), str(tmp_path / "a.txt"))
    assert source.holds_texts


def test_lines_of_standard_input_are_known_by_what_they_say() -> None:
    one = zs.open_texts("-", standard_input=["a dog\n", "\n", "a cat"])
    other = zs.open_texts("-", standard_input=["a cat"])
    assert found(one) == [("a dog", None), ("a cat", None)]
    assert one.files[1].path == other.files[0].path
    assert len(one.skipped) == 1
    assert found(zs.open_texts("-", standard_input=["a dog", "a cat", "a dog"])) == found(one)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'image,caption\na.jpg,"a red, round star"\nb.jpg,\n'),
        ("a.csv", "image;caption\na.jpg;a red, round star\n\nb.jpg;  \n"),
        ("a.tsv", "filepath\ttitle\na.jpg\ta red, round star\nb.jpg\t\n"),
        ("a.csv", "image_name| comment_number| comment\na.jpg| 0| a red, round star\nb.jpg| 1| \n"),
        ("a.jsonl", '{"image": "a.jpg", "caption": "a red, round star"}\n{"image": "b.jpg", "caption": ""}\n'),
        ("a.json", '[{"image": "a.jpg", "text": "a red, round star"}, {"image": "b.jpg", "text": ""}]'),
        ("a.json", '{"data": [{"image": "a.jpg", "text": "a red, round star"}, {"image": "b.jpg", "text": ""}]}'),
    ],
)
def test_tables_and_objects(tmp_path: Path, name: str, content: str) -> None:
    source = zs.open_texts(written(tmp_path, name, content))
    assert found(source) == [("a red, round star", "a.jpg")]
    assert [reason for _, reason in skips(source)] == ["empty"]


def test_rows_are_numbered_as_in_a_spreadsheet(tmp_path: Path) -> None:
    content = 'caption,image,n\na,a.jpg,1\n"two\nlines",b.jpg,2\nof three, or, four, cells\nc\n'
    source = zs.open_texts(written(tmp_path, "a.csv", content))
    assert [(file.path, text) for file, (text, _) in zip(source.files, found(source), strict=True)] == [
        ("a.csv!/2", "a"), ("a.csv!/3", "two lines"), ("a.csv!/5", "c"),
    ]  # fmt: skip
    assert skips(source) == [("a.csv!/4", "4 cells, and the header has 3: quote the text")]


def test_a_table_of_one_column_needs_no_name_and_no_quotes(tmp_path: Path) -> None:
    source = zs.open_texts(written(tmp_path, "a.csv", "words\na red, round star\nblue\n"))
    assert found(source) == [("a red, round star", None), ("blue", None)]


def test_columns_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "title,caption,where\nA,a,x.jpg\n")
    with pytest.raises(zs.SourceError, match="not clear which column") as caught:
        zs.open_texts(path)
    assert "'caption', 'title'" in caught.value.message
    assert found(zs.open_texts(path, column="caption", image_column="where")) == [("a", "x.jpg")]
    with pytest.raises(zs.SourceError, match="no column 'text'; its columns are 'title', 'caption', 'where'"):
        zs.open_texts(path, column="text")
    with pytest.raises(zs.UsageError, match="has no splits"):
        zs.open_texts(path, column="title", split="test")
    with pytest.raises(zs.SourceError, match="read line by line"):
        zs.open_texts(written(tmp_path, "a.txt", "a"), column="title")


def test_the_karpathy_splits(tmp_path: Path) -> None:
    path = written(tmp_path, "dataset_coco.json", json.dumps(KARPATHY))
    test = zs.open_texts(path, split="test")
    assert found(test) == [("a red star", "val2014/a.jpg"), ("one star", "val2014/a.jpg")]
    assert [file.path for file in test.files] == ["dataset_coco.json!/1.1", "dataset_coco.json!/1.2"]
    assert skips(test) == [("dataset_coco.json!/3", "an empty list")]
    assert len(zs.open_texts(path).files) == 3
    with pytest.raises(zs.SourceError, match="no split 'val'") as caught:
        zs.open_texts(path, split="val")
    assert caught.value.hint == "It has 'test', 'train'."


def test_the_annotations_of_coco(tmp_path: Path) -> None:
    source = zs.open_texts(written(tmp_path, "captions_val2017.json", json.dumps(COCO)))
    assert found(source) == [("seven", "7.jpg"), ("eight", "8.jpg"), ("of nothing", None)]
    assert skips(source) == [("captions_val2017.json!/4", "no text")]
    boxes = {**COCO, "annotations": [{"image_id": 7, "bbox": [0, 0, 1, 1]}]}
    with pytest.raises(zs.SourceError, match="have no captions"):
        zs.open_texts(written(tmp_path, "instances.json", json.dumps(boxes)))


def test_parquet_with_lists_and_with_images_in_it(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": [{"bytes": b"x", "path": None}] * 3,
            "caption": [["one", "two"], [], ["three"]],
            "split": ["test", "test", "val"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    source = zs.open_texts(tmp_path / "a.parquet", split="test")
    assert found(source) == [("one", "a.parquet!/0"), ("two", "a.parquet!/0")]
    assert [file.path for file in source.files] == ["a.parquet!/0.1", "a.parquet!/0.2"]
    pq.write_table(pa.table({"TEXT": ["a", None], "URL": ["http://x/a.jpg", "b"]}), tmp_path / "laion.parquet")
    source = zs.open_texts(tmp_path / "laion.parquet")
    assert found(source) == [("a", "http://x/a.jpg")]
    assert skips(source) == [("laion.parquet!/1", "no text")]


def shard(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_shards_of_webdataset(tmp_path: Path) -> None:
    shard(
        tmp_path / "s-0.tar",
        {"0.jpg": b"x", "0.json": b'{"caption": "of json"}', "0.txt": b"a star", "1.json": b'{"caption": "a cross"}',
         "1.png": b"x", "2.json": b"{", "3.jpg": b"x", "._0.txt": b"hidden"},
    )  # fmt: skip
    shard(tmp_path / "s-1.tar", {"0.txt": b"another"})
    source = zs.open_texts(tmp_path / "s-{0..1}.tar")
    assert found(source) == [("a star", "s-0.tar!/0.jpg"), ("a cross", "s-0.tar!/1.png"), ("another", None)]
    assert [file.path for file in source.files] == ["s-0.tar!/0.txt", "s-0.tar!/1.json", "s-1.tar!/0.txt"]
    assert skips(source) == [("s-0.tar!/2.json", "not valid JSON")]
    assert zs.open_texts(source.origin or "").files == source.files
    assert found(zs.open_texts(tmp_path / "s-0.tar", column="caption"))[0][0] == "of json"
    whole = (tmp_path / "s-0.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:4700])
    cut = zs.open_texts(tmp_path / "cut.tar")
    assert found(cut) == [("a star", "cut.tar!/0.jpg"), ("a cross", "cut.tar!/1.png")]
    assert skips(cut) == [("cut.tar", "cut short or damaged after 2 captions")]
    for given in ({"split": "test"}, {"image_column": "jpg"}):
        with pytest.raises(zs.UsageError, match=f"have no `{next(iter(given))}`"):
            zs.open_texts(tmp_path / "s-0.tar", **given)
    several = shard(tmp_path / "several.tar", {"0.json": b'{"caption": ["a star", "a cross"]}'})
    assert found(zs.open_texts(several, column="caption")) == [("a star", None), ("a cross", None)]


def test_a_quote_that_is_not_closed_is_reported(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", b'filepath\ttitle\na.jpg\ta star\nb.jpg\t"Hello, he said\nc.jpg\ta cross\n')
    source = zs.open_texts(path)
    assert found(source) == [("a star", "a.jpg")]
    assert skips(source) == [("a.tsv!/3", "unexpected end of data")]


def test_a_header_with_a_stray_quote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(zs.SourceError, match=r"the first row of .* cannot be read"):
        zs.open_texts(written(tmp_path, "a.csv", b'"image" ,caption\na.jpg,a star\n'))


def test_the_suffix_of_a_url_ends_before_its_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files.files, "stream", lambda _: io.BytesIO(b"image,caption\na.jpg,hello\n"))
    _, rows = text_files.rows_of("https://x.org/a.csv?key=1", Wanted())
    assert [row.fields for row in rows if isinstance(row, Row)] == [{"image": "a.jpg", "caption": "hello"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "there are no texts in"),
        ("a.txt", b"\n\n", r"1 row skipped|there are no texts"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"caption\n", "there are no texts"),
        ("a.json", b"{", "not valid JSON"),
        ("a.json", b"7", "neither one list of texts"),
        ("a.json", b'{"licences": ["MIT"], "authors": ["I"]}', "neither one list of texts"),
        ("a.json", b"[1, 2]", "2 rows skipped, first 'a.json!/1': neither a text nor an object, but int"),
        ("a.jsonl", b'{"caption": 3}\n', "not a text, but int"),
        ("a.parquet", b"PAR1", "not a Parquet file"),
        ("a.tar", b"no tar" * 200, "cannot be read as a tar file"),
        ("a.txt", b"PK\x03\x04", "a zip file or workbook"),
    ],
)
def test_what_holds_no_text(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(zs.SourceError, match=message):
        zs.open_texts(written(tmp_path, name, content))


def test_places_that_are_not_files(tmp_path: Path) -> None:
    with pytest.raises(zs.SourceError, match="is a folder"):
        zs.open_texts(tmp_path)
    with pytest.raises(zs.SourceError, match="there is no file"):
        zs.open_texts(tmp_path / "none.csv")
