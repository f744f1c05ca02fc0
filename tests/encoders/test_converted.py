"""Converted models in the cache folder: made once, whole or not at all, found again, deleted."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kits.models import write_model

from zsretrieve import api
from zsretrieve.encoders import converted
from zsretrieve.encoders.naming import parse_model_name
from zsretrieve.errors import CacheError, ConversionError, DeviceError

KILLED_WHILE = """
import os, signal, sys, time
from zsretrieve.encoders import converting
def stop(*arguments):
    print("made", flush=True)
    time.sleep(60)
converting._check = stop
from zsretrieve import api
api.load_encoder(sys.argv[1], engine="openvino")
"""
LOAD = """
import sys
from zsretrieve.encoders import openclip
load = openclip.load
def told(name):
    print("converting", flush=True)
    return load(name)
openclip.load = told
from zsretrieve import api
encoder = api.load_encoder(sys.argv[1], engine="openvino", precision="fp32")
print(encoder.encode_texts(["a red circle"]).tobytes().hex())
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return f"local-dir:{write_model('vit-quickgelu', tmp_path / 'model')}"


def start(code: str, model: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, model], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_conversion_is_kept_and_listed_and_deleted(cache: Path, model: str) -> None:
    assert api.cached_models() == []
    folder = api.export_model(model)
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*.bin"))
    assert folder.is_relative_to(cache)
    assert api.export_model(model) == folder
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*.bin")) == before
    (entry,) = api.cached_models()
    assert (entry.name, entry.folder) == (model, folder)
    assert entry.bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert abs(entry.made - time.time()) < 600
    api.export_model(model, force=True)
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*.bin")) != before
    assert api.clear_cache("demo") == []
    assert [gone.name for gone in api.clear_cache()] == [model]
    assert api.cached_models() == []
    assert not folder.exists()


def test_other_weights_are_another_model(cache: Path, tmp_path: Path, model: str) -> None:
    first = api.load_encoder(model, engine="openvino", precision="fp32")
    write_model("vit-quickgelu", tmp_path / "model", seed=1)
    second = api.load_encoder(model, engine="openvino", precision="fp32")
    assert first.space != second.space
    assert not np.allclose(first.encode_texts(["a"]), second.encode_texts(["a"]), atol=1e-3)
    assert len(api.cached_models()) == 2
    config = tmp_path / "model" / "open_clip_config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "preprocess_cfg": {"mean": [0.1, 0.1, 0.1]}}))
    third = api.load_encoder(model, engine="openvino", precision="fp32")
    assert third.space.preprocessing.mean == (0.1, 0.1, 0.1)
    assert len(api.cached_models()) == 3


def test_a_copy_of_a_model_keeps_its_own_name(cache: Path, tmp_path: Path, model: str) -> None:
    other = f"local-dir:{write_model('vit-quickgelu', tmp_path / 'other')}"
    names = {api.load_encoder(name, engine="openvino").space.model for name in (model, other)}
    assert names == {model, other}
    assert len(api.cached_models()) == 1


def test_two_processes_convert_once(cache: Path, model: str) -> None:
    done = [process.communicate(timeout=300) for process in [start(LOAD, model), start(LOAD, model)]]
    vectors = [out.split()[-1] for out, _ in done]
    assert vectors[0] == vectors[1]
    assert sum("converting" in out for out, _ in done) == 1


def test_a_conversion_that_was_killed_leaves_nothing_in_use(cache: Path, model: str) -> None:
    process = start(KILLED_WHILE, model)
    assert process.stdout is not None
    while "made" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    key = converted.key_of(parse_model_name(model))
    assert any(path.name.startswith(f"{key}.part-") for path in (cache / "models").iterdir())
    assert api.cached_models() == []
    assert api.load_encoder(model, engine="openvino").encoding.engine == "openvino"
    assert [path.name for path in (cache / "models").iterdir() if path.is_dir()] == [key]


@pytest.mark.parametrize(("file", "how"), [("image.bin", "cut"), ("text.json", "gone"), ("model.json", "cut")])
def test_a_damaged_model_is_converted_again(cache: Path, model: str, file: str, how: str) -> None:
    before = api.load_encoder(model, engine="openvino", precision="fp32").encode_texts(["a"])
    path = api.export_model(model) / file
    if how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.unlink()
    after = api.load_encoder(model, engine="openvino", precision="fp32").encode_texts(["a"])
    np.testing.assert_array_equal(before, after)


def test_a_damaged_cache_of_compiled_models_does_no_harm(cache: Path, model: str) -> None:
    before = api.load_encoder(model, engine="openvino", precision="fp32").encode_texts(["a"])
    blobs = list((api.export_model(model) / "compiled").rglob("*.blob"))
    assert blobs
    for blob in blobs:
        blob.chmod(0o644)
        os.truncate(blob, blob.stat().st_size // 2)
    after = api.load_encoder(model, engine="openvino", precision="fp32").encode_texts(["a"])
    np.testing.assert_array_equal(before, after)


def test_what_does_not_convert_runs_in_torch_and_is_not_tried_again(
    cache: Path, model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from zsretrieve.encoders import converting

    tried = []

    def refuse(*arguments: object) -> None:
        tried.append(arguments)
        raise RuntimeError("an operation is\nnot known")

    monkeypatch.setattr(converting, "_write", refuse)
    with caplog.at_level(logging.WARNING, "zsretrieve"):
        encoder = api.load_encoder(model)
    assert encoder.encoding.engine == "torch"
    assert [record.message for record in caplog.records] == [
        f"OpenVINO does not convert {model} (an operation is not known); torch is used instead, which is slower"
    ]
    assert api.load_encoder(model).encoding.engine == "torch"
    assert len(tried) == 1
    with pytest.raises(DeviceError, match="an operation is not known"):
        api.load_encoder(model, engine="openvino")
    with pytest.raises(ConversionError, match="an operation is not known"):
        api.export_model(model)
    assert api.cached_models()[0].failure == "an operation is not known"
    monkeypatch.undo()
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(cache))
    api.export_model(model, force=True)
    assert api.load_encoder(model).encoding.engine == "openvino"


def test_a_cache_that_cannot_be_written_is_told_with_what_mends_it(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "zsretrieve"):
        assert api.load_encoder(model).encoding.engine == "torch"
    (line,) = caplog.messages
    assert "cannot be written" in line
    assert line.endswith(
        "; torch is used instead, which is slower. Free some space, or name another folder: ZSRETRIEVE_CACHE=FOLDER."
    )
    with pytest.raises(DeviceError, match="cannot be written") as raised:
        api.load_encoder(model, engine="openvino")
    assert "ZSRETRIEVE_CACHE" in str(raised.value.hint)


def test_a_difference_in_the_vectors_is_found_out(cache: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from zsretrieve.encoders import converting

    class Wrong(converting._ImageTower):
        def forward(self, pictures):  # type: ignore[no-untyped-def]
            features = super().forward(pictures)
            return features + 0.05 * features.roll(1, 1)

    right = converting._ImageTower
    monkeypatch.setattr(converting, "_ImageTower", Wrong)
    write = converting._write

    def write_wrong(*arguments: object) -> object:
        made = write(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(converting, "_ImageTower", right)
        return made

    monkeypatch.setattr(converting, "_write", write_wrong)
    with pytest.raises(ConversionError, match=r"the converted image tower differs by \d"):
        api.export_model(model)


def test_a_cache_that_cannot_be_written_means_torch(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING, "zsretrieve"):
        assert api.load_encoder(model).encoding.engine == "torch"
    assert "cannot be written" in caplog.records[-1].message
    with pytest.raises(CacheError, match="cannot be written"):
        api.export_model(model)


def test_a_full_disk_is_told_and_not_remembered(cache: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from zsretrieve.encoders import converting

    monkeypatch.setattr(converting, "_SPARE_BYTES", 1 << 60)
    with pytest.raises(CacheError, match="MB free"):
        api.export_model(model)
    monkeypatch.setattr(converting, "_SPARE_BYTES", 0)
    assert api.export_model(model).is_dir()
