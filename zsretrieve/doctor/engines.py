"""Do torch and FAISS work, on the CPU and on the GPU, and do they see the same GPUs?

Everything here judges what the probes told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from zsretrieve import mending
from zsretrieve.doctor.finding import Finding, Status
from zsretrieve.doctor.probes import ASKED, ONES
from zsretrieve.doctor.running import Outcome, Told

_HIDING = "CUDA_VISIBLE_DEVICES"
_ON_CPU = "add --device cpu to the commands"
_SCORE_ERROR = 1e-3


def torch(told: Told) -> Iterator[Finding]:
    facts = told.torch.facts
    if "torch" not in facts:
        yield _untold("torch", told.torch, "torch", _torch_again())
        return
    build = f"built for CUDA {facts['cuda']}" if facts["cuda"] else "built without CUDA"
    kernels = f"; CPU kernels {facts['cpu_kernels']}" if "cpu_kernels" in facts else ""
    yield Finding("torch", Status.OK, f"{facts['torch']}, {build}{kernels}")


def torchvision(told: Told) -> Iterator[Finding]:
    """Its operators are compiled against one version and build of torch."""
    facts, name = told.torch.facts, "torchvision"
    if "torch" not in facts:
        return
    if name not in facts:
        yield _untold(name, told.torch, name, _torch_again(), before=f"failed beside torch {facts['torch']}")
        return
    asked = [r for r in map(Requirement, metadata.requires(name) or ()) if r.name == "torch"]
    if all(r.specifier.contains(facts["torch"], prereleases=True) for r in asked):
        yield Finding(name, Status.OK, f"{facts[name]}, imports beside torch {facts['torch']}")
    else:
        found = f"{facts[name]} asks for {', '.join(map(str, asked))}, but torch is {facts['torch']}"
        yield Finding(name, Status.WARNING, found, _torch_again())


def faiss(told: Told) -> Iterator[Finding]:
    """Imports, and searches on the CPU."""
    facts = told.faiss.facts
    if "faiss" not in facts:
        yield _untold("FAISS", told.faiss, "faiss", mending.faiss_again())
        return
    kernels = facts.get("kernels", "unknown")
    yield Finding(
        "FAISS", Status.OK, f"{facts['faiss']}; CPU kernels {kernels}; built with {' '.join(facts['options'])}"
    )
    yield _searched("FAISS search on the CPU", told.faiss, "cpu_search", mending.faiss_again())


def driver(told: Told) -> Iterator[Finding]:
    name = "NVIDIA driver"
    if told.driver is None:
        yield Finding(name, Status.OK, "no nvidia-smi, so no GPU for CUDA is expected")
    elif told.driver.failure is not None:
        yield Finding(name, Status.WARNING, f"nvidia-smi: {told.driver.failure}", mending.UPDATE_DRIVER)
    else:
        yield Finding(name, Status.OK, "; ".join(told.driver.lines) or "nvidia-smi shows no GPU")


def torch_gpu(told: Told) -> Iterator[Finding]:
    """Torch computes on the GPU, or has a reason not to."""
    facts, name = told.torch.facts, "GPU of torch"
    if "torch" not in facts:
        return
    if "gpus" not in facts:
        yield _untold(name, told.torch, "gpu", _torch_again())
    elif facts["gpus"]:
        yield _summed(name, told.torch)
    elif not _seen_by_driver(told) and not told.faiss.facts.get("gpus"):
        yield Finding(name, Status.OK, "none seen; torch computes on the CPU")
    elif _HIDING in os.environ:
        yield _hidden(name)
    elif not facts["cuda"]:
        found = f"there is one, but torch {facts['torch']} is built without CUDA"
        yield Finding(name, Status.WARNING, found, _torch_again())
    else:
        said = "".join(f"; {sentence}" for sentence in facts.get("gpu_said", ()))
        found = f"there is one, but torch, built for CUDA {facts['cuda']}, sees none{said}"
        yield Finding(name, Status.WARNING, found, mending.UPDATE_DRIVER)


def faiss_gpu(told: Told) -> Iterator[Finding]:
    """FAISS searches on the GPU, or has a reason not to."""
    facts, name = told.faiss.facts, "GPU of FAISS"
    if "faiss" not in facts:
        return
    torch_sees = bool(told.torch.facts.get("gpus"))
    if "gpus" not in facts:
        yield _untold(name, told.faiss, "gpu", mending.faiss_again())
    elif facts["gpus"]:
        yield Finding(name, Status.OK, f"{facts['gpus']} seen")
        yield _searched("FAISS search on the GPU", told.faiss, "gpu_search", _ON_CPU)
    elif not _seen_by_driver(told) and not torch_sees:
        yield Finding(name, Status.OK, "none seen; indexes are searched on the CPU")
    elif _HIDING in os.environ and not torch_sees:
        yield _hidden(name)
    elif "GPU" in facts["options"]:
        found = "there is one, but FAISS sees none; its CUDA may be newer than what the driver serves"
        yield Finding(name, Status.WARNING, found, mending.UPDATE_DRIVER)
    else:
        found = f"there is one, but FAISS is built for CPUs only ({', '.join(mending.faiss_distributions())})"
        fix = mending.faiss_again()
        # Not every platform has a distribution for GPUs.
        yield Finding(name, Status.WARNING, found, fix if fix is not None and "faiss-gpu>" in fix else None)


def automatic(told: Told) -> Iterator[Finding]:
    """What ``--device auto --precision auto`` chooses, told by the code that chooses."""
    chosen, index = told.torch.facts.get("engine"), told.faiss.facts.get("index_device")
    if chosen is None:
        yield _untold("engine for models", told.torch, "engine", None)
    else:
        found = f"auto is {chosen['engine']} in {chosen['precision']} on {chosen['device']}"
        yield Finding("engine for models", Status.OK, found)
    if index is None:
        yield _untold("engine for indexes", told.faiss, "index_device", None)
    else:
        yield Finding("engine for indexes", Status.OK, f"auto is {'numpy' if index == 'cpu' else 'FAISS'} on {index}")


def _hidden(name: str) -> Finding:
    value = os.environ[_HIDING].strip()
    status = Status.OK if value in ("", "-1") else Status.WARNING  # else it names a GPU that is not there
    return Finding(name, status, f"none seen while {_HIDING} is '{value}'", f"unset {_HIDING}")


def _summed(name: str, outcome: Outcome) -> Finding:
    listed, total = ", ".join(outcome.facts["gpus"]), outcome.facts.get("gpu_sum")
    if total is None:
        return _untold(name, outcome, "gpu_sum", _ON_CPU, before=f"{listed} is seen, but computing on it failed")
    if total != ONES:
        found = f"wrong answer: on {listed} the sum of {ONES} ones is {total:g}"
        return Finding(name, Status.PROBLEM, found, _ON_CPU)
    return Finding(name, Status.OK, f"torch computes on {listed}")


def _searched(name: str, outcome: Outcome, step: str, fix: str | None) -> Finding:
    answer = outcome.facts.get(step)
    if answer is None:
        return _untold(name, outcome, step, fix)
    row, score = answer
    if row != ASKED or not abs(score - 1) <= _SCORE_ERROR:  # of NaN, too
        found = f"wrong answer: row {row} at score {score:g}, where row {ASKED} at score 1 is right"
        return Finding(name, Status.PROBLEM, found, fix)
    return Finding(name, Status.OK, "the answer is right")


def _untold(name: str, outcome: Outcome, step: str, fix: str | None, *, before: str = "failed") -> Finding:
    """A probe did not tell what a step was to find: the step raised, crashed or hung, or was not reached."""
    failure = outcome.failure or "ended without a word"
    if f"{step}_error" in outcome.facts:
        return Finding(name, Status.PROBLEM, f"{before}: {outcome.facts[f'{step}_error']}", fix)
    last = outcome.facts.get("step", step)
    if last != step:
        return Finding(name, Status.UNKNOWN, f"not tried, since the probe {failure} in its step '{last}'")
    return Finding(name, Status.PROBLEM, f"{before}: the probe {failure}", fix)


def _seen_by_driver(told: Told) -> bool:
    return told.driver is not None and told.driver.failure is None and bool(told.driver.lines)


def _torch_again() -> str:
    """Both at once, so that the installer takes them from one place."""
    return mending.install("torch", "torchvision", again=True)
