"""``models export`` and ``models cache``: what is made is told, listed, shared by copies and deleted by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from conftest import Run
from kits.models import write_model
from typer.testing import CliRunner

from zsretrieve import api
from zsretrieve.cli.app import app
from zsretrieve.encoders import remembered
from zsretrieve.encoders.hashing import HashingEncoder
from zsretrieve.errors import ModelNameError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return f"local-dir:{write_model('vit-quickgelu', tmp_path / 'model')}"


def models(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


def listed() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(models("cache", "list", "--format", "json").stdout)
    return found


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "zsretrieve", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_model_is_exported_listed_and_cleared(cache: Path, model: str, tmp_path: Path) -> None:
    assert listed() == []
    done = models("export", model)
    assert done.exit_code == 0, done.output
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(cache)
    assert (folder / "image.xml").is_file()
    made = (folder / "image.bin").stat().st_mtime_ns
    assert models("export", model).stdout == done.stdout
    assert (folder / "image.bin").stat().st_mtime_ns == made, "it is there already"
    (row,) = listed()
    assert (row["model"], row["folder"], row["failure"]) == (model, str(folder), None)
    assert row["bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    table = models("cache", "list")
    assert "1 converted model," in table.stderr
    assert "0 past searches" in table.stderr

    copy = shutil.copytree(tmp_path / "model", tmp_path / "copy")
    done = models("cache", "clear", f"local-dir:{copy}")
    assert "deleted 1 converted model," in done.stdout
    assert listed() == []
    assert not folder.exists()
    refused = models("cache", "clear", model)
    assert isinstance(refused.exception, ModelNameError)
    assert refused.exception.message == f"there is no converted model '{model}'"
    assert "deleted 0 converted models, 0.0 MB" in models("cache", "clear").stdout


def test_export_converts_again_only_when_forced(cache: Path, model: str) -> None:
    folder = Path(models("export", model).stdout.strip())
    made = (folder / "image.bin").stat().st_mtime_ns
    done = models("export", model, "--force")
    assert done.exit_code == 0, done.output
    assert Path(done.stdout.strip()) == folder
    assert (folder / "image.bin").stat().st_mtime_ns != made


def test_past_searches_are_told_and_cleared_with_everything(cache: Path, hashing_encoder: HashingEncoder) -> None:
    encoder = remembered.RememberingEncoder(hashing_encoder.space, "here", lambda: hashing_encoder)
    encoder.encode_texts(["a dog", "a cat"])
    assert "2 past searches" in models("cache", "list").stderr
    assert models("cache", "clear").exit_code == 0
    assert "0 past searches" in models("cache", "list").stderr


def test_a_cache_in_the_home_of_nobody_is_told(monkeypatch: pytest.MonkeyPatch, run_cli: Run) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", "~a-user-that-is-not-there/cache")
    for words in (("cache", "list"), ("cache", "clear"), ("export", "demo")):
        done = run_cli("models", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert "ZSRETRIEVE_CACHE names no folder: '~a-user-that-is-not-there/cache'" in done.stderr
        assert "Traceback" not in done.stderr
        assert "defect" not in done.stderr


def test_two_processes_calibrate_at_once(cache: Path, model: str, odd_photos: Path) -> None:
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    api.export_model(model)
    both = [start("models", "export", model, "--int8", str(odd_photos), "--force") for _ in range(2)]
    for process in both:
        told = process.communicate(timeout=300)[1]
        assert process.returncode == 0, told
        assert "int8 calibrated on" in told
    assert api.is_calibrated(model)
    assert api.load_encoder(model, precision="int8").encoding.precision == "int8"
    assert [path for path in cache.rglob("*") if ".part-" in path.name] == []
    assert os.listdir(cache / "models")
