"""``evaluate --report`` as a shell sees it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import Run
from kits.hashing_encoder import HashingEncoder

import zsretrieve as zs


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """A gallery of two classes with one broken picture, and prototypes of three; no command needs a model."""
    root = tmp_path_factory.mktemp("reported")
    for name in ("red circle", "blue star"):
        shutil.copytree(scene_folder / name, root / "photos" / name)
    (root / "photos" / "blue star" / "broken.png").write_bytes(b"no")
    encoder = HashingEncoder()
    zs.build_gallery(root / "photos", root / "gallery", encoder)
    zs.build_prototypes(root / "prototypes", "red circle,blue star,green heart", encoder)
    return root


def held(page: Path) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="zsretrieve-report">(.*?)</script>', page.read_text())
    assert found is not None
    content: dict[str, object] = json.loads(found[1])
    return content


def test_a_page_beside_the_figures(world: Path, tmp_path: Path, run_cli: Run) -> None:
    page = tmp_path / "my page.html"
    base = ("evaluate", world / "gallery", "--prototypes", world / "prototypes", "--report", page)
    done = run_cli(*base, "--format", "json", "--where", "label is not null", "--report-pictures", "10")
    assert done.returncode == 0, done.stderr
    figures, content = json.loads(done.stdout), held(page)
    assert f"report -> {page}" in done.stderr
    assert content["prec@1"] == figures["prec@1"]
    assert content["n_skipped"] == 1
    assert content["images"]["problems"] == {}
    assert content["asked"] == {
        "source": str(world / "gallery"), "prototypes": str(world / "prototypes"), "classes": None, "templates": None,
        "is_gallery": True, "is_probe": False,
    }  # fmt: skip
    advice = {one["rule"]: shlex.split(one["command"]) for one in content["advice"]}
    assert {"skipped", "few-images", "empty-classes"} <= set(advice)
    again = run_cli(*advice["skipped"][1:], cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "skipped.csv").read_text().count("broken.png") == 1
    quiet = run_cli("-q", *base)  # which replaces the page
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert held(page)["where"] is None


def test_where_no_page_can_be_written_nothing_else_is_done(tmp_path: Path, run_cli: Run) -> None:
    nothing = ("evaluate", tmp_path / "no source", "--prototypes", tmp_path / "no prototypes")
    (tmp_path / "mine.html").write_text("mine")
    for page, message in (("none/out.html", "there is no folder"), ("mine.html", "is not a report of zsretrieve")):
        done = run_cli(*nothing, "--report", tmp_path / page)
        assert (done.returncode, done.stdout) == (1, "")
        error, hint = done.stderr.strip().splitlines()
        assert error.startswith("error: ")
        assert message in error
        assert hint.startswith("hint: ")
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert run_cli(*nothing, "--report-pictures", "3").returncode == 2


def test_another_file_is_replaced_with_force(world: Path, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "mine.html").write_text("mine")
    done = run_cli(
        "evaluate", world / "gallery", "-p", world / "prototypes", "--report", tmp_path / "mine.html", "--force"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert held(tmp_path / "mine.html")["format"] == "zsretrieve-report"
