from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from zsretrieve.backends import faiss_gpu, gpu_probe
from zsretrieve.backends import loading as backend_loading
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.doctor import packages
from zsretrieve.domain.errors import DeviceError
from zsretrieve.system import hardware, requirements
from zsretrieve.system.devices import gpu_numbers


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match="GPUs"):
        FaissBackend("cuda:99")


def test_names_of_gpus() -> None:
    for device, numbers in {
        "cuda": [0], "cuda:1": [1], "cuda:0,cuda:2": [0, 2], "cuda:2, cuda": [2, 0], "cuda:all": [0, 1, 2],
    }.items():  # fmt: skip
        assert gpu_numbers(device, 3, "FAISS") == numbers
    for device, said in {
        "tpu": "not a device", "cuda:x": "not a device", "cuda:-1": "not a device", "cuda:all,cuda:0": "not a device",
        "cuda:0,": "not a device", "cuda:3": "sees 3 GPUs", "cuda:0,cuda": "twice",
    }.items():  # fmt: skip
        with pytest.raises(DeviceError, match=said):
            gpu_numbers(device, 3, "FAISS")
    with pytest.raises(DeviceError, match="sees 0 GPUs"):
        gpu_numbers("cuda:all", 0, "FAISS")


def test_an_index_stays_on_the_cpu_where_the_gpu_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(gpu_probe, "_try", lambda number: asked.pop())
    monkeypatch.setattr(gpu_probe, "_known", {})
    monkeypatch.setattr(hardware, "may_have_gpu", lambda: True)
    monkeypatch.setattr(faiss_gpu, "count", lambda: 2)
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path))
    asked += ["crashed (SIGABRT): no kernel image", None]
    for device in ("auto", "cuda", "cuda:0"):
        assert FaissBackend(device).device == ("cuda" if device == "auto" else device)
    for device in ("cuda:1", "cuda:all", "cuda:0,cuda:1"):
        caplog.clear()
        assert FaissBackend(device).device == "cpu"
        assert "on GPU 1: its test crashed (SIGABRT): no kernel image. The index stays on the CPU. " in caplog.text
    asked += [None, None]
    assert backend_loading.automatic_index_device() == "cuda"
    assert backend_loading.index_backend("cuda:1").create(4).device == "cuda:1"
    assert len(json.loads((tmp_path / "faiss-gpus.json").read_text())) == 2


@pytest.mark.parametrize(
    ("failure", "there", "command"),
    [
        ("SIGABRT: no kernel image", "faiss_gpu_cu12", True), ("SIGABRT: no kernel image", None, False),
        ("out of memory", "faiss_gpu_cu12", False),
    ],
)  # fmt: skip
def test_a_faiss_without_kernels_for_a_gpu_is_replaced_by_the_doctor_s_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: str,
    there: str | None,
    command: bool,
) -> None:
    wanted = requirements.faiss_wanted()
    for name in ("zsretrieve", there or wanted.name.replace("-", "_")):
        info = tmp_path / f"{name}-2.0.dist-info"
        info.mkdir()
        extra = wanted.name.removeprefix("faiss-")
        needs = f"Provides-Extra: {extra}\nRequires-Dist: {wanted.name}{wanted.specifier}; extra == '{extra}'\n"
        needs = needs if name == "zsretrieve" else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n{needs}")
    monkeypatch.setattr(gpu_probe, "_try", lambda number: failure)
    monkeypatch.setattr(gpu_probe, "_known", {})
    monkeypatch.setattr(faiss_gpu, "count", lambda: 1)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert FaissBackend("cuda").device == "cpu"
    (fix,) = {finding.fix for finding in packages.faiss()}
    line = caplog.messages[-1]
    if command:
        assert fix is not None
        assert line.endswith(f"The index stays on the CPU. Install the FAISS that zsretrieve requires: {fix}")
    else:
        assert line.endswith(" For a fix, run: zsretrieve doctor")


def test_where_faiss_sees_none_the_cpu_is_chosen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(faiss_gpu, "count", lambda: 0)
    assert FaissBackend("auto").device == "cpu"
    assert caplog.text == ""


def test_without_a_driver_faiss_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "may_have_gpu", lambda: False)
    monkeypatch.setattr(faiss_gpu, "count", lambda: pytest.fail("FAISS was asked"))
    assert backend_loading.automatic_index_device() == "cpu"
    assert backend_loading.index_backend().create(4).device == "cpu"
