"""``models export`` and ``models cache``: conversions are listed, shared by copies and deleted by name."""

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
from kits.hashing_encoder import HashingEncoder
from kits.models import write_model
from kits.waiting import PATIENCE_S
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.errors import ModelNameError
from zsretrieve.encoders.cache import text_embeddings


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


def test_past_searches_are_counted_and_cleared_with_everything(cache: Path, hashing_encoder: HashingEncoder) -> None:
    queries = text_embeddings.CachedQueries(hashing_encoder.space, "here", lambda space: hashing_encoder)
    queries.encode_texts(["a dog", "a cat"])
    assert "2 past searches" in models("cache", "list").stderr
    assert models("cache", "clear").exit_code == 0
    assert "0 past searches" in models("cache", "list").stderr


def test_a_cache_in_an_unknown_home_is_refused(monkeypatch: pytest.MonkeyPatch, run_cli: Run) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", "~a-user-that-is-not-there/cache")
    for words in (("cache", "list"), ("cache", "clear"), ("export", "demo")):
        done = run_cli("models", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert "ZSRETRIEVE_CACHE is not a folder: '~a-user-that-is-not-there/cache'" in done.stderr
        assert "Traceback" not in done.stderr
        assert "defect" not in done.stderr


def test_two_processes_calibrate_at_once(cache: Path, model: str, odd_photos: Path) -> None:
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    zs.export_model(model)
    both = [start("models", "export", model, "--int8", str(odd_photos), "--force") for _ in range(2)]
    for process in both:
        stderr = process.communicate(timeout=PATIENCE_S)[1]
        assert process.returncode == 0, stderr
        assert "int8 calibrated on" in stderr
    assert zs.is_calibrated(model)
    assert zs.Model(model, zs.Compute(precision="int8")).load().encoding.precision == "int8"
    assert [path for path in cache.rglob("*") if ".part-" in path.name] == []
    assert os.listdir(cache / "models")


def test_a_pack_is_written_shown_and_used(cache: Path, tmp_path: Path, scene_folder: Path) -> None:
    pack = tmp_path / "my pack"
    done = models("export", "demo", "--pack", str(pack), "--half")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(pack)
    shown = json.loads(models("show", f"pack:{pack}", "--format", "json").stdout)
    assert (shown["made_from"], shown["precision"], shown["license"]) == ("demo", "bf16", "MIT")
    table = models("show", f"pack:{pack}").stdout
    assert "license" in table
    assert "MIT" in table
    for words, message in [
        (("export", "demo", "--pack", str(pack)), "there is already a pack at"),
        (("export", "demo", "--half"), "--half has no effect without --pack"),
        (("export", "demo", "--pack", "x", "--int8", str(scene_folder)), "a pack holds no int8 image tower"),
        (("export", "pack:gone", "--pack", "x"), "there is no model pack at 'gone'"),
        (("show", f"pack:{scene_folder}"), "is not a model pack"),
    ]:
        refused = models(*words)
        assert refused.exit_code == 1
        assert message in str(refused.exception)
    assert models("export", "demo", "--pack", str(pack), "--force").exit_code == 0
    assert models("cache", "clear", "demo").exit_code == 0
    words = ["index", "prototypes", str(tmp_path / "p"), "-c", "red circle,blue star", "--model", f"pack:{pack}"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert zs.read_manifest(tmp_path / "p").space.model == f"pack:{pack}"
    assert models("cache", "clear", f"pack:{pack}").stdout.startswith("deleted 1 converted model,")
