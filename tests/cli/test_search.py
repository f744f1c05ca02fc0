"""``zsretrieve search``: what hands type, what pipes take, and what is done with the hits. No model is loaded."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import Result
from conftest import Run
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli import app as cli
from zsretrieve.cli.app import app
from zsretrieve.encoders import loading


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = pictures(tmp_path_factory.mktemp("searched") / "photos", 6)
    zs.build_gallery(folder, folder.parent / "gallery", HashingEncoder())
    return folder


@pytest.fixture(autouse=True)
def world(photos: Path, tmp_path: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_encoder", lambda *_: hashing_encoder)
    monkeypatch.setenv("ZSRETRIEVE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(photos.parent)


def search(*words: str, code: int = 0, stdin: str | None = None) -> Result:
    done = CliRunner().invoke(app, ["search", *words], input=stdin)
    refused = getattr(done.exception, "message", "")
    assert done.exit_code == code or (code == 1 and refused), (done.output, done.exception)
    return done


def found(*words: str, stdin: str | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(search(*words, "--format", "json", stdin=stdin).stdout)
    return rows


def test_words_without_quotes_are_one_query() -> None:
    assert found("gallery", "a", "dog", "on", "a", "beach") == found("gallery", "a dog on a beach")
    assert found("gallery", "a dog", "+", "a cat") == found("gallery", "a dog + a cat")
    done = search("gallery", "a dog", "a cat", code=2)
    assert "-q before each of several queries" in done.stderr
    assert "there is none" in search("gallery", code=2).stderr


def test_several_queries_come_from_q_and_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "queries").write_text("\ufeffred\r\n\n  a blue star \n", encoding="utf-8")
    rows = found("gallery", "a", "dog", "--query=-k", "-q", "two", "--queries", str(tmp_path / "queries"), "-k", "2")
    assert list(dict.fromkeys(row["query"] for row in rows)) == ["a dog", "-k", "two", "red", "a blue star"]
    assert [row["rank"] for row in rows] == [1, 2] * 5
    assert found("gallery", "--queries", "-", "-k", "1", stdin="red\nblue\n") == found(
        "gallery", "-q", "red", "-q", "blue", "-k", "1"
    )
    (tmp_path / "queries").write_bytes("red".encode("utf-16"))
    assert [row["query"] for row in found("gallery", "--queries", str(tmp_path / "queries"), "-k", "1")] == ["red"]
    (tmp_path / "queries").write_bytes(b"caf\xe9")
    assert "it is not UTF-8" in search("gallery", "--queries", str(tmp_path / "queries"), code=1).exception.message


def test_q_is_a_query_only_after_search() -> None:
    for words, expected in (
        (["-q", "search", "g", "-q", "x"], ["-q", "search", "g", "-q", "x"]),
        (["search", "g", "-q", "x", "--quiet"], ["--quiet", "search", "g", "-q", "x"]),
        (["index", "info", "g", "-qv"], ["-q", "-v", "index", "info", "g"]),
    ):
        assert cli._globals_first(words) == expected


def test_a_table_says_if_there_are_fewer_than_asked_for() -> None:
    assert "only 6 images to search" in search("gallery", "red", "-k", "200").stdout
    some = search("gallery", "red", "-k", "10", "--where", "label = 'class 1'")
    assert "only 2 images to search" in some.stdout
    assert "only 6 images" not in search("gallery", "red", "-k", "6").stdout
    assert "only 6 images" not in search("gallery", "red").stdout


def test_paths_for_pipes_are_the_bytes_on_disk(tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    photos = pictures(tmp_path / "photos", 3)
    next(photos.rglob("*.png")).rename(photos / "odd \udcff\nname.png")
    zs.build_gallery(photos, tmp_path / "odd", hashing_encoder)
    expected = {os.fsencode(path) for path in photos.rglob("*.png")}
    assert set(search(str(tmp_path / "odd"), "red", "-0").stdout_bytes.split(b"\0")) == {*expected, b""}
    plain = search(str(tmp_path / "odd"), "-q", "red", "-q", "blue", "--paths").stdout_bytes
    assert plain.count(b"\n") == len(expected) + 1, "each path once, one of them with a line break"
    assert "--format" in search("gallery", "red", "--paths", "--format", "csv", code=2).stderr


def test_copies_and_the_page_and_the_viewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log, opener = tmp_path / "log", tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$1" >> {log}\necho no browser found >&2\ntest $(wc -l < {log}) -lt 4\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    best = found("gallery", "red", "-k", "1")[0]["path"]
    search("gallery", "red", "-k", "3", "--open")
    search("gallery", "red", "-k", "3", "--open", "--copy-to", str(tmp_path / "copies"))
    search("gallery", "red", "-k", "3", "--open", "--html", str(tmp_path / "page.html"))
    opened = log.read_text().splitlines()
    assert opened == [best, str(tmp_path / "copies" / Path(best).name), str(tmp_path / "page.html")]
    assert len(list((tmp_path / "copies").iterdir())) == 3
    again = search("gallery", "red", "-k", "4", "--copy-to", str(tmp_path / "copies"))
    assert again.stderr.endswith(f"1 image -> {tmp_path / 'copies'}; 3 were there already\n")
    assert "no viewer opens" in search("gallery", "red", "--open", code=1).exception.message
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "no viewer opens" in search("gallery", "red", "--open", code=1).exception.message
    assert capfd.readouterr().err == ""
    (tmp_path / "page.html").write_text("mine")
    refused = search("gallery", "red", "--html", str(tmp_path / "page.html"), code=1)
    assert (refused.stdout, (tmp_path / "page.html").read_text()) == ("", "mine")


def test_a_folder_is_indexed_by_name(photos: Path, run_cli: Run, tmp_path: Path) -> None:
    refused = run_cli("search", "photos", "red")
    assert refused.returncode == 1
    assert "'photos' is not an index" in refused.stderr
    assert "zsretrieve index gallery photos @photos; or let search or serve do it: add --build" in refused.stderr
    assert found("photos", "red", "--build", "-k", "1")[0]["path"].startswith(str(photos))
    assert found("@photos", "red") == found("photos", "red", "--build")
    assert "Its gallery is @photos: give that." in run_cli("search", "photos", "red").stderr
    (tmp_path / "other" / "photos").mkdir(parents=True)
    assert "add --build" in run_cli("search", tmp_path / "other" / "photos", "red").stderr, "it is another folder"
    unknown = run_cli("search", "@photo", "red").stderr
    assert "there is no index '@photo'" in unknown
    assert "Did you mean @photos? zsretrieve index list shows them." in unknown
    listed = CliRunner().invoke(app, ["index", "list", "--format", "json"])
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["count"], row["source"]) == ("@photos", 6, str(photos))
    assert "@photos" in CliRunner().invoke(app, ["index", "list"]).stdout
    assert CliRunner().invoke(app, ["index", "info", "@photos"]).exit_code == 0


def test_images_are_drawn_where_the_package_is(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual_image", None)
    refused = search("gallery", "red", "--show", code=1)
    assert "needs the package textual-image" in refused.exception.message
    drawn = ModuleType("textual_image.renderable")
    drawn.Image = lambda image, width, height: f"{image.size} of {height} rows"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "textual_image", ModuleType("textual_image"))
    monkeypatch.setitem(sys.modules, "textual_image.renderable", drawn)
    assert search("gallery", "red", "-k", "2", "--show").stdout.count("(7, 9) of 12 rows") == 2


def test_a_build_notes_the_first_skipped_image_and_lists_all_to_a_file(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "some", 3)
    (photos / "bad.png").write_bytes(b"no image")
    built = search(str(photos), "red", "--build")
    listing = "zsretrieve index sync @some --skipped FILE"
    assert f"1 skipped (list them with: {listing}); first: bad.png: not a readable image" in built.stderr
    skipped = tmp_path / "skipped.csv"
    done = CliRunner().invoke(app, ["index", "sync", "@some", "--skipped", str(skipped)])
    assert done.exit_code == 0
    assert "bad.png,not a readable image" in skipped.read_text()
