"""The arithmetic that torch computes in, and its errors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

from zsretrieve.domain.errors import DeviceError
from zsretrieve.domain.settings import Precision


@contextlib.contextmanager
def numerics(device: torch.device, precision: Precision | None) -> Iterator[None]:
    """Compute without gradients; bf16 by autocast; in fp32 without TF32, which cuDNN uses by default.

    Under ``inference_mode``, autocast does not cache its casts of the weights, so this is ``no_grad``.

    Parameters
    ----------
    device : torch.device
    precision : Precision or None
        ``fp32``, ``bf16``, or None for that of the weights.

    Raises
    ------
    DeviceError
        If the device has too little memory.
    """
    with torch.no_grad(), contextlib.ExitStack() as stack:
        if precision is Precision.BF16:
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        elif precision is Precision.FP32 and device.type == "cuda":
            stack.enter_context(_exact_convolutions)
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"the device '{device}' is out of memory", hint="Use a smaller `batch_size`, or `device` cpu."
            ) from error


class _ExactConvolutions:
    """cuDNN without TF32 while any thread is inside, because the switch is process-wide."""

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
