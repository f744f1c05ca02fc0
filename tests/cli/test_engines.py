"""``--engine``, ``--device``, ``--precision`` and ``--compile`` together: done as asked and recorded, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run

import zsretrieve as zs
from zsretrieve.domain.errors import DeviceError
from zsretrieve.encoders import choosing
from zsretrieve.encoders.openvino.runtime import runs_bf16
from zsretrieve.system.hardware import cpu_best


@pytest.mark.parametrize(
    ("options", "engine", "precision"),
    [
        ((), "openvino", cpu_best()),
        (("--engine", "openvino"), "openvino", cpu_best()),
        (("--precision", "fp32"), "openvino", "fp32"),
        (("--engine", "openvino", "--precision", "bf16"), "openvino", "bf16" if runs_bf16() else "fp32"),
        (("--engine", "torch"), "torch", "fp32"),
        (("--engine", "torch", "--precision", "bf16"), "torch", "bf16"),
    ],
)
def test_what_is_asked_for_is_done_and_recorded(
    tmp_path: Path, scene_folder: Path, run_cli: Run, options: tuple[str, ...], engine: str, precision: str
) -> None:
    made = run_cli(
        "index", "gallery", scene_folder / "red circle", tmp_path / "x", "--model", "demo", "--device", "cpu", *options
    )
    assert made.returncode == 0, made.stderr
    assert ("cannot compute in bf16; using fp32" in made.stderr) == ("bf16" in options and precision != "bf16")
    found = json.loads(run_cli("index", "info", tmp_path / "x", "--format", "json").stdout)["encoding"]
    assert (found["engine"], found["precision"], found["device"]) == (engine, precision, "cpu")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (("--engine", "openvino", "--compile"), "the engine openvino does not run through torch.compile", "--compile"),
        (("--precision", "int8", "--compile"), "int8 runs in OpenVINO, not through torch.compile", "--precision"),
        (("--engine", "openvino", "--device", "cuda"), "openvino runs on the CPU, not on 'cuda'", "--engine"),
        (("--device", "cpu:0"), "'cpu:0' is not a device", "Use cpu"),
        (("--device", "cpu:0", "--engine", "openvino"), "'cpu:0' is not a device", "Use cpu"),
        (("--precision", "fp16"), "fp16 runs on intel-gpu and intel-npu, not on 'auto'", "--precision"),
        (("--device", "intel-gpu", "--engine", "torch"), "'intel-gpu' runs in openvino, not in 'torch'", "--engine"),
        (("--device", "gpu"), "'gpu' is not a device", "cuda"),
        (("--device", "cuda:0,cpu"), "is not a device", "cuda"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    tmp_path: Path, scene_folder: Path, run_cli: Run, options: tuple[str, ...], message: str, hint: str
) -> None:
    done = run_cli("index", "gallery", scene_folder, tmp_path / "x", "--model", "demo", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert hint in done.stderr.splitlines()[-1]
    assert "calibrat" not in done.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("options", [("--engine", "onnx"), ("--precision", "fp8"), ("--batch-size", "0")])
def test_words_that_no_option_takes_are_wrong_usage(
    tmp_path: Path, scene_folder: Path, run_cli: Run, options: tuple[str, ...]
) -> None:
    done = run_cli("index", "gallery", scene_folder, tmp_path / "x", "--model", "demo", *options)
    assert done.returncode == 2
    assert options[0] in done.stderr


def test_the_library_refuses_the_same() -> None:
    for options in ({"engine": "openvino"}, {"precision": "int8"}):
        with pytest.raises(DeviceError, match=r"torch\.compile"):
            zs.Compute(device="cpu", compile=True, **options)


def test_int8_is_planned_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_torch_has_gpu", lambda: True)
    planned = choosing.planned_encoding(zs.Compute(precision="int8"))
    assert (planned.engine, planned.precision, planned.device) == ("openvino", "int8", "cpu")
