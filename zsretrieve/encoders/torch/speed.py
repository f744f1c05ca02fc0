"""How fast this machine multiplies matrices, to estimate how long something takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from zsretrieve.domain.records import Encoding
from zsretrieve.domain.settings import Precision
from zsretrieve.encoders.torch.encoder import resolve_device

_SIDE = {"cpu": 2048, "cuda": 8192, "mps": 4096}
_TIMES = 3


def gflops(planned: Encoding) -> float:
    """The speed of one large matrix product, in 10^9 operations per second: the best of three.

    Parameters
    ----------
    planned : Encoding
        Device and precision; of several GPUs the first is measured.
    """
    device = resolve_device(planned.device.split(",")[0])
    side = _SIDE[device.type]
    dtype = torch.bfloat16 if planned.precision == Precision.BF16 else torch.float32
    matrix = torch.ones((side, side), dtype=dtype, device=device)
    products: list[Callable[[], object]] = [lambda: torch.mm(matrix, matrix)]
    if device.type == "cpu" and dtype is torch.float32:
        # torch is slow on some processors on which OpenVINO is not.
        array = np.ones((side, side), dtype=np.float32)
        products.append(lambda: array @ array)
    return 2 * side**3 / min(_seconds(product, device) for product in products) / 1e9


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    best = float("inf")
    for _ in range(_TIMES + 1):  # the first one warms up
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
