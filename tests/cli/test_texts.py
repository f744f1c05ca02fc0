"""Galleries of texts and caption retrieval from the command line, with the bundled model."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Run

import zsretrieve as zs
from zsretrieve.demo import scenes
from zsretrieve.store.folder import staged

NAMES = ("red star", "blue star", "red circle", "blue circle", "green heart", "yellow cross")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, run_cli: Run) -> Path:
    """Captions of scenes that are there, of one that is not, an empty one; words; and their galleries."""
    root = tmp_path_factory.mktemp("captions")
    (root / "scenes").symlink_to(scene_folder)
    rows = [
        (f"scenes/{path.parent.name}/{path.name}", f"a photo of a {path.parent.name}.")
        for name in NAMES
        for path in sorted((scene_folder / name).iterdir())
    ]
    with open(root / "captions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("image", "caption"), *rows, ("scenes/gone.png", "a black bolt"), (rows[0][0], "")])
    colours, shapes = zip(*(name.split() for name in scenes.class_names()), strict=True)
    words = dict.fromkeys([*colours, *shapes, *scenes.class_names()])
    (root / "words.txt").write_text("\n".join(words))
    done = run_cli("index", "texts", "captions.csv", "captions", "--model", "demo", "--skipped", "s.csv", cwd=root)
    assert done.returncode == 0, done.stderr
    assert "19 texts -> captions" in done.stderr
    assert "1 skipped (listed in s.csv); first: captions.csv!/21: empty" in done.stderr
    assert (root / "s.csv").read_text().splitlines()[1] == "captions.csv!/21,empty"
    done = run_cli("index", "texts", "-", "words", "--model", "demo", cwd=root, stdin=(root / "words.txt").read_text())
    assert done.returncode == 0, done.stderr
    done = run_cli("index", "gallery", "scenes", "gallery", "--model", "demo", cwd=root)
    assert done.returncode == 0, done.stderr
    return root


def found(world: Path, run_cli: Run, *words: str) -> list[dict[str, object]]:
    done = run_cli("search", *words, "--format", "json", cwd=world)
    assert done.returncode == 0, done.stderr
    loaded: list[dict[str, object]] = json.loads(done.stdout)
    return loaded


def test_an_image_finds_its_caption(world: Path, run_cli: Run) -> None:
    image = sorted((world / "scenes" / "green heart").iterdir())[0]
    best = found(world, run_cli, "captions", str(image), "-k", "1")[0]
    assert best["text"] == "a photo of a green heart."
    assert str(best["image"]).startswith(str(world / "scenes" / "green heart"))
    done = run_cli("search", "captions", image, "-k", "2", cwd=world)
    assert "text" in done.stdout.splitlines()[1]
    assert "a photo of a green heart." in done.stdout
    assert "(missing)" not in done.stdout


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("red star - red + blue", "blue star"),
        ("green circle - circle + cross", "green cross"),
        ("red star", "red star"),
    ],
)
def test_analogies_among_words(world: Path, run_cli: Run, query: str, answer: str) -> None:
    assert found(world, run_cli, "words", query, "-k", "1")[0]["text"] == answer


def test_captions_are_evaluated(world: Path, run_cli: Run) -> None:
    for source, captions in (("gallery", "captions"), ("gallery", "captions.csv"), ("scenes", "captions.csv")):
        done = run_cli(
            "evaluate", source, "--captions", captions, "--model", "demo", "-k", "1,3", "--format", "json", cwd=world
        )
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert (figures["n_images"], figures["n_captions"], figures["n_captions_without_image"]) == (18, 18, 1)
        assert figures["n_images_without_captions"] == 342
        # Three images have the same caption, and of equal captions only the first can be the best.
        assert figures["image_to_text_recall@1"] == pytest.approx(1 / 3)
        assert figures["image_to_text_recall@3"] == 1
        assert figures["text_to_image_recall@3"] == 1
    done = run_cli("evaluate", "gallery", "--captions", "captions.csv", "--model", "demo", cwd=world)
    assert "median rank" in done.stdout
    assert "mean recall" in done.stdout
    assert "342 images without captions: left out" in done.stderr
    assert "captions.csv!/20: there is no image 'scenes/gone.png'" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("index sync captions", "gallery of texts, which are not synced"),
        ("index add gallery captions.csv --column caption", "--column is for a gallery of texts"),
        ("index texts captions.csv out --column words", "no column 'words'; its columns are 'image', 'caption'"),
        ("index texts captions.csv captions", "already"),
        ("index export captions out --as npy", "a gallery of texts cannot be exported as npy"),
        ("search captions star --copy-to out", "--copy-to is for images"),
        ("evaluate gallery --captions captions.csv -p gallery", "--prototypes has no effect with --captions"),
        ("evaluate gallery -p gallery --split test", "--split has no effect without --captions"),
        ("evaluate captions --captions captions.csv", "is a gallery of texts, not of images"),
        ("evaluate gallery --captions words.txt", "describes an image of 'gallery'"),
        ("classify scenes -p captions", "a gallery index, but a prototype index is needed"),
    ],
)
def test_what_makes_no_sense_is_refused(world: Path, run_cli: Run, words: str, message: str) -> None:
    done = run_cli(*words.split(), cwd=world)
    assert done.returncode == 1, done.stdout
    assert message in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gallery_of_texts_is_kept(world: Path, run_cli: Run) -> None:
    (world / "more.txt").write_text("crimson\nred star\n")
    done = run_cli("index", "add", "words", "more.txt", "--format", "json", cwd=world)
    assert done.returncode == 0, done.stderr
    changes = json.loads(done.stdout)
    assert (changes["added"], changes["encoded"]) == (2, 1)
    done = run_cli("index", "remove", "words", "more.txt!/1", "more.txt!/2", "--format", "json", cwd=world)
    assert json.loads(done.stdout)["removed"] == 2
    for command in (
        ("verify", "words", "--deep"),
        ("info", "words"),
        ("duplicates", "captions"),
        ("sources", "captions"),
    ):
        done = run_cli("index", *command, cwd=world)
        assert done.returncode == 0, done.stderr
    done = run_cli("index", "info", "words", cwd=world)
    assert "gallery of texts" in done.stdout
    assert "EXIF" not in done.stdout
    done = run_cli("search", "captions", "star", "--html", "page.html", "-k", "1", cwd=world)
    assert done.returncode == 0, done.stderr
    assert "<p>a photo of a " in (world / "page.html").read_text()


def test_a_killed_build_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"a red star and {number} circles" for number in range(20_000)))
    words = [sys.executable, "-m", "zsretrieve", "index", "texts", "a.txt", "out", "--model", "demo"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + 60
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
