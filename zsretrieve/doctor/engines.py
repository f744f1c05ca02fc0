"""Do torch and FAISS work, on the CPU and on the GPU, do they see the same GPUs, and what else can models run on?

The functions judge what the probes reported.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from zsretrieve.doctor.finding import Finding, Status
from zsretrieve.doctor.outcomes import Outcome, Outcomes
from zsretrieve.doctor.probes import ONES, QUERY_ROW
from zsretrieve.domain.settings import INTEL
from zsretrieve.encoders.device_trial import LEAST_COSINE
from zsretrieve.system import extras, install_hints, requirements

_HIDING = "CUDA_VISIBLE_DEVICES"
_ON_CPU = "add --device cpu to the commands"
_SCORE_ERROR = 1e-3
_OTHERS = {"intel-gpu": "Intel GPU", "intel-npu": "Intel NPU", "mps": "Apple GPU"}


def torch(probed: Outcomes) -> Iterator[Finding]:
    facts = probed.torch.facts
    if "torch" not in facts:
        if requirements.version_of("torch") is not None:
            yield _failed("torch", probed.torch, "torch", _reinstall_torch())
        return
    build = f"built for CUDA {facts['cuda']}" if facts["cuda"] else "built without CUDA"
    if facts.get("hip"):
        build = f"built for ROCm {facts['hip']}"
    kernels = f"; CPU kernels {facts['cpu_kernels']}" if "cpu_kernels" in facts else ""
    yield Finding("torch", Status.OK, f"{facts['torch']}, {build}{kernels}")


def torchvision(probed: Outcomes) -> Iterator[Finding]:
    """Its operators are compiled for one version and build of torch."""
    facts, name = probed.torch.facts, "torchvision"
    if "torch" not in facts:
        return
    if name not in facts:
        yield _failed(name, probed.torch, name, _reinstall_torch(), before=f"failed with torch {facts['torch']}")
        return
    required = [r for r in map(Requirement, metadata.requires(name) or ()) if r.name == "torch"]
    if all(r.specifier.contains(facts["torch"], prereleases=True) for r in required):
        yield Finding(name, Status.OK, f"{facts[name]}, works with torch {facts['torch']}")
    else:
        found = f"{facts[name]} requires {', '.join(map(str, required))}, but torch is {facts['torch']}"
        yield Finding(name, Status.WARNING, found, _reinstall_torch())


def faiss(probed: Outcomes) -> Iterator[Finding]:
    """Whether it can be imported, and searches on the CPU."""
    facts = probed.faiss.facts
    if "faiss" not in facts:
        if requirements.faiss_distributions():
            yield _failed("FAISS", probed.faiss, "faiss", requirements.reinstall_faiss())
        return
    kernels = facts.get("kernels", "unknown")
    yield Finding(
        "FAISS", Status.OK, f"{facts['faiss']}; CPU kernels {kernels}; built with {' '.join(facts['options'])}"
    )
    yield _searched("FAISS search on the CPU", probed.faiss, "cpu_search", requirements.reinstall_faiss())


def driver(probed: Outcomes) -> Iterator[Finding]:
    name = "NVIDIA driver"
    if probed.driver is None:
        yield Finding(name, Status.OK, "no nvidia-smi, so no CUDA GPU is expected")
    elif probed.driver.failure is not None:
        yield Finding(name, Status.WARNING, f"nvidia-smi {probed.driver.failure}", install_hints.UPDATE_DRIVER)
    else:
        yield Finding(name, Status.OK, "; ".join(probed.driver.lines) or "nvidia-smi shows no GPU")


def torch_gpu(probed: Outcomes) -> Iterator[Finding]:
    """Whether torch computes on the GPU, or why not."""
    facts, name = probed.torch.facts, "GPU of torch"
    if "torch" not in facts:
        if _seen_by_driver(probed) and requirements.version_of("torch") is None:
            found = "a GPU is present; without the extra models, models run on the CPU"
            yield Finding(name, Status.OK, found, extras.how_to_add("gpu", "models"))
        return
    if "gpus" not in facts:
        yield _failed(name, probed.torch, "gpu", _reinstall_torch())
    elif facts["gpus"]:
        yield _summed(name, probed.torch)
    elif not _seen_by_driver(probed) and not probed.faiss.facts.get("gpus"):
        yield Finding(name, Status.OK, "none; torch computes on the CPU")
    elif _HIDING in os.environ:
        yield _hidden(name)
    elif not facts["cuda"]:
        found = f"a GPU is present, but torch {facts['torch']} is built without CUDA"
        yield Finding(name, Status.WARNING, found, _reinstall_torch())
    else:
        warned = "".join(f"; {warning}" for warning in facts.get("gpu_warnings", ()))
        found = f"a GPU is present, but torch, built for CUDA {facts['cuda']}, sees none{warned}"
        yield Finding(name, Status.WARNING, found, install_hints.UPDATE_DRIVER)


def faiss_gpu(probed: Outcomes) -> Iterator[Finding]:
    """Whether FAISS searches on the GPU, or why not."""
    facts, name = probed.faiss.facts, "GPU of FAISS"
    if "faiss" not in facts:
        return
    torch_sees = bool(probed.torch.facts.get("gpus"))
    if "gpus" not in facts:
        yield _failed(name, probed.faiss, "gpu", requirements.reinstall_faiss())
    elif facts["gpus"]:
        yield Finding(name, Status.OK, f"FAISS sees {facts['gpus']}")
        yield _searched("FAISS search on the GPU", probed.faiss, "gpu_search", _ON_CPU)
    elif not _seen_by_driver(probed) and not torch_sees:
        yield Finding(name, Status.OK, "none; indexes are searched on the CPU")
    elif _HIDING in os.environ and not torch_sees:
        yield _hidden(name)
    elif "GPU" in facts["options"]:
        found = "a GPU is present, but FAISS sees none; its CUDA may be newer than the driver supports"
        yield Finding(name, Status.WARNING, found, install_hints.UPDATE_DRIVER)
    else:
        found = f"a GPU is present, but FAISS is built for CPUs only ({', '.join(requirements.faiss_distributions())})"
        fix = requirements.reinstall_faiss()
        # Not every platform has a distribution for GPUs.
        yield Finding(name, Status.WARNING, found, fix if fix is not None and "faiss-gpu>" in fix else None)


def other_devices(probed: Outcomes) -> Iterator[Finding]:
    """Those that ``auto`` never chooses: found, and compared with the CPU."""
    for device, name in _OTHERS.items():
        if device == "mps" and platform.system() != "Darwin":
            continue
        outcome = probed.openvino if device in INTEL else probed.torch
        absent, cosine = outcome.facts.get(f"{device}_absent"), outcome.facts.get(device)
        if absent is not None:
            yield Finding(name, Status.OK, f"none; {absent}")
        elif cosine is None:
            yield _failed(name, outcome, device, None)
        elif cosine >= LEAST_COSINE:
            found = f"computes as the CPU does (least cosine similarity {cosine:.4f}); use it with --device {device}"
            yield Finding(name, Status.OK, found)
        else:
            yield Finding(name, Status.PROBLEM, f"computes wrong vectors (least cosine similarity {cosine:.4f})")


def automatic(probed: Outcomes) -> Iterator[Finding]:
    """What ``--device auto --precision auto`` selects, according to the code that selects."""
    chosen, index = probed.torch.facts.get("engine"), probed.faiss.facts.get("index_device")
    if chosen is None:
        yield _failed("engine for models", probed.torch, "engine", None)
    else:
        found = f"auto is {chosen['engine']} in {chosen['precision']} on {chosen['device']}"
        yield Finding("engine for models", Status.OK, found)
    if index is None:
        yield _failed("engine for indexes", probed.faiss, "index_device", None)
    else:
        yield Finding("engine for indexes", Status.OK, f"auto is {'numpy' if index == 'cpu' else 'FAISS'} on {index}")


def _hidden(name: str) -> Finding:
    value = os.environ[_HIDING].strip()
    status = Status.OK if value in ("", "-1") else Status.WARNING  # else it names a GPU that does not exist
    return Finding(name, status, f"none visible while {_HIDING} is '{value}'", f"unset {_HIDING}")


def _summed(name: str, outcome: Outcome) -> Finding:
    listed, total = ", ".join(outcome.facts["gpus"]), outcome.facts.get("gpu_sum")
    if total is None:
        return _failed(name, outcome, "gpu_sum", _ON_CPU, before=f"torch sees {listed}, but computing on it failed")
    if total != ONES:
        found = f"wrong answer: on {listed}, the sum of {ONES} ones is {total:g}"
        return Finding(name, Status.PROBLEM, found, _ON_CPU)
    return Finding(name, Status.OK, f"torch computes on {listed}")


def _searched(name: str, outcome: Outcome, step: str, fix: str | None) -> Finding:
    answer = outcome.facts.get(step)
    if answer is None:
        return _failed(name, outcome, step, fix)
    row, score = answer
    if row != QUERY_ROW or not abs(score - 1) <= _SCORE_ERROR:  # also if NaN
        found = f"wrong answer: row {row} at score {score:g}, expected row {QUERY_ROW} at score 1"
        return Finding(name, Status.PROBLEM, found, fix)
    return Finding(name, Status.OK, "correct")


def _failed(name: str, outcome: Outcome, step: str, fix: str | None, *, before: str = "failed") -> Finding:
    """A probe did not report a step: the step raised, crashed or hung, or was not reached."""
    failure = outcome.failure or "exited without output"
    if f"{step}_error" in outcome.facts:
        return Finding(name, Status.PROBLEM, f"{before}: {outcome.facts[f'{step}_error']}", fix)
    last = outcome.facts.get("step", step)
    if last != step:
        return Finding(name, Status.UNKNOWN, f"not checked: the probe {failure} in its step '{last}'")
    return Finding(name, Status.PROBLEM, f"{before}: the probe {failure}", fix)


def _seen_by_driver(probed: Outcomes) -> bool:
    return probed.driver is not None and probed.driver.failure is None and bool(probed.driver.lines)


def _reinstall_torch() -> str:
    """Both at once, so that the installer picks builds that match."""
    return install_hints.install("torch", "torchvision", again=True)
