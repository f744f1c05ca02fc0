"""Galleries of texts and caption retrieval from the command line, with the bundled model."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.demo import scenes
from zsretrieve.domain.ports import Encoder
from zsretrieve.store.folder import staged

NAMES = ("red star", "blue star", "red circle", "blue circle", "green heart", "yellow cross")
Ask = Callable[..., Result]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, demo_encoder: Encoder) -> Path:
    """Captions of scenes that are there, of one that is not, an empty one; words; and their galleries."""
    root = tmp_path_factory.mktemp("captions")
    (root / "scenes").mkdir()
    for name in NAMES:
        (root / "scenes" / name).symlink_to(scene_folder / name)
    rows = [
        (f"scenes/{name}/{path.name}", f"a photo of a {name}.")
        for name in NAMES
        for path in sorted((scene_folder / name).iterdir())
    ]
    rows = [*rows[:-1], ("scenes/gone.png", "a black bolt"), (rows[0][0], "")]
    with open(root / "captions.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])
    colours, shapes = zip(*(name.split() for name in scenes.class_names()), strict=True)
    (root / "words.txt").write_text("\n".join(dict.fromkeys([*colours, *shapes, *scenes.class_names()])))
    zs.build_gallery(root / "scenes", root / "gallery", demo_encoder)
    zs.build_gallery(zs.open_texts(root / "words.txt"), root / "words", demo_encoder)
    return root


@pytest.fixture
def ask(world: Path) -> Ask:
    """A command in this process."""

    def run(*words: str | Path, stdin: str | None = None) -> Result:
        with contextlib.chdir(world):
            return CliRunner().invoke(app, list(map(str, words)), input=stdin)

    return run


def printed(done: Result) -> Any:
    assert done.exit_code == 0, (done.stderr, done.exception)
    return json.loads(done.stdout)


def test_captions_become_a_gallery_that_images_search(world: Path, ask: Ask) -> None:
    done = ask("index", "texts", "captions.csv", "captions", "--model", "demo", "--skipped", "s.csv")
    assert done.exit_code == 0, (done.stderr, done.exception)
    assert "18 texts -> captions" in done.stderr
    assert "1 skipped (listed in s.csv); first: captions.csv!/20: empty" in done.stderr
    assert (world / "s.csv").read_text().splitlines()[1] == "captions.csv!/20,empty"
    image = sorted((world / "scenes" / "green heart").iterdir())[0]
    best = printed(ask("search", "captions", image, "-k", "1", "--format", "json"))[0]
    assert best["text"] == "a photo of a green heart."
    assert best["image"] == str(world / "scenes" / "green heart" / image.name)
    shown = ask("search", "captions", image, "-k", "2").stdout
    assert "a photo of a green heart." in shown
    assert "(missing)" not in shown
    done = ask("search", "captions", "star", "--html", "page.html", "-k", "1")
    assert done.exit_code == 0, done.exception
    assert "<p>a photo of a " in (world / "page.html").read_text()
    described = ask("index", "info", "captions").stdout
    assert "gallery of texts" in described
    assert "EXIF" not in described
    for command in ("sync captions", "export captions out --as npy"):
        assert isinstance(ask("index", *command.split()).exception, zs.UsageError)


@pytest.mark.parametrize(
    ("query", "answer"),
    [("red star - red + blue", "blue star"), ("green circle - circle + cross", "green cross"),
     ("red star", "red star")],
)  # fmt: skip
def test_analogies_among_words(ask: Ask, query: str, answer: str) -> None:
    assert printed(ask("search", "words", query, "-k", "1", "--format", "json"))[0]["text"] == answer


def test_captions_are_evaluated(ask: Ask) -> None:
    words = ("evaluate", "gallery", "--captions", "captions.csv")
    figures = printed(ask(*words, "-k", "1,3", "--format", "json"))
    assert (figures["n_images"], figures["n_captions"], figures["n_captions_without_image"]) == (17, 17, 1)
    assert figures["n_images_without_captions"] == 1
    # Two or three images have the same caption, and of equal captions only the first can be the best.
    assert figures["image_to_text_recall@1"] == pytest.approx(6 / 17)
    assert figures["image_to_text_recall@3"] == figures["text_to_image_recall@3"] == 1
    done = ask(*words)
    assert "median rank" in done.stdout
    assert "mean recall" in done.stdout
    assert "1 image without captions: left out" in done.stderr
    assert "2 skipped" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("index add gallery captions.csv --column caption", "--column is for a gallery of texts"),
        ("index texts captions.csv out --column words", "no column 'words'; its columns are 'image', 'caption'"),
        ("index texts captions.csv words", "already"),
        ("search words star --copy-to out", "--copy-to is for images"),
        ("evaluate gallery --captions captions.csv -p gallery", "--prototypes has no effect with --captions"),
        ("evaluate gallery -p gallery --split test", "--split has no effect without --captions"),
        ("evaluate words --captions captions.csv", "is a gallery of texts, not of images"),
        ("evaluate gallery --captions words.txt", "describes an image of 'gallery'"),
    ],
)
def test_what_makes_no_sense_is_refused(ask: Ask, words: str, message: str) -> None:
    done = ask(*words.split())
    assert done.exit_code == 1
    assert isinstance(done.exception, zs.ZsRetrieveError)
    assert message in done.exception.message
    assert done.exception.hint


def test_a_gallery_of_texts_is_kept(world: Path, ask: Ask) -> None:
    added = printed(ask("index", "add", "words", "-", "--format", "json", stdin="crimson\nred star\n"))
    assert (added["added"], added["encoded"]) == (2, 1)
    removed = printed(ask("index", "remove", "words", "stdin!/*", "--format", "json"))
    assert removed["removed"] == 2
    for command in ("verify words --deep", "sources words"):
        done = ask("index", *command.split())
        assert done.exit_code == 0, (done.stderr, done.exception)


def test_a_killed_build_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"a red star and {number} circles" for number in range(20_000)))
    words = [sys.executable, "-m", "zsretrieve", "index", "texts", "a.txt", "out", "--model", "demo"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + 300
    while (build := staged(tmp_path / "out")) is None or not build.count:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = staged(tmp_path / "out")
    assert left is not None
    assert 0 < left.count < 20_000
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment, check=True)
    assert f"resuming an interrupted build: {left.count} " in done.stderr
    gallery = zs.open_gallery(tmp_path / "out")
    assert [item.id for item in gallery.items] == list(range(20_000))
    assert zs.verify(tmp_path / "out") == []
