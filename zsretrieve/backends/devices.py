"""Which device an index is searched on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from zsretrieve.devices import gpu_numbers

_log = logging.getLogger("zsretrieve")


def usable(device: str, memory: Callable[[], Path] | None = None) -> str:
    """The device on which indexes are searched where ``device`` is asked for.

    Parameters and errors are those of ``FaissBackend``.
    """
    if device == "cpu":
        return "cpu"
    from zsretrieve.backends import faiss_gpu, gpu_probe

    count = faiss_gpu.count()
    if device == "auto":
        if not count:
            return "cpu"
        device = "cuda"
    for number in gpu_numbers(device, count, "FAISS"):
        failure = gpu_probe.failure(number, None if memory is None else memory())
        if failure is not None:
            _log.warning(
                f"FAISS cannot search on GPU {number} ({failure}), so the index stays on the CPU; {_mend(failure)}"
            )
            return "cpu"
    return device


def _mend(failure: str) -> str:
    """Not every build of FAISS has kernels for every GPU, and ours may not be the one that is installed."""
    from zsretrieve import mending

    command = mending.other_faiss() if "no kernel image" in failure else None
    if command is not None:
        return f"the FAISS that zsretrieve asks for is installed by: {command}"
    return "what mends it is told by: zsretrieve doctor"
