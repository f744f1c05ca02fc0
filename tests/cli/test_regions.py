"""Galleries with regions on the command line."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pytest
from conftest import Run

from zsretrieve.demo import scenes


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, run_cli: Run) -> Path:
    """Six scenes of two objects."""
    root, rng = tmp_path_factory.mktemp("regions"), random.Random(1)
    (root / "scenes").mkdir()
    for number in range(6):
        scene = scenes.pair("red star", f"{('blue', 'green')[number % 2]} circle", rng)
        scenes.draw(scene).save(root / "scenes" / f"{number}.png")
    done = run_cli("index", "gallery", root / "scenes", root / "gallery", "--model", "demo", "--regions", "pyramid:2")
    assert done.returncode == 0, done.stderr
    return root / "gallery"


def test_hits_say_where(gallery: Path, run_cli: Run) -> None:
    shown = run_cli("search", gallery, "a blue circle", "-k", "2").stdout
    assert "region" in shown
    assert "%" in shown
    whole = run_cli("search", gallery, "a blue circle", "-k", "2", "--whole").stdout
    assert "region" not in whole.splitlines()[1]
    rows = json.loads(run_cli("search", gallery, "a blue circle", "-k", "3", "--format", "json").stdout)
    assert any(row["box"] is not None for row in rows)
    table = list(csv.DictReader(io.StringIO(run_cli("search", gallery, "a star", "--format", "csv").stdout)))
    assert len(table) == 6
    assert all(json.loads(row["box"]) for row in table if row["box"])
    assert "pyramid:2" in run_cli("index", "info", gallery).stdout


def test_what_does_not_go_together_is_wrong_usage(gallery: Path, run_cli: Run, tmp_path: Path) -> None:
    images = gallery.parent / "scenes"
    for options, words in [
        (("--regions", "tiles"), "'tiles' does not name regions"),
        (("--regions", "pyramid:2", "--index", "auto"), "regions need the index kind Flat"),
        (("--regions", "pyramid:2", "--fast-decode"), "Leave --fast-decode out, or --regions"),
    ]:
        done = run_cli("index", "gallery", images, tmp_path / "out", "--model", "demo", *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert not (tmp_path / "out").exists()
    done = run_cli("index", "kind", gallery, "auto")
    assert done.returncode == 2
    assert "has regions" in done.stderr
