"""What the processor and the driver are, found out without importing an engine."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

from zsretrieve.domain.settings import Precision

_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    flags = next((line for line in _cpu_info() if line.startswith(("flags", "Features"))), "")
    return not _FLAGS.isdisjoint(flags.split())


def cpu_best() -> Precision:
    """The faster of bf16 and fp32 on this processor."""
    return Precision.BF16 if cpu_has_bf16() else Precision.FP32


@functools.cache
def cpu_name() -> str:
    """The processor's name, or its architecture where the system does not know more."""
    names = (line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _cpu_info() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []


# The driver's device node, natively and in WSL.
_NODES = ("/dev/nvidiactl", "/dev/dxg")


def may_have_gpu() -> bool:
    """False if no NVIDIA driver is loaded, which is quick to see; if True, only a library can say."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path(node).exists() for node in _NODES)
