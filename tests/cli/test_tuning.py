"""Tuning from the command line, and what searches say of a tuned index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from kits.calibrated import calibrated
from kits.output_page import check
from kits.vector_gallery import put, vector_gallery
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.vectors import unit_rows

KIND = "IVF32,SQ8"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of vectors that was never tuned, and vectors of texts."""
    root = tmp_path_factory.mktemp("tuning")
    data = calibrated(2500, 32, 300)
    zs.set_index_kind(vector_gallery(root / "gallery", data.images), KIND)
    np.save(root / "texts.npy", data.texts)
    return root


@pytest.fixture(scope="module")
def tuned(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = Path(shutil.copytree(world / "gallery", tmp_path_factory.mktemp("tuned") / "gallery"))
    done = CliRunner().invoke(app, ["index", "tune", str(out), "--texts", str(world / "texts.npy")])
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert f"{KIND}: recall among the 10 best" in words
    assert "texts find 0." in words
    assert "one in twenty" in words
    assert "every search uses the marked setting now" in words
    return out


def test_json_is_as_it_is_documented(tuned: Path, world: Path, tmp_path: Path) -> None:
    out = shutil.copytree(tuned, tmp_path / "gallery")
    line = ["index", "tune", str(out), "--texts", str(world / "texts.npy"), "--recall", "0.9", "--format", "json"]
    content = json.loads(CliRunner().invoke(app, line).stdout)
    check(content, "index tune")
    assert content["tuning"]["recall"] == 0.9
    info = json.loads(CliRunner().invoke(app, ["index", "info", str(out), "--format", "json"]).stdout)
    check(info, "index info")
    assert info["approximate"]["tuning"] == content["tuning"]
    assert info["approximate"]["effort"] == content["chosen"]


def test_info_shows_what_was_measured_and_that_it_may_have_changed(world: Path, tuned: Path, tmp_path: Path) -> None:
    def shown(gallery: Path) -> str:
        return " ".join(CliRunner().invoke(app, ["index", "info", str(gallery)]).output.split())

    assert "never measured; do so with: zsretrieve index tune" in shown(world / "gallery")
    assert "of the 10 best, tuned for 0.95 on 2,500 images (texts.npy)" in shown(tuned)
    assert "tune again" not in shown(tuned)
    out = Path(shutil.copytree(tuned, tmp_path / "gallery"))
    put(out, unit_rows(np.random.default_rng(1).standard_normal((300, 32))))
    assert "the gallery has changed by more than a tenth since: tune again" in shown(out)


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_search_says_how_much_it_finds(tuned: Path, run_cli: Run, form: str) -> None:
    ask = ["search", tuned, "id:5", "--format", form]
    for line, recall in ((ask, None), ([*ask, "--recall", "0.8"], 0.8)):
        done = run_cli(*line)
        assert done.returncode == 0, done.stderr
        text = done.stdout if form == "table" else done.stderr
        assert "of the 10 best are found (images); --exact compares all images" in text, recall
        assert "approximate: about " in text
    done = run_cli(*ask, "--recall", "1")
    assert "approximate" not in done.stdout + done.stderr


def test_errors_are_one_line_with_what_to_do(world: Path, tuned: Path, run_cli: Run) -> None:
    for line, said, hint in (
        (["search", world / "gallery", "id:5", "--recall", "0.9"], "none is stored", "zsretrieve index tune"),
        (["search", tuned, "id:5", "--recall", "0.9", "--exact"], "--recall has no effect with --exact", "Leave one"),
        (["search", tuned, "id:5", "--recall", "2"], "the recall is 2", "0.9"),
        (["index", "tune", tuned, "--recall", "1"], "the recall is 1", "0.95"),
        (["index", "tune", tuned, "--texts", "nowhere.npy"], "nowhere.npy", "hint"),
    ):
        done = run_cli(*line)
        assert done.returncode == 2 if "nowhere.npy" not in line else done.returncode != 0
        assert said in done.stderr
        assert hint in done.stderr
        assert "Traceback" not in done.stderr


def test_what_cannot_be_reached_exits_with_an_error(world: Path, tmp_path: Path, run_cli: Run) -> None:
    out = Path(shutil.copytree(world / "gallery", tmp_path / "gallery"))
    zs.set_index_kind(out, "IVF32,PQ1x4fsr")
    before = (out / "manifest.json").read_bytes()
    done = run_cli("index", "tune", out, "--texts", world / "texts.npy", "--recall", "0.97")
    assert done.returncode == 2
    assert "no setting of the kind 'IVF32,PQ1x4fsr' has a recall of 0.97" in done.stderr
    assert "IVF32,PQ16x4fsr or IVF32,SQ8" in done.stderr
    assert (out / "manifest.json").read_bytes() == before
