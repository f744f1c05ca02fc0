"""Which device an index is searched on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from zsretrieve.system.devices import gpu_numbers

_log = logging.getLogger("zsretrieve")


def usable(device: str, cache: Callable[[], Path] | None = None) -> str:
    """The device that indexes are searched on. Parameters and errors: see ``FaissBackend``."""
    if device == "cpu":
        return "cpu"
    from zsretrieve.backends import faiss_gpu, gpu_probe

    count = faiss_gpu.count()
    if device == "auto":
        if not count:
            return "cpu"
        device = "cuda"
    for number in gpu_numbers(device, count, "FAISS"):
        failure = gpu_probe.failure(number, None if cache is None else cache())
        if failure is not None:
            _log.warning(
                f"FAISS cannot search on GPU {number}: its test {failure}. The index stays on the CPU. {_fix(failure)}"
            )
            return "cpu"
    return device


def _fix(failure: str) -> str:
    """Not every build of FAISS has kernels for every GPU, and another than the required one may be installed."""
    from zsretrieve.system import requirements

    command = requirements.other_faiss() if "no kernel image" in failure else None
    if command is not None:
        return f"Install the FAISS that zsretrieve requires: {command}"
    return "For a fix, run: zsretrieve doctor"
