"""``probe``, ``fewshot curve`` and ``index prototypes --from-images`` as a shell sees them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from conftest import Run
from kits.hashing_encoder import HashingEncoder
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.errors import UsageError, ZsRetrieveError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """A gallery of three classes with three images each, one of them there twice, and prototypes of text."""
    root = tmp_path_factory.mktemp("world")
    names = ("red circle", "blue star", "green heart")
    for name in names:
        shutil.copytree(scene_folder / name, root / "photos" / name)
    first = sorted((root / "photos" / "red circle").iterdir())[0]
    shutil.copy(first, first.with_name("again.png"))
    zs.build_gallery(root / "photos", root / "gallery", HashingEncoder())
    zs.build_prototypes(root / "text", list(names), HashingEncoder())
    return root


def test_prototypes_from_images_are_evaluated_on_others(world: Path, run_cli: Run) -> None:
    made = run_cli(
        "index", "prototypes", "means", "--from-images", "gallery", "--shots", "2", "--seed", "3", cwd=world
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert made.stdout == ""
    assert "3 classes, 6 images -> means" in made.stderr
    info = run_cli("index", "info", "means", cwd=world).stdout
    assert "6 images of" in info
    assert "2 of each class, seed 3" in info
    found = json.loads(run_cli("evaluate", "gallery", "-p", "means", "--format", "json", cwd=world).stdout)
    assert found["n_scored"] + found["n_drawn"] == 10
    assert found["n_drawn"] in (6, 7)
    assert found["shots_included"] is False
    whole = run_cli("evaluate", "gallery", "-p", "means", "--include-shots", cwd=world).stdout
    assert "/ 10 images" in whole
    assert "the prototypes were made from them; scored too" in whole
    assert (
        "the prototypes were made from them; not scored"
        in run_cli("evaluate", "gallery", "-p", "means", cwd=world).stdout
    )


def test_a_folder_and_text_together(world: Path, run_cli: Run) -> None:
    made = run_cli(
        "index", "prototypes", "mixed", "--from-images", "photos", "--mix", "0.4", "--model", "demo",
        "--classes", "blue star,red circle,green heart,red heart", "--templates", "scenes", cwd=world,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "1 class has no images and use text only: 'red heart'" in made.stderr
    content = json.loads(run_cli("index", "info", "mixed", "--format", "json", cwd=world).stdout)
    assert content["templates_source"] == "0.4 x scenes + 0.6 x all images"
    assert content["training"]["text_weight"] == 0.4
    assert content["training"]["n_images"] == 9, "equal images count once"


def test_a_probe(world: Path, run_cli: Run) -> None:
    done = run_cli("probe", "gallery", "probe", "--validation", "0.34", cwd=world)
    assert done.returncode == 0, done.stderr
    assert "chosen" in done.stdout
    assert "fitted to 6 images and judged on 3 others" in done.stdout
    assert "3 classes, 9 images -> probe" in done.stderr
    given = run_cli("probe", "gallery", "given", "--c", "2", "--format", "json", cwd=world)
    assert json.loads(given.stdout) == {
        "c": 2.0, "converged": True, "n_images": 9, "n_classes": 3, "shots": None, "seed": 0, "n_fit": 9,
        "n_validation": 0, "sweep": [],
    }  # fmt: skip
    classified = run_cli("classify", "gallery", "-p", "probe", "--format", "json", cwd=world)
    rows = json.loads(classified.stdout)
    for row in rows:
        assert sum(one["probability"] for one in row["predictions"]) == pytest.approx(1.0, abs=1e-5)
    assert all(row["predictions"][0]["class_name"] in row["path"] for row in rows), "it was fitted to these"
    info = run_cli("index", "info", "probe", cwd=world).stdout
    assert "synced with" not in info, "it has no source to be synced with"
    assert "3 x 34, Flat, with a bias" in info
    assert run_cli("index", "verify", "probe", cwd=world).returncode == 0
    exported = run_cli("index", "export", "probe", "out", "--as", "npy", cwd=world)
    assert "these rows have a bias" in exported.stderr
    nothing_left = run_cli("evaluate", "gallery", "-p", "probe", cwd=world)
    assert (nothing_left.returncode, nothing_left.stdout) == (1, "")
    assert "all 10, so none is left" in nothing_left.stderr
    assert "--include-shots" in nothing_left.stderr


def test_a_curve_in_every_form(world: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    base = (
        "fewshot", "curve", "gallery", "-p", "text", "--shots", "0,1", "--seeds", "2", "--mix", "0.5",
        "--held-out", "0.6", "--c", "1",
    )  # fmt: skip
    table = run_cli(*base, cwd=world)
    assert table.returncode == 0, table.stderr
    for word in ("zero-shot", "multi-shot", "mix", "probe", "95 % interval", "2 draws from"):
        assert word in table.stdout
    rows = json.loads(run_cli(*base, "--format", "json", cwd=world).stdout)
    assert [(row["method"], row["shots"]) for row in rows] == [
        ("zero-shot", 0), ("multi-shot", 1), ("mix", 1), ("probe", 1),
    ]  # fmt: skip
    for row in rows:
        assert row["prec@1"] == pytest.approx(sum(row["n_correct"]) / len(row["n_correct"]) / row["n_scored"])
        assert row["interval"]["low"] <= row["prec@1"] <= row["interval"]["high"]
        assert row["interval"]["level"] == 0.95
    monkeypatch.chdir(world)
    flat = list(csv.DictReader(io.StringIO(CliRunner().invoke(app, [*base, "--format", "csv"]).stdout)))
    assert [float(row["prec@1"]) for row in flat] == [row["prec@1"] for row in rows]
    assert [float(row["low"]) for row in flat] == [row["interval"]["low"] for row in rows]
    assert flat[3]["c"] == "1.0 1.0"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("index", "prototypes", "x", "--from-images", "gallery", "--shots", "4"), "3 classes have fewer than 4 diff"),
        (("index", "prototypes", "x", "--from-images", "gallery", "-c", "red circle,cat"), "2 of 3 labels"),
        (("probe", "gallery", "x", "-c", "red circle,blue star,green heart,cat"), "no image to train on: 'cat'"),
        (("probe", "gallery", "x", "--c", "0"), "C must be between 1e-12 and 1e+12, got 0.0"),
        (("probe", "gallery", "text"), "there is already an index"),
        (("probe", "nowhere", "x"), "no folder or file 'nowhere'"),
        (("fewshot", "curve", "gallery", "-p", "text"), "3 classes have fewer than 16"),
        (("fewshot", "curve", "gallery", "-p", "text", "--shots", "2", "--test", "gallery"), "every image of the test"),
        (("fewshot", "curve", "gallery", "-p", "text", "--plot", "curve.doc"), "must be named .png, .svg or .pdf"),
    ],
)
def test_refused(world: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    monkeypatch.chdir(world)
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, ZsRetrieveError)
    assert message in done.exception.message
    assert done.exception.hint
    assert done.stdout == ""
    assert not (world / "x").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("index", "prototypes", "x"),
        ("index", "prototypes", "x", "-c", "a,b", "--shots", "2"),
        ("index", "prototypes", "x", "--from-images", "gallery", "--templates", "raw"),
        *(
            ("index", "prototypes", "x", "-c", "a,b", *words)
            for words in (
                ("--seed", "0"),
                ("--no-exif",),
                ("--strict",),
                ("--skipped", "y.csv"),
                ("--max-megapixels", "9"),
                ("--fast-decode",),
                ("--batch-size", "8"),
            )
        ),
        ("probe", "gallery", "x", "--no-exif"),
        ("probe", "gallery", "x", "--c", "1", "--validation", "0.2"),
        ("fewshot", "curve", "gallery", "-p", "text", "--shots", "0", "--c", "1", "--validation", "0.3"),
        ("fewshot", "curve", "gallery", "-p", "text", "--shots", "0", "--test", "gallery", "--held-out", "0.3"),
        ("fewshot", "curve", "gallery", "-p", "text", "--shots", "one"),
    ],
)
def test_wrong_usage(world: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.chdir(world)
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UsageError), done.output
    assert done.stdout == ""
    assert not (world / "x").exists()


def test_a_plot_without_matplotlib_is_refused_first(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.chdir(world)
    done = CliRunner().invoke(app, ["fewshot", "curve", "nowhere", "-p", "nowhere", "--plot", "curve.png"])
    assert str(getattr(done.exception, "hint", "")).endswith(" matplotlib")
