"""How fast this machine multiplies matrices, for telling how long something would take."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from zsretrieve.encoders.torch_openclip import resolve_device

_SIDE = {"cpu": 2048, "cuda": 8192}
_TIMES = 3


def gflops(device: str, precision: str) -> float:
    """The speed of one large matrix product, in 10^9 operations a second: the best of three.

    Parameters
    ----------
    device : str
        As ``TorchEncoder`` takes it.
    precision : str
        ``fp32`` or ``bf16``.
    """
    where = resolve_device(device)
    side = _SIDE[where.type]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    one = torch.ones((side, side), dtype=kind, device=where)
    products: list[Callable[[], object]] = [lambda: torch.mm(one, one)]
    if where.type == "cpu" and kind is torch.float32:
        # torch's library is slow on some processors, on which the models' engine is not.
        other = np.ones((side, side), dtype=np.float32)
        products.append(lambda: other @ other)
    return 2 * side**3 / min(_seconds(product, where) for product in products) / 1e9


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
