"""Which arithmetic a CPU is good at, told without importing an engine."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

PRECISIONS = ("auto", "fp32", "bf16", "int8")
_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    if platform.system() == "Linux":
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
        return not _FLAGS.isdisjoint(flags.split())
    return False


def cpu_best() -> str:
    """``bf16`` or ``fp32``, whichever is the faster here."""
    return "bf16" if cpu_has_bf16() else "fp32"


@functools.cache
def cpu_name() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
