"""``--engine``, ``--device``, ``--precision`` and ``--compile`` together: done as asked and recorded, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run

from zsretrieve import api, wiring
from zsretrieve.encoders import gpus
from zsretrieve.encoders.precision import cpu_best
from zsretrieve.errors import DeviceError


@pytest.mark.parametrize(
    ("options", "engine", "precision"),
    [
        ((), "openvino", cpu_best()),
        (("--engine", "openvino"), "openvino", cpu_best()),
        (("--precision", "fp32"), "openvino", "fp32"),
        (("--engine", "openvino", "--precision", "bf16"), "openvino", "bf16"),
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
    found = json.loads(run_cli("index", "info", tmp_path / "x", "--format", "json").stdout)["encoding"]
    assert (found["engine"], found["precision"], found["device"]) == (engine, precision, "cpu")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (("--engine", "openvino", "--compile"), "the engine openvino does not run through torch.compile", "--compile"),
        (("--precision", "int8", "--compile"), "int8 runs in OpenVINO, and not through torch.compile", "--precision"),
        (("--engine", "openvino", "--device", "cuda"), "openvino runs on the CPU, not on 'cuda'", "--engine"),
        (("--device", "cpu:0"), "'cpu:0' is not a device", "Use cpu"),
        (("--device", "cpu:0", "--engine", "openvino"), "'cpu:0' is not a device", "Use cpu"),
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


@pytest.mark.parametrize("options", [("--engine", "onnx"), ("--precision", "fp16"), ("--batch-size", "0")])
def test_words_that_no_option_takes_are_wrong_usage(
    tmp_path: Path, scene_folder: Path, run_cli: Run, options: tuple[str, ...]
) -> None:
    done = run_cli("index", "gallery", scene_folder, tmp_path / "x", "--model", "demo", *options)
    assert done.returncode == 2
    assert options[0] in done.stderr


def test_the_library_refuses_the_same() -> None:
    for options in ({"engine": "openvino"}, {"precision": "int8"}):
        with pytest.raises(DeviceError, match=r"torch\.compile"):
            api.load_encoder("demo", device="cpu", compiled=True, **options)


def test_int8_is_planned_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "torch_has_one", lambda: True)
    planned = wiring.planned_encoding(precision="int8")
    assert (planned.engine, planned.precision, planned.device) == ("openvino", "int8", "cpu")
