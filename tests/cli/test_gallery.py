"""Keeping a gallery from the command line, with the bundled model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Run
from kits.folders import file_named
from kits.pictures import pictures
from kits.waiting import PATIENCE_S, eventually

import zsretrieve as zs
from zsretrieve.store.folder import staged


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, run_cli: Run) -> Path:
    root = tmp_path_factory.mktemp("keeping")
    for name in ("red circle", "blue star", "green heart"):
        shutil.copytree(scene_folder / name, root / "photos" / name)
    done = run_cli("index", "gallery", "photos", "gallery", "--model", "demo", cwd=root)
    assert done.returncode == 0, done.stderr
    return root


def report(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    loaded: dict[str, object] = json.loads(done.stdout)
    return loaded


def test_a_gallery_s_life(world: Path, scene_folder: Path, run_cli: Run) -> None:
    shutil.copytree(scene_folder / "red star", world / "photos" / "red star")
    (world / "photos" / "broken.png").write_bytes(b"no")
    added = report(run_cli("index", "add", "gallery", "photos", "--format", "json", "--skipped", "s.csv", cwd=world))
    assert (added["added"], added["unchanged"], added["encoded"]) == (3, 9, 3)
    assert added["skipped"] == [{"path": "broken.png", "reason": "not a readable image"}]
    assert (world / "s.csv").read_text().splitlines()[1] == "broken.png,not a readable image"
    (world / "photos" / "broken.png").unlink()
    shutil.move(world / "photos" / "red star", world / "photos" / "moved star")
    photo = sorted((world / "photos" / "blue star").iterdir())[0]
    photo.unlink()
    done = run_cli("index", "sync", "gallery", cwd=world)
    assert done.returncode == 0, done.stderr
    assert "moved" in done.stdout
    assert [int(word) for word in done.stdout.split() if word.isdigit()] == [0, 0, 3, 1, 8, 0, 0]
    dry = run_cli("index", "remove", "gallery", "moved star", "--dry-run", "--format", "json", cwd=world)
    assert report(dry)["removed"] == 3
    assert "dry run" in dry.stderr
    done = run_cli("index", "remove", "gallery", "--where", "label = 'moved star' and id < 0", cwd=world)
    assert done.returncode == 1
    gone = report(
        run_cli("index", "remove", "gallery", "--where", "label = 'moved star'", "--format", "json", cwd=world)
    )
    assert gone["removed"] == 3
    done = run_cli("index", "compact", "gallery", cwd=world)
    assert "-> 1; dead rows: " in done.stderr
    done = run_cli("index", "verify", "gallery", "--deep", "--sample", "5", cwd=world)
    assert "gallery: sound; re-encoded a sample of 5, all match" in done.stdout
    told = run_cli("index", "info", "gallery", cwd=world).stdout
    assert "verified" in told
    assert "1, of 8 rows" in told
    rows = run_cli("search", "gallery", "a blue star", "-k", "8", "--format", "jsonl", cwd=world).stdout.splitlines()
    assert len({json.loads(row)["id"] for row in rows}) == 8


def test_mistakes_are_told(world: Path, run_cli: Run) -> None:
    for words, message in (
        (("index", "add", "nowhere", "photos"), "there is no index at"),
        (("index", "remove", "gallery", "nothing*"), "nothing in the gallery matches 'nothing*'"),
        (("index", "remove", "gallery", "--where", "label = 'nobody'"), "matches the filter"),
        (("index", "sync", "photos"), "is not an index"),
        (("index", "add", "gallery", "photos", "--model", "ViT-B-32/openai"), "the index was built with 'demo'"),
        (("index", "repair", "photos"), "is not an index"),
    ):
        done = run_cli(*words, cwd=world)
        assert done.returncode == 1, words
        assert done.stdout == ""
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert message in errors[0]
        assert done.stderr.splitlines()[-1].startswith("hint: ")
    assert run_cli("index", "remove", "gallery", cwd=world).returncode == 2


def test_repairing(world: Path, tmp_path: Path, run_cli: Run) -> None:
    copy = Path(shutil.copytree(world / "gallery", tmp_path / "gallery"))
    assert "nothing is damaged" in run_cli("index", "repair", copy).stdout
    path = file_named(copy, "index.faiss")
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    done = run_cli("index", "verify", copy)
    assert done.returncode == 1
    assert f"index repair '{copy}'" in done.stderr
    done = run_cli("index", "repair", copy)
    assert done.returncode == 0
    assert "the FAISS file is rebuilt from the vectors" in done.stdout
    assert run_cli("index", "verify", copy).returncode == 0
    path = file_named(copy, "vectors.npy")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = path.read_bytes()
    assert run_cli("index", "repair", copy, "--lost", path).returncode == 2
    assert path.read_bytes() == damaged
    done = run_cli("index", "repair", copy, "--lost", tmp_path / "lost.txt")
    assert done.returncode == 0, done.stderr
    assert "vectors were encoded again from their images" in done.stdout
    assert run_cli("index", "verify", copy).returncode == 0


def test_the_limit_in_megapixels(world: Path, tmp_path: Path, run_cli: Run) -> None:
    done = run_cli("index", "gallery", world / "photos", tmp_path / "g", "--model", "demo", "--max-megapixels", "0.001")
    assert done.returncode == 1
    assert "too many pixels" in done.stderr
    assert "--max-megapixels" in done.stderr


def test_an_interrupted_build_says_so_and_goes_on(tmp_path: Path) -> None:
    """With fresh interpreters and a real SIGINT while images are being encoded."""
    photos, out = pictures(tmp_path / "photos", 2500), tmp_path / "out"
    command = [sys.executable, "-m", "zsretrieve", "index", "gallery", photos, out, "--model", "demo"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    begun = None
    for seconds in (0.4, 0.8, 1.6, 3.2, 6.4):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        eventually(lambda process=process: (out / ".building").exists() or process.poll() is not None, pause=0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130, told
        begun = staged(out)
        if begun is not None:
            assert f"{begun.count} images are kept; run the same command again to continue" in told
            break
    assert begun is not None
    assert 0 < begun.count < 2500
    search = [sys.executable, "-m", "zsretrieve", "search", out, "x"]
    refused = subprocess.run(search, capture_output=True, text=True, env=environment, check=False)
    assert "is not finished: its build was interrupted" in refused.stderr
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert f"resuming an interrupted build: {begun.count} images encoded already" in done.stderr
    assert "2500 images -> " in done.stderr
    assert zs.verify(out) == []
