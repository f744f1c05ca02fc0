"""In which arithmetic torch computes, and what its errors mean."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

from zsretrieve.errors import DeviceError


@contextlib.contextmanager
def numerics(device: torch.device, precision: str) -> Iterator[None]:
    """No gradients; bf16 by autocast; in fp32 no TF32, which cuDNN would otherwise use without a word.

    ``no_grad`` rather than ``inference_mode``, under which autocast does not cache its casts of the weights.

    Parameters
    ----------
    device : torch.device
    precision : str
        ``fp32``, ``bf16``, or ``own`` for weights that are bf16 themselves.

    Raises
    ------
    DeviceError
        If the device has too little memory.
    """
    with torch.no_grad(), contextlib.ExitStack() as stack:
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        elif precision == "fp32" and device.type == "cuda":
            stack.enter_context(_exact_convolutions)
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"the device '{device}' is out of memory", hint="Give a smaller --batch-size, or --device cpu."
            ) from error


class _ExactConvolutions:
    """cuDNN without TF32 while any thread is inside: the switch is one for the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._switched = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._switched.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._switched.close()


_exact_convolutions = _ExactConvolutions()
