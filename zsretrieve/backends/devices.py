"""Which device an index is searched on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from zsretrieve.errors import DeviceError

_log = logging.getLogger("zsretrieve")


def gpu_numbers(device: str, count: int) -> list[int]:
    """The GPUs that a device names.

    Parameters
    ----------
    device : str
        ``cuda``, ``cuda:N``, several of these after commas, or ``cuda:all``.
    count : int
        How many there are.

    Raises
    ------
    DeviceError
        If it is no such name, or names a GPU that is not there, or one twice.
    """
    names = device.split(",")
    numbers: list[int] = []
    for name in names:
        kind, _, number = name.strip().partition(":")
        if kind != "cuda" or not (number == "" or number.isdecimal() or device == "cuda:all"):
            raise DeviceError(
                f"'{device}' is not a device", hint="Use auto, cpu, cuda, cuda:0, cuda:0,cuda:1 or cuda:all."
            )
        numbers += range(count) if number == "all" else [int(number or 0)]
    if not numbers or max(numbers) >= count:
        raise DeviceError(f"FAISS sees {count} GPUs, so not '{device}'", hint="Use --device cpu.")
    if len(set(numbers)) < len(numbers):
        raise DeviceError(f"'{device}' names a GPU twice", hint="Name each once.")
    return numbers


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
    for number in gpu_numbers(device, count):
        failure = gpu_probe.failure(number, None if memory is None else memory())
        if failure is not None:
            _log.warning(
                f"FAISS cannot search on GPU {number} ({failure}), so the index stays on the CPU; "
                "what mends it is told by: zsretrieve doctor"
            )
            return "cpu"
    return device
