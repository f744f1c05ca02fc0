"""Lists of paths and ground-truth files as other programs and people write them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from conftest import Run
from kits.images import picture

import zsretrieve as zs
from zsretrieve.domain.errors import SourceError
from zsretrieve.images import sources

NFC, NFD = "café", unicodedata.normalize("NFD", "café")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("1.png", "my photo.png", "x/2.png"):
        picture(tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "content",
    [
        b"1.png\nmy photo.png\nx/2.png",
        b"1.png\r\nmy photo.png\r\nx/2.png\r\n",
        "\ufeff1.png\nmy photo.png\n\ufeffx/2.png\n".encode(),
        "1.png\r\nmy photo.png\r\nx/2.png\r\n".encode("utf-16"),
        "1.png\nmy photo.png\nx/2.png\n".encode("utf-16-le"),
        "1.png\nmy photo.png\nx/2.png\n".encode("utf-16-be"),
        b'"1.png"\n\'my photo.png\'\n"x/2.png"\n',
        b" 1.png \nmy photo.png\t\n  x/2.png\n",
        b"1.png\0my photo.png\0x/2.png\0",
        b"1.png\0my photo.png\0x/2.png",
    ],
)
def test_a_list_of_any_form(photos: Path, content: bytes) -> None:
    (photos.parent / "list.txt").write_bytes(content)
    found = zs.open_source([f"@{photos.parent / 'list.txt'}"])
    assert [file.path for file in found.files] == ["1.png", "my photo.png", "x/2.png"]


def test_names_that_are_like_quotes_are_names(photos: Path) -> None:
    picture(photos / "quoted.png").rename(photos / '"1.png"')
    picture(photos / " 1.png")
    picture(photos / "new\nline.png")
    (photos / "list").write_text('"1.png"\n 1.png\n"gone.png"\n')
    assert [file.path for file in zs.open_source(["@list"]).files] == ['"1.png"', " 1.png", "gone.png"]
    (photos / "list").write_bytes(b"new\nline.png\0" + b" 1.png\0")
    assert [file.path for file in zs.open_source(["@list"]).files] == ["new\nline.png", " 1.png"]
    (photos / "list").write_text(f"file://{photos}/my%20photo.png\n{photos}/1.png\n")
    assert [file.path for file in zs.open_source(["@list"]).files] == ["my photo.png", "1.png"]
    (photos / "list").write_bytes(b"1.png\nx\0y.png\n")
    with pytest.raises(SourceError, match="line 2 of the list 'list' holds a NUL"):
        zs.open_source(["@list"])
    (photos / "list").write_bytes(b"\xff\xfe1")
    with pytest.raises(SourceError, match="not valid UTF-16-LE"):
        zs.open_source(["@list"])


def test_a_list_that_ends_with_nuls_on_the_command_line(photos: Path, run_cli: Run) -> None:
    picture(photos / "new\nline.png")
    words = ("classify", "-", "--labels", "red star,blue circle", "--model", "demo", "--format", "json")
    for listed, options, paths in (
        ("1.png\0new\nline.png\0", (), ["1.png", "new\nline.png"]),
        ("new\nline.png", ("-0",), ["new\nline.png"]),
    ):
        done = run_cli(*words, *options, stdin=listed)
        assert done.returncode == 0, done.stderr
        assert [row["path"] for row in json.loads(done.stdout)] == [str(photos / path) for path in paths]
    done = run_cli("classify", "1.png", "--null", "--labels", "a,b", "--model", "demo")
    assert (done.returncode, "--null goes with a list" in done.stderr, "hint: " in done.stderr) == (2, True, True)


def test_paths_are_found_in_the_other_unicode_form(photos: Path) -> None:
    picture(photos / NFD / f"{NFD}.png")
    picture(photos / "both" / f"{NFD}.png")
    picture(photos / "both" / f"{NFC}.png")
    (photos / "list").write_text(f"{NFC}/{NFC}.png\n{photos}/{NFC}/{NFC}.png\nboth/{NFC}.png\n{NFC}/gone.png\n")
    found = [file.path for file in zs.open_source(["@list"]).files]
    assert found == [f"{NFD}/{NFD}.png", f"{NFD}/{NFD}.png", f"both/{NFC}.png", f"{NFC}/gone.png"]
    (photos / f"{NFD}.txt").write_text("1.png\n")
    assert [file.path for file in zs.open_source([f"@{NFC}.txt"]).files] == ["1.png"]
    assert [file.path for file in zs.open_source([f"{{{NFC},both}}/{NFC}.png"]).files] == [
        f"{NFD}/{NFD}.png", f"both/{NFC}.png",
    ]  # fmt: skip
    assert [file.path for file in zs.open_source([NFC]).files] == [f"{NFD}.png"]
    assert [file.path for file in zs.open_source([f"{NFC}/{NFC}.png"]).files] == [f"{NFD}/{NFD}.png"]


@pytest.mark.parametrize(
    "content",
    [
        "1.png 001\nmy photo.png red star\nx/2.png blue\n",
        "1.png\t001\nmy photo.png\tred star\nx/2.png\tblue\n",
        "1.png,001\nmy photo.png,red star\nx/2.png,blue\n",
        "filename,label\n1.png,001\nmy photo.png,red star\nx/2.png,blue\n",
        "\ufeffsep=;\r\nFile;Label\r\n1.png;001\r\nmy photo.png;red star\r\nx/2.png;blue\r\n",
        'label;score;path\n001;1;"1.png"\nred star;0;my photo.png\nblue;1;x/2.png\n',
        "id,breed\n1,001\nmy photo,red star\n2,blue\n",
        '"1.png" "001"\n"my photo.png" "red star"\n"x/2.png" "blue"\n',
        "1.png 001\n.\\my photo.png red star\nx\\2.png blue\n",
        "1.png\u00a0001\nmy photo.png red\u200b star\n./x/2.png \tblue \n",
        '{"1.png": "001", "my photo.png": "red star", "x/2.png": "blue"}',
        '{"001": ["1.png"], "red star": ["my photo.png"], "blue": ["x/2.png"]}',
        '[["1.png", "001"], ["my photo.png", "red star"], ["x/2.png", "blue"]]',
        '{"file_name": "1.png", "label": "001"}\n{"file_name": "my photo.png", "label": "red star"}\n'
        '{"file_name": "x/2.png", "label": "blue"}\n',
        '["001", "red star", "blue"]',
        "001\nred star\nblue\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_ground_truth_of_any_form(photos: Path, content: str, encoding: str) -> None:
    (photos.parent / "truth").write_text(content, encoding=encoding)
    found = sources.folder(photos, photos.parent / "truth")
    assert [(file.path, file.label) for file in found.files] == [
        ("1.png", "001"), ("my photo.png", "red star"), ("x/2.png", "blue"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("1.png,\nmy photo.png,cat\n", [None, "cat", None]),
        ("filename,label\n1.png\nmy photo.png,cat\n", [None, "cat", None]),
        ('{"1.png": 3, "my photo.png": 4.0, "x/2.png": null}', ["#3", "#4", None]),
        ("1.png great, white\nx/2.png,a, b\n", ["great, white", None, "a, b"]),
    ],
)
def test_labels_of_a_ground_truth(photos: Path, content: str, labels: list[str | None]) -> None:
    (photos.parent / "truth").write_text(content)
    assert [file.label for file in sources.folder(photos, photos.parent / "truth").files] == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1.png caf\xe9\n".encode("latin-1"), "not UTF-8 .*Windows-1252"),
        (b"PK\x03\x04", "a zip file or workbook"),
        (b"filename,width,height\n1.png,3,4\n", "the columns filename, width, height, and none .* hold labels"),
        (b'{"1.png": {"label": "x"}}', "neither names with labels nor a list"),
    ],
)
def test_a_ground_truth_that_cannot_be_read_is_named(photos: Path, content: bytes, message: str) -> None:
    (photos.parent / "truth").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        sources.folder(photos, photos.parent / "truth")


def test_a_ground_truth_names_files_in_the_other_unicode_form(photos: Path) -> None:
    picture(photos / f"{NFD}.png")
    (photos.parent / "truth").write_text(f"{NFC}.png tasse\n", encoding="utf-8")
    labels = {file.path: file.label for file in sources.folder(photos, photos.parent / "truth").files}
    assert labels[f"{NFD}.png"] == "tasse"
