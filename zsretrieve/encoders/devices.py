"""Several devices in one word: ``cuda:0,cuda:1`` or ``cuda:all``."""

from __future__ import annotations

from zsretrieve.errors import DeviceError

ALL_GPUS = "cuda:all"


def device_list(device: str) -> tuple[str, ...]:
    """The devices that an option names, as torch names them.

    Parameters
    ----------
    device : str
        One device, several with commas between them, or ``cuda:all``.

    Raises
    ------
    DeviceError
        If there is none, one is named twice, or other devices stand beside GPUs.
    """
    names = tuple(name.strip() for name in device.split(","))
    if ALL_GPUS in names:
        names = tuple(f"cuda:{number}" for number in range(_gpus())) if names == (ALL_GPUS,) else ()
        if not names:
            raise DeviceError(f"'{device}' names no GPU of this machine", hint="Use --device cpu or auto.")
    if len(names) > 1 and not all(name.startswith("cuda:") for name in names):
        raise DeviceError(f"'{device}' mixes devices", hint="Several devices are GPUs by number: cuda:0,cuda:1.")
    if len(set(names)) < len(names):
        raise DeviceError(f"'{device}' names a device twice", hint="Name each GPU once, or use cuda:all.")
    return names


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
