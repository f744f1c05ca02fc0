"""Devices that ``auto`` never chooses: refused where there is none; the same code runs through OpenVINO's CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import zsretrieve as zs
from zsretrieve.domain.errors import DeviceError
from zsretrieve.encoders import device_trial
from zsretrieve.encoders.openvino import encoder as openvino_encoder
from zsretrieve.encoders.openvino.runtime import openvino
from zsretrieve.system.hardware import cpu_best
from zsretrieve.system.trial import Trial

INTEL = ("intel-gpu", "intel-npu")


@pytest.fixture(autouse=True)
def _tried_again() -> Iterator[None]:
    device_trial.check.cache_clear()
    yield
    device_trial.check.cache_clear()


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's CPU under the names of Intel's devices, in this process alone."""
    monkeypatch.setattr(openvino_encoder, "DEVICES", dict.fromkeys(("cpu", *INTEL), "CPU"))
    monkeypatch.setattr(device_trial, "check", lambda device: None)


def images(count: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    size = zs.Model("demo").load().space.preprocessing.size
    return list(np.random.default_rng(1).integers(0, 256, (count, *size, 3), dtype=np.uint8))


@pytest.mark.parametrize("device", [*INTEL, "mps"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    if device_trial.absence(device) is None:
        pytest.skip(f"this machine has the device {device}")
    seen = (
        "torch sees no Apple GPU"
        if device == "mps"
        else f"OpenVINO sees {', '.join(openvino.Core().available_devices)}"
    )
    with pytest.raises(DeviceError) as refused:
        zs.Model("demo", zs.Compute(device)).load()
    assert refused.value.message == f"there is no device '{device}': {seen}"
    assert refused.value.hint == "Use `device` cpu or auto."


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.abort()", r"cannot be used: its test crashed \(SIGABRT\)"),
        ("import sys; sys.exit('no kernel')", "cannot be used: its test exited with code 1: no kernel"),
        ("print('loading'); print('[null, 0.5]')", "computes wrong vectors: .* is 0.5000"),
        ("print('[null, NaN]')", "computes wrong vectors: .* is nan"),
    ],
)
def test_a_device_that_fails_its_test_is_refused(monkeypatch: pytest.MonkeyPatch, code: str, message: str) -> None:
    monkeypatch.setattr(device_trial, "Trial", lambda _, limit_s: Trial([sys.executable, "-c", code], limit_s))
    with pytest.raises(DeviceError, match=message):
        device_trial.check("intel-gpu")


@pytest.mark.usefixtures("on_cpu")
def test_the_test_of_a_device_compares_it_with_the_cpu() -> None:
    assert device_trial.absence("intel-gpu") is None
    assert 0.999 <= device_trial.least_cosine("intel-gpu") <= 1.000001


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("count", [1, 8, 21])
def test_batches_of_one_size_give_the_vectors_of_any(count: int) -> None:
    exact = zs.Model("demo", zs.Compute("cpu", "fp32")).load()
    there = zs.Model("demo", zs.Compute("intel-gpu", "fp32", batch_size=8)).load()
    batch = images(count)
    np.testing.assert_allclose(there.encode_prepared(batch), exact.encode_prepared(batch), atol=1e-5)
    assert there.encode_prepared([]).shape == (0, exact.space.dim)


@pytest.mark.usefixtures("on_cpu")
def test_images_run_there_and_texts_on_the_cpu() -> None:
    encoder = zs.Model("demo", zs.Compute("intel-npu")).load()
    assert (encoder.encoding.engine, encoder.encoding.precision, encoder.encoding.device) == (
        "openvino", "fp16", "intel-npu",
    )  # fmt: skip
    assert (encoder.text_encoding.precision, encoder.text_encoding.device) == (cpu_best(), "cpu")
    texts = ["a red circle", "a blue star"]
    on_cpu = zs.Model("demo", zs.Compute("cpu")).load()
    np.testing.assert_array_equal(encoder.encode_texts(texts), on_cpu.encode_texts(texts))


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("device", INTEL)
def test_a_gallery_is_built_and_searched(device: str, scene_folder: Path, tmp_path: Path) -> None:
    model = zs.Model("demo", zs.Compute(device))
    built = zs.build_gallery(scene_folder / "red circle", tmp_path / "gallery", model)
    encoding = zs.read_manifest(tmp_path / "gallery").encoding
    assert (encoding.precision, encoding.device) == ("fp16", device)
    exact = zs.build_gallery(
        scene_folder / "red circle", tmp_path / "exact", zs.Model("demo", zs.Compute("cpu", "fp32"))
    )
    assert np.einsum("nd,nd->n", built.vectors, exact.vectors).min() >= 0.999
    for folder in ("gallery", "exact"):  # the second wants queries in fp32, which an NPU does not have
        first = zs.search(tmp_path / folder, "a red circle", model=model, k=3)
        again = zs.search(tmp_path / folder, "a red circle", model=zs.Model("demo", zs.Compute(device)), k=3)
        assert [hit.path for hit in first] == [hit.path for hit in again]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "intel-gpu", "engine": "torch"}, "'intel-gpu' runs in openvino, not in 'torch'"),
        ({"device": "intel-gpu", "precision": "bf16"}, "'intel-gpu' does not compute in bf16"),
        ({"device": "intel-npu", "precision": "fp32"}, "'intel-npu' does not compute in fp32"),
        ({"device": "intel-npu", "precision": "int8"}, "int8 runs in openvino on the CPU, not on 'intel-npu'"),
        ({"device": "intel-gpu", "compile": True}, "does not run through torch.compile"),
        ({"device": "cuda", "precision": "fp16"}, "fp16 runs on intel-gpu and intel-npu, not on 'cuda'"),
        ({"precision": "fp16"}, "fp16 runs on intel-gpu and intel-npu, not on 'auto'"),
        ({"device": "mps", "engine": "openvino"}, "the engine openvino runs on the CPU, not on 'mps'"),
    ],
)
def test_what_does_not_go_together(options: dict[str, str], message: str) -> None:
    with pytest.raises(DeviceError) as refused:
        zs.Compute(**options)  # type: ignore[arg-type]
    assert message in refused.value.message
