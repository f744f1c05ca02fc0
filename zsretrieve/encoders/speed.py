"""How fast this machine multiplies matrices, for telling how long something would take."""

from __future__ import annotations

import time

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
    best = float("inf")
    for _ in range(_TIMES + 1):  # the first one warms up
        _wait(where)
        start = time.perf_counter()
        torch.mm(one, one)
        _wait(where)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
