"""Import and export as people type them, with a real model."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Run

import zsretrieve as zs
from zsretrieve.domain.ports import Encoder


@pytest.fixture(scope="module")
def demo_gallery(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, demo_encoder: Encoder) -> Path:
    out = tmp_path_factory.mktemp("exchanged") / "gallery"
    zs.build_gallery(scene_folder, out, demo_encoder)
    return out


def hits(run_cli: Run, gallery: Path, query: str) -> list[tuple[int, str, float]]:
    done = run_cli("search", gallery, query, "-k", "10", "--format", "json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return [(hit["id"], hit["path"], hit["score"]) for hit in json.loads(done.stdout)]


@pytest.mark.parametrize("form", ["parquet", "npy", "clip-retrieval"])
def test_out_and_in_again_finds_the_same(
    run_cli: Run, demo_gallery: Path, scene_folder: Path, tmp_path: Path, form: str
) -> None:
    out = run_cli("index", "export", demo_gallery, tmp_path / "out", "--as", form)
    assert (out.returncode, out.stdout) == (0, ""), out.stderr
    assert out.stderr == f"360 vectors -> {tmp_path / 'out'}\n"
    back = run_cli(
        "index", "import", tmp_path / "out", tmp_path / "back", "--model", "demo", "--root", scene_folder
    )  # fmt: skip
    assert (back.returncode, back.stdout) == (0, ""), back.stderr
    assert back.stderr == f"360 images -> {tmp_path / 'back'}\n"
    verified = run_cli("index", "verify", tmp_path / "back")
    assert verified.returncode == 0, verified.stderr
    before, after = (hits(run_cli, gallery, "a red circle") for gallery in (demo_gallery, tmp_path / "back"))
    if form == "clip-retrieval":
        np.testing.assert_allclose([score for *_, score in after], [score for *_, score in before], atol=1e-3)
        certain = {path for _, path, score in before if score > before[-1][2] + 2e-3}
        assert certain <= {path for _, path, _ in after}
    else:
        assert after == before


def test_the_commands_of_the_page_run(run_cli: Run, demo_gallery: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "exchange.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ zsretrieve (.*)", page, re.MULTILINE)
    assert len(commands) == 9
    (tmp_path / "indexes").mkdir()
    shutil.copytree(demo_gallery, tmp_path / "indexes" / "photos")
    for command in commands:
        done = run_cli(*shlex.split(command), cwd=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_what_is_left_out_and_what_is_passed_over_is_told(run_cli: Run, demo_gallery: Path, tmp_path: Path) -> None:
    run_cli("index", "export", demo_gallery, tmp_path / "clip", "--as", "clip-retrieval")
    (tmp_path / "clip" / "text_emb").mkdir()
    part = tmp_path / "clip" / "img_emb" / "img_emb_0.npy"
    array = np.load(part)
    array[4] = 0
    np.save(part, array)
    done = run_cli(
        "index", "import", tmp_path / "clip", tmp_path / "back", "-m", "demo", "--skipped", tmp_path / "skipped.csv"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stderr.splitlines()
    assert told[0] == "text_emb/ is ignored: a gallery holds images"
    assert told[1].startswith("1 skipped (listed in ")
    assert told[1].endswith("its vector is zero")
    assert told[2].startswith("359 images -> ")
    with open(tmp_path / "skipped.csv", newline="") as file:
        assert [row["reason"] for row in csv.DictReader(file)] == ["its vector is zero"]


def test_mistakes_are_told_in_two_lines(run_cli: Run, demo_gallery: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(3, 7, dtype=np.float32))
    (tmp_path / "paths").write_text("a\nb\nc\n")
    (tmp_path / "two").write_text("a\nb\n")
    vectors, back = tmp_path / "v.npy", tmp_path / "back"

    def refused(*words: str | Path) -> list[str]:
        done = run_cli("index", *words)
        assert (done.returncode, done.stdout) == (1, "")
        error, hint = done.stderr.splitlines()
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")
        assert not back.exists()
        return [error, hint]

    dim = zs.open_gallery(demo_gallery, device="cpu").space.dim
    said = refused("import", vectors, back, "--model", "demo", "--paths", tmp_path / "paths")
    assert f"have 7 dimensions, those of 'demo' {dim}" in said[0]
    assert "holds 3 vectors" in refused("import", vectors, back, "-m", "demo", "--paths", tmp_path / "two")[0]
    assert "one path per line as --paths." in refused("import", vectors, back, "-m", "demo")[1]
    assert "img_emb/" in refused("import", tmp_path, back, "-m", "demo")[1]
    assert "left alone" in refused("export", demo_gallery, tmp_path, "--as", "npy", "--force")[0]
    assert run_cli("index", "import", vectors, back).returncode == 2, "the model must be named"
    assert run_cli("index", "export", demo_gallery, back).returncode == 2
