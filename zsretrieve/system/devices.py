"""Names of devices: ``cpu``, ``cuda``, ``cuda:N``, several GPUs with commas between them, or ``cuda:all``."""

from __future__ import annotations

from zsretrieve.domain.errors import DeviceError, MissingGpuError
from zsretrieve.domain.settings import DEVICES_HINT

ALL_GPUS = "cuda:all"


def gpu_numbers(device: str, count: int, seen_by: str) -> list[int]:
    """The GPUs that a device names.

    Parameters
    ----------
    device : str
        ``cuda``, ``cuda:N``, several of these after commas, or ``cuda:all``.
    count : int
        How many there are.
    seen_by : str
        Who counted them, for the message.

    Raises
    ------
    DeviceError
        If the name cannot be read, or names a GPU twice.
    MissingGpuError
        If it names a GPU that is not there.
    """
    numbers: list[int] = []
    for name in device.split(","):
        kind, _, number = name.strip().partition(":")
        if kind != "cuda" or not (number == "" or number.isdecimal() or device == ALL_GPUS):
            raise DeviceError(f"'{device}' is not a device", hint=DEVICES_HINT)
        numbers += range(count) if number == "all" else [int(number or 0)]
    if len(set(numbers)) < len(numbers):
        raise DeviceError(f"'{device}' names a GPU twice", hint="Name each once.")
    if not numbers or max(numbers) >= count:
        raise MissingGpuError(
            f"there is no device '{device}': {seen_by} sees {count} GPUs", hint="Use `device` cpu or auto."
        )
    return numbers
