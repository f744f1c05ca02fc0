"""The probes' outcomes, judged: GPUs seen by one and not by the other, builds without CUDA, steps that failed."""

from __future__ import annotations

from typing import Any

import pytest

from zsretrieve.doctor import engines
from zsretrieve.doctor.engines import automatic, driver, faiss_gpu, other_devices, torch, torch_gpu, torchvision
from zsretrieve.doctor.finding import Finding, Status
from zsretrieve.doctor.outcomes import Outcome, Outcomes

TORCH = {"torch": "2.15.0+cu132", "cuda": "13.2", "gpus": [], "gpu_warnings": [], "step": "engine"}
FAISS = {"faiss": "1.15.1", "options": ["AVX2", "GPU"], "kernels": "AVX2", "cpu_search": [42, 1.0], "gpus": 0}
GPU = "NVIDIA H200"
DRIVER = Outcome(lines=(f"{GPU}, 143771 MiB, 570.10",))


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def probed(
    torch_facts: dict[str, Any] | None = None,
    faiss_facts: dict[str, Any] | None = None,
    smi: Outcome | None = None,
    failure: str | None = None,
) -> Outcomes:
    return Outcomes(
        Outcome(TORCH | (torch_facts or {}), (), failure), Outcome(FAISS | (faiss_facts or {}), (), failure), smi
    )


SEEN = {"gpus": [GPU], "gpu_sum": 1000.0}


def test_both_see_the_gpu() -> None:
    seen = probed(SEEN, {"gpus": 1, "gpu_search": [42, 1.0]}, DRIVER)
    assert [f.status for f in (*torch_gpu(seen), *faiss_gpu(seen), *driver(seen))] == [Status.OK] * 4


def test_neither_sees_one_where_there_is_none() -> None:
    findings = [*torch_gpu(probed()), *faiss_gpu(probed()), *driver(probed())]
    assert {f.status for f in findings} == {Status.OK}
    assert all(f.fix is None for f in findings)


def test_torch_sees_it_and_faiss_does_not() -> None:
    (built_for_cpu,) = faiss_gpu(probed(SEEN, {"options": ["AVX2"]}, DRIVER))
    assert built_for_cpu.status is Status.WARNING
    assert "for CPUs only" in built_for_cpu.found
    (built_for_gpu,) = faiss_gpu(probed(SEEN))
    assert built_for_gpu.status is Status.WARNING
    assert "driver" in str(built_for_gpu.fix)


def test_faiss_sees_it_and_torch_does_not() -> None:
    seen = {"gpus": 1, "gpu_search": [42, 1.0]}
    (for_cpus,) = torch_gpu(probed({"torch": "2.15.0+cpu", "cuda": None}, seen))
    assert for_cpus.status is Status.WARNING
    assert "--force-reinstall torch torchvision" in str(for_cpus.fix)
    (old_driver,) = torch_gpu(probed({"gpu_warnings": ["The NVIDIA driver on your system is too old"]}, seen))
    assert old_driver.status is Status.WARNING
    assert "too old" in old_driver.found


def test_only_the_driver_sees_it() -> None:
    seen = probed(smi=DRIVER)
    assert [f.status for f in (*torch_gpu(seen), *faiss_gpu(seen))] == [Status.WARNING] * 2


@pytest.mark.parametrize(("value", "status"), [("", Status.OK), ("-1", Status.OK), ("7", Status.WARNING)])
def test_a_hidden_gpu(monkeypatch: pytest.MonkeyPatch, value: str, status: Status) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    for finding in (*torch_gpu(probed(smi=DRIVER)), *faiss_gpu(probed(smi=DRIVER))):
        assert (finding.status, finding.fix) == (status, "unset CUDA_VISIBLE_DEVICES")


def test_a_driver_that_fails_is_a_warning_and_shows_no_gpu() -> None:
    failed = probed(smi=Outcome(lines=("NVIDIA-SMI has failed",), failure="exited with code 9"))
    assert next(iter(driver(failed))).status is Status.WARNING
    assert next(iter(torch_gpu(failed))).status is Status.OK


@pytest.mark.parametrize(
    ("facts", "failure", "status", "word"),
    [
        ({"gpu_sum": 0.0}, None, Status.PROBLEM, "wrong answer"),
        ({"gpu_sum_error": "AcceleratorError: no kernel image"}, None, Status.PROBLEM, "no kernel image"),
        ({"step": "gpu_sum"}, "crashed (SIGSEGV)", Status.PROBLEM, "crashed (SIGSEGV)"),
        ({"step": "engine"}, "crashed (SIGSEGV)", Status.UNKNOWN, "'engine'"),
    ],
)
def test_torch_fails_on_the_gpu(facts: dict[str, Any], failure: str | None, status: Status, word: str) -> None:
    (finding,) = torch_gpu(probed({"gpus": [GPU], **facts}, failure=failure))
    assert finding.status is status
    assert word in finding.found


@pytest.mark.parametrize(
    ("facts", "failure", "word"),
    [
        ({"gpu_search": [0, 0.0]}, None, "wrong answer"),
        ({"gpu_search_error": "RuntimeError: out of memory"}, None, "out of memory"),
        ({"step": "gpu_search"}, "crashed (SIGABRT)", "crashed (SIGABRT)"),
        ({"step": "gpu_search"}, "did not answer within 120 s", "did not answer within 120 s"),
    ],
)
def test_faiss_fails_on_the_gpu(facts: dict[str, Any], failure: str | None, word: str) -> None:
    _, finding = faiss_gpu(probed(faiss_facts={"gpus": 1, **facts}, failure=failure))
    assert (finding.name, finding.status) == ("FAISS search on the GPU", Status.PROBLEM)
    assert word in finding.found
    assert "--device cpu" in str(finding.fix)


def test_torch_that_cannot_be_imported_is_one_problem() -> None:
    broken = Outcomes(
        Outcome({"step": "engine", "torch_error": "OSError: libcudart", "engine_error": "x"}), Outcome(FAISS), None
    )
    (finding,) = torch(broken)
    assert finding.status is Status.PROBLEM
    assert "libcudart" in finding.found
    assert list(torchvision(broken)) == list(torch_gpu(broken)) == []


def test_torchvision_of_another_build_is_a_problem() -> None:
    said = "RuntimeError: operator torchvision::nms does not exist"
    (finding,) = torchvision(probed({"torch": "2.15.0+cpu", "torchvision_error": said}))
    assert finding.status is Status.PROBLEM
    assert said in finding.found
    assert "--force-reinstall torch torchvision" in str(finding.fix)


def test_torchvision_that_requires_another_torch_is_a_warning() -> None:
    (finding,) = torchvision(probed({"torch": "1.0.0", "torchvision": "0.29.2"}))
    assert finding.status is Status.WARNING
    assert "but torch is 1.0.0" in finding.found


def test_faiss_that_cannot_be_imported_is_one_problem() -> None:
    broken = Outcomes(Outcome(TORCH), Outcome({"step": "faiss", "faiss_error": "ImportError: no swigfaiss"}), None)
    (finding,) = engines.faiss(broken)
    assert finding.status is Status.PROBLEM
    assert list(faiss_gpu(broken)) == []


def test_an_engine_that_cannot_be_chosen_is_a_problem() -> None:
    models, indexes = automatic(probed({"engine_error": "ImportError: open_clip"}, {"index_device": "cpu"}))
    assert models.status is Status.PROBLEM
    assert indexes == Finding("engine for indexes", Status.OK, "auto is numpy on cpu")


def test_devices_that_auto_never_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    facts = {
        "intel-gpu_absent": None,
        "intel-gpu": 0.99995,
        "intel-npu_absent": None,
        "intel-npu": 0.5,
        "step": "intel-npu",
    }
    probed = Outcomes(Outcome({"mps_absent": "torch sees no Apple GPU"}), Outcome(), None, Outcome(facts))
    gpu, npu, mps = other_devices(probed)
    assert (gpu.status, npu.status, mps.status) == (Status.OK, Status.PROBLEM, Status.OK)
    assert "--device intel-gpu" in gpu.found
    assert "0.5000" in npu.found
    assert mps.found == "none; torch sees no Apple GPU"


def test_a_driver_that_crashes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    crashed = Outcome({"step": "intel-gpu"}, failure="crashed (SIGSEGV)")
    gpu, npu = other_devices(Outcomes(Outcome(), Outcome(), None, crashed))
    assert (gpu.status, npu.status) == (Status.PROBLEM, Status.UNKNOWN)
    assert gpu.found == "failed: the probe crashed (SIGSEGV)"


def test_torch_for_rocm() -> None:
    (found,) = torch(probed({"cuda": None, "hip": "7.1"}))
    assert "built for ROCm 7.1" in found.found
