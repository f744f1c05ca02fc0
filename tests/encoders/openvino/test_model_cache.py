"""ConvertedModel models in the cache folder: made once, whole or not at all, found again, deleted."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kits.models import write_model
from kits.waiting import PATIENCE_S

import zsretrieve as zs
from zsretrieve.domain.errors import CacheError, ConversionError, DeviceError, ModelNameError
from zsretrieve.encoders.catalog import fingerprint
from zsretrieve.encoders.catalog.model_name import ModelName, parse_model_name
from zsretrieve.encoders.openvino import conversion, int8_cache, model_cache
from zsretrieve.encoders.openvino.model_cache import ConvertedModel
from zsretrieve.encoders.openvino.runtime import runs_bf16
from zsretrieve.system import cache_dir as cache_module

KILLED_WHILE = """
import os, signal, sys, time
from zsretrieve.encoders.openvino import export
def stop(*arguments):
    print("made", flush=True)
    time.sleep(60)
export._check = stop
import zsretrieve as zs
zs.Model(sys.argv[1], zs.Compute(engine="openvino")).load()
"""
LOAD = """
import sys
from zsretrieve.encoders.torch import loading
load = loading.load
def reported(name):
    print("converting", flush=True)
    return load(name)
loading.load = reported
import zsretrieve as zs
encoder = zs.Model(sys.argv[1], zs.Compute(engine="openvino", precision="fp32")).load()
print(encoder.encode_texts(["a red circle"]).tobytes().hex())
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model("modified-resnet", tmp_path_factory.mktemp("written") / "model")


@pytest.fixture
def model(tmp_path: Path, written: Path) -> str:
    return f"local-dir:{shutil.copytree(written, tmp_path / 'model')}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, written: Path) -> tuple[str, Path]:
    """A model, and a cache folder with what it was converted to."""
    root = tmp_path_factory.mktemp("made")
    name = f"local-dir:{written}"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ZSRETRIEVE_CACHE", str(root / "cache"))
        zs.export_model(name)
    return name, root / "cache"


@pytest.fixture
def converted(cache: Path, made: tuple[str, Path]) -> str:
    """A model that was converted before."""
    shutil.copytree(made[1], cache)
    return made[0]


def start(code: str, model: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, model], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_conversion_is_kept_and_listed_and_deleted(cache: Path, model: str) -> None:
    assert zs.cached_models() == []
    folder = zs.export_model(model)
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*.bin"))
    assert folder.is_relative_to(cache)
    assert zs.export_model(model) == folder
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*.bin")) == before
    (entry,) = zs.cached_models()
    assert (entry.name, entry.folder) == (model, folder)
    assert entry.bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert abs(entry.made - time.time()) < 600
    zs.export_model(model, force=True)
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*.bin")) != before
    with pytest.raises(ModelNameError, match="there is no converted model 'demo'") as refused:
        zs.clear_cache("demo")
    assert refused.value.hint == f"There is: {model}."
    assert [gone.name for gone in zs.clear_cache()] == [model]
    assert zs.cached_models() == []
    assert not folder.exists()


def listed_as(written: str) -> str:
    """Keep the note that a model does not convert, which takes no time to make; how the list names it."""
    name = parse_model_name(written)
    model_cache.make_once(name, lambda folder: ConvertedModel(folder, name.written, failure="for this test"))
    return name.written


@pytest.mark.parametrize(("kept", "asked"), [("ViT-B-32,openai", "ViT-B-32/openai"), ("RN50/openai", "RN50,openai")])
def test_a_model_is_cleared_by_any_way_of_writing_its_name(cache: Path, kept: str, asked: str) -> None:
    listed_as(kept)
    listed_as("ViT-L-14/openai")
    assert [gone.name for gone in zs.clear_cache(asked)] == [kept]
    assert [entry.name for entry in zs.cached_models()] == ["ViT-L-14/openai"]


def test_a_model_is_cleared_by_the_name_of_a_copy(cache: Path, tmp_path: Path, model: str) -> None:
    listed_as(model)
    copy = shutil.copytree(tmp_path / "model", tmp_path / "copy")
    other = write_model("modified-resnet", tmp_path / "other", seed=1)
    with pytest.raises(ModelNameError, match="there is no converted model"):
        zs.clear_cache(f"local-dir:{other}")
    assert [gone.name for gone in zs.clear_cache(f"local-dir:{copy}")] == [model]
    assert zs.cached_models() == []


def test_a_model_whose_folder_is_gone_is_cleared_by_the_name_it_is_listed_under(
    cache: Path, tmp_path: Path, model: str
) -> None:
    assert listed_as(model) == model
    listed_as("RN50/openai")
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(ModelNameError) as refused:
        zs.clear_cache("local-dir:elsewhere")
    assert refused.value.hint == f"There is: RN50/openai, {model}."
    assert [gone.name for gone in zs.clear_cache(model)] == [model]
    assert [entry.name for entry in zs.cached_models()] == ["RN50/openai"]


def test_other_weights_are_another_model(cache: Path, tmp_path: Path, model: str) -> None:
    first = zs.Model(model, zs.Compute(engine="openvino", precision="fp32")).load()
    write_model("modified-resnet", tmp_path / "model", seed=1)
    second = zs.Model(model, zs.Compute(engine="openvino", precision="fp32")).load()
    assert first.space != second.space
    assert not np.allclose(first.encode_texts(["a"]), second.encode_texts(["a"]), atol=1e-3)
    assert len(zs.cached_models()) == 2
    config = tmp_path / "model" / "open_clip_config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "preprocess_cfg": {"mean": [0.1, 0.1, 0.1]}}))
    third = zs.Model(model, zs.Compute(engine="openvino", precision="fp32")).load()
    assert third.space.preprocessing.mean == (0.1, 0.1, 0.1)
    assert len(zs.cached_models()) == 3


def test_a_copy_of_a_model_keeps_its_own_name(cache: Path, tmp_path: Path, model: str) -> None:
    other = f"local-dir:{write_model('modified-resnet', tmp_path / 'other')}"
    names = {zs.Model(name, zs.Compute(engine="openvino")).load().space.model for name in (model, other)}
    assert names == {model, other}
    assert len(zs.cached_models()) == 1


def test_two_processes_convert_once(cache: Path, model: str) -> None:
    done = [process.communicate(timeout=PATIENCE_S) for process in [start(LOAD, model), start(LOAD, model)]]
    vectors = [out.split()[-1] for out, _ in done]
    assert vectors[0] == vectors[1]
    assert sum("converting" in out for out, _ in done) == 1


def test_two_processes_compile_at_once(cache: Path, converted: str) -> None:
    folder = zs.export_model(converted)
    shutil.rmtree(folder / "compiled", ignore_errors=True)
    described = json.loads((folder / "model.json").read_text())
    described["files"] = {file: of for file, of in described["files"].items() if not file.startswith("compiled")}
    (folder / "model.json").write_text(json.dumps(described))
    both = [start(LOAD, converted), start(LOAD, converted)]
    done = [process.communicate(timeout=PATIENCE_S)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(done[0]) == 1, "nothing was converted, so there is no more than the vector"
    assert done[0] == done[1]
    assert len(list((folder / "compiled").glob("text-fp32-*"))) == 1


def test_a_conversion_that_was_killed_leaves_nothing_in_use(cache: Path, model: str) -> None:
    process = start(KILLED_WHILE, model)
    assert process.stdout is not None
    while "made" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    key = model_cache.key_of(parse_model_name(model))
    assert any(path.name.startswith(f"{key}.part-") for path in (cache / "models").iterdir())
    assert zs.cached_models() == []
    assert zs.Model(model, zs.Compute(engine="openvino")).load().encoding.engine == "openvino"
    assert [path.name for path in (cache / "models").iterdir() if path.is_dir()] == [key]


@pytest.mark.parametrize(
    ("file", "how"), [("image.bin", "flipped"), ("text.json", "gone"), ("text.xml", "flipped"), ("model.json", "cut")]
)
def test_a_damaged_model_is_converted_again(cache: Path, converted: str, file: str, how: str) -> None:
    before = zs.Model(converted, zs.Compute(engine="openvino", precision="fp32")).load().encode_texts(["a"])
    path = zs.export_model(converted) / file
    if how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x40
        path.write_bytes(content)
    else:
        path.unlink()
    after = zs.Model(converted, zs.Compute(engine="openvino", precision="fp32")).load().encode_texts(["a"])
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("content", [None, b"", b"no graph"])
def test_a_damaged_cache_of_compiled_models_does_no_harm(
    cache: Path, converted: str, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zsretrieve.encoders.openvino import export

    before = zs.Model(converted, zs.Compute(engine="openvino", precision="fp32")).load().encode_texts(["a"])
    blobs = list((zs.export_model(converted) / "compiled").rglob("*.blob"))
    assert blobs
    for blob in blobs:
        blob.chmod(0o644)
        if content is None:
            os.truncate(blob, blob.stat().st_size // 2)
        else:
            blob.write_bytes(content)
    monkeypatch.setattr(export, "_convert", lambda *arguments: pytest.fail("it was converted again"))
    after = zs.Model(converted, zs.Compute(engine="openvino", precision="fp32")).load().encode_texts(["a"])
    np.testing.assert_array_equal(before, after)


def test_what_was_compiled_is_found_again(cache: Path, model: str) -> None:
    folder = zs.export_model(model)
    kept = sorted((folder / "compiled").rglob("*.blob"))
    assert len(kept) == 1  # in the precision that is the best here, compiled where the graph lies
    kept[0].parent.with_name(f"{kept[0].parent.name}.part-dead").mkdir()
    encoder = zs.Model(model, zs.Compute(engine="openvino")).load()
    encoder.encode_texts(["a"])
    assert sorted((folder / "compiled").rglob("*.blob")) == kept
    if not runs_bf16():
        return  # there is no other precision
    other = "fp32" if encoder.encoding.precision == "bf16" else "bf16"
    left = kept[0].parent.name.replace(encoder.encoding.precision, other)
    (folder / "compiled" / f"{left}.part-dead").mkdir()
    zs.Model(model, zs.Compute(engine="openvino", precision=other)).load().encode_texts(["a"])
    assert len(list((folder / "compiled").rglob("*.blob"))) == 2
    assert not list((folder / "compiled").glob(f"*{other}*.part-dead"))


def test_weights_that_change_meanwhile_are_not_kept_under_the_name_of_the_old(
    cache: Path, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zsretrieve.encoders.openvino import export
    from zsretrieve.encoders.torch import loading

    load, loads = loading.load, []

    def replaced_first(name: ModelName) -> loading.OpenClipModel:
        loads.append(name)
        if len(loads) == 1:
            write_model("modified-resnet", tmp_path / "model", seed=1)
        return load(name)

    monkeypatch.setattr(export.loading, "load", replaced_first)
    encoder = zs.Model(model, zs.Compute(engine="openvino", precision="fp32")).load()
    assert len(loads) == 2
    assert encoder.space.weights == fingerprint.weights_identity(parse_model_name(model))
    plain = zs.Model(model, zs.Compute(engine="torch", device="cpu")).load()
    np.testing.assert_allclose(encoder.encode_texts(["a"]), plain.encode_texts(["a"]), atol=1e-5)
    monkeypatch.setattr(export.loading, "load", load)
    assert [entry.name for entry in zs.cached_models()] == [model]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), CacheError),
        (RuntimeError("Exception from file.cpp: No space left on device"), CacheError),
        (ImportError("No module named 'tokenizers'"), ImportError),
        (OSError(28, "No space left on device"), CacheError),
        (MemoryError(), CacheError),
    ],
)
def test_what_passes_is_not_remembered(
    cache: Path, model: str, error: Exception, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zsretrieve.encoders.openvino import export

    def fail(*arguments: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(export, "_write", fail)
        with pytest.raises(raised):
            zs.export_model(model)
        assert zs.Model(model).load().encoding.engine == "torch"
    assert zs.cached_models() == []
    assert zs.Model(model).load().encoding.engine == "openvino"


def test_a_failure_is_tried_again_the_next_day(cache: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from zsretrieve.encoders.openvino import export

    with monkeypatch.context() as patch:
        patch.setattr(export, "_write", lambda *arguments: 1 / 0)
        assert zs.Model(model).load().encoding.engine == "torch"
    assert zs.Model(model).load().encoding.engine == "torch"
    description = next((cache / "models").glob("*/model.json"))
    content = json.loads(description.read_text())
    description.write_text(json.dumps({**content, "made": time.time() - 25 * 3600}))
    assert zs.Model(model).load().encoding.engine == "openvino"


def test_what_older_packages_made_goes_a_month_later(cache: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(model_cache, "_versions", lambda: {"openvino": "2025.0"})
        old = zs.export_model(model)
    new = zs.export_model(model)
    assert new != old
    assert old.exists()  # another environment may use it
    content = json.loads((old / "model.json").read_text())
    (old / "model.json").write_text(json.dumps({**content, "made": time.time() - 31 * 24 * 3600}))
    with cache_module.locked(old.with_name(f"{old.name}.lock")):
        zs.export_model(model, force=True)
        assert old.exists()  # another process holds it
    assert zs.export_model(model, force=True) == new
    assert [entry.folder for entry in zs.cached_models()] == [new]


def test_what_does_not_convert_runs_in_torch_and_is_not_tried_again(
    cache: Path, model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from zsretrieve.encoders.openvino import export

    tried = []

    def refuse(*arguments: object) -> None:
        tried.append(arguments)
        raise RuntimeError("an operation is\nnot known")

    monkeypatch.setattr(export, "_write", refuse)
    with caplog.at_level(logging.WARNING, "zsretrieve"):
        encoder = zs.Model(model).load()
    assert encoder.encoding.engine == "torch"
    assert [record.message for record in caplog.records] == [
        f"OpenVINO does not convert {model} (an operation is not known); using torch instead, which is slower"
    ]
    assert zs.Model(model).load().encoding.engine == "torch"
    assert len(tried) == 1
    with pytest.raises(DeviceError, match="an operation is not known"):
        zs.Model(model, zs.Compute(engine="openvino")).load()
    with pytest.raises(ConversionError, match="an operation is not known"):
        zs.export_model(model)
    assert zs.cached_models()[0].failure == "an operation is not known"
    monkeypatch.undo()
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(cache))
    zs.export_model(model, force=True)
    assert zs.Model(model).load().encoding.engine == "openvino"


def test_a_cache_that_cannot_be_written_is_reported_with_a_fix(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "zsretrieve"):
        assert zs.Model(model).load().encoding.engine == "torch"
    (line,) = caplog.messages
    assert "cannot be written" in line
    assert line.endswith(
        "; using torch instead, which is slower. "
        "Check permissions and free space, or use another folder: ZSRETRIEVE_CACHE=FOLDER."
    )
    with pytest.raises(DeviceError, match="cannot be written") as raised:
        zs.Model(model, zs.Compute(engine="openvino")).load()
    assert "ZSRETRIEVE_CACHE" in str(raised.value.hint)


def test_a_difference_in_the_vectors_is_found_out(cache: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from zsretrieve.encoders.openvino import export
    from zsretrieve.encoders.openvino.fused_image_tower import PlainImageTower

    class Wrong(PlainImageTower):
        def forward(self, images):  # type: ignore[no-untyped-def]
            features = super().forward(images)
            return features + 0.05 * features.roll(1, 1)

    monkeypatch.setattr(export, "image_tower", Wrong)
    with pytest.raises(ConversionError, match=r"the converted image tower differs by \d"):
        zs.export_model(model)


def test_a_cache_that_cannot_be_written_means_torch(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING, "zsretrieve"):
        assert zs.Model(model).load().encoding.engine == "torch"
    assert "cannot be written" in caplog.records[-1].message
    with pytest.raises(CacheError, match="cannot be written"):
        zs.export_model(model)


@pytest.mark.parametrize("family", ["modified-resnet", "vit-quickgelu"])
def test_a_full_disk_is_reported_and_not_recorded(
    cache: Path, tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"local-dir:{write_model(family, tmp_path / 'model')}"
    monkeypatch.setattr(conversion, "_SPARE_BYTES", 1 << 60)
    with pytest.raises(CacheError, match="MB free"):
        zs.export_model(model)
    monkeypatch.setattr(conversion, "_SPARE_BYTES", 0)
    assert zs.export_model(model).is_dir()


def test_what_is_compiled_waits_for_no_lock(cache: Path, converted: str) -> None:
    folder = zs.export_model(converted)
    with cache_module.locked(folder.with_name(f"{folder.name}.lock")):  # as a calibration holds it for minutes
        assert zs.Model(converted, zs.Compute(engine="openvino")).load().encode_texts(["a"]).shape[0] == 1


def test_an_int8_tower_outlives_damage_to_the_model(cache: Path, converted: str) -> None:
    folder = zs.export_model(converted)
    made = int8_cache.store(
        model_cache.find(parse_model_name(converted)),  # type: ignore[arg-type]
        lambda part: _tower(part),
        again=True,
    )
    (folder / "text.bin").write_bytes(b"damaged")
    assert zs.export_model(converted) == folder
    found = int8_cache.find(model_cache.find(parse_model_name(converted)))  # type: ignore[arg-type]
    assert found == made
    content = bytearray((made.folder / "image.bin").read_bytes())
    content[0] ^= 1
    (made.folder / "image.bin").write_bytes(content)
    assert int8_cache.find(model_cache.find(parse_model_name(converted))) is None  # type: ignore[arg-type]


def test_a_calibration_that_another_process_made_is_kept_unless_another_is_wanted(cache: Path, converted: str) -> None:
    zs.export_model(converted)
    found = model_cache.find(parse_model_name(converted))
    assert found is not None
    first = int8_cache.store(found, lambda part: _tower(part, b"first"), again=False)
    assert int8_cache.store(found, lambda part: _tower(part, b"second"), again=False) == first
    second = int8_cache.store(found, lambda part: _tower(part, b"second"), again=True)
    assert second.digest != first.digest
    assert int8_cache.find(found) == second


def _tower(part: Path, content: bytes = b"tower") -> int8_cache.Int8Tower:
    (part / "image.xml").write_bytes(b"<graph/>")
    (part / "image.bin").write_bytes(content)
    return int8_cache.Int8Tower(part, "", 0.99, 0.98, 12, 4)
