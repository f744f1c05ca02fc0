"""What the processor and the driver are, found out without importing an engine."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

from zsretrieve.domain.settings import Precision

_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_INT8 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    return not _BF16.isdisjoint(_cpu_flags())


@functools.cache
def cpu_has_int8() -> bool:
    """Whether the processor sums products of int8 in 32 bits (VNNI, AMX, Arm's dot products); True where the system
    does not say. Without that, int8 is slower than float32, and sums that saturate at 16 bits lose accuracy.
    """
    flags = _cpu_flags()
    return not flags or not _INT8.isdisjoint(flags)


def cpu_best() -> Precision:
    """The faster of bf16 and fp32 on this processor."""
    return Precision.BF16 if cpu_has_bf16() else Precision.FP32


@functools.cache
def cpu_name() -> str:
    """The processor's name, or its architecture where the system does not know more."""
    names = (line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _cpu_flags() -> list[str]:
    return next((line for line in _cpu_info() if line.startswith(("flags", "Features"))), "").split()


def _cpu_info() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []


# The driver's device node, natively and in WSL.
_NODES = ("/dev/nvidiactl", "/dev/dxg")
# AMD's, which torch built for ROCm drives under CUDA's names, and FAISS not at all.
_AMD_NODE = "/dev/kfd"


def may_have_gpu() -> bool:
    """False if no NVIDIA driver is loaded, which is quick to see; if True, only a library can say."""
    return _is_any_visible(_NODES)


def torch_may_have_gpu() -> bool:
    """False if no driver is loaded of NVIDIA, or of AMD with a torch for ROCm; if True, only torch can say."""
    return may_have_gpu() or (_is_any_visible((_AMD_NODE,)) and _torch_is_for_rocm())


def _torch_is_for_rocm() -> bool:
    """Whether the installed torch is a ROCm build, by its version: AMD's node is there with any graphics of AMD."""
    from importlib import metadata  # which most starts do not need

    try:
        return "+rocm" in metadata.version("torch")
    except metadata.PackageNotFoundError:
        return False


def _is_any_visible(nodes: tuple[str, ...]) -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path(node).exists() for node in nodes)
