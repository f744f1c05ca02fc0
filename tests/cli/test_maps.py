"""``index map`` as a shell sees it."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Run


def test_a_map_with_its_plot_then_an_update(small_gallery: Path, tmp_path: Path, run_cli: Run) -> None:
    done = run_cli("index", "map", small_gallery, "--plot", tmp_path / "map.svg")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"360 images on the map of {small_gallery}, by t-SNE, 120 labels" in " ".join(done.stderr.split())
    assert (tmp_path / "map.svg").read_text().startswith("<svg")
    assert run_cli("index", "remove", small_gallery, "red*").returncode == 0
    done = run_cli("index", "map", small_gallery, "--format", "json")
    summary = json.loads(done.stdout)
    assert summary["n"] == 330
    assert summary["missing"] == 0
    assert run_cli("index", "verify", small_gallery).returncode == 0


def test_a_plot_of_another_kind_is_refused_before_the_work(small_gallery: Path, run_cli: Run) -> None:
    done = run_cli("index", "map", small_gallery, "--plot", "map.png")
    assert done.returncode == 1
    assert "must be named .svg" in done.stderr
    assert not (small_gallery / "map.parquet").exists()
