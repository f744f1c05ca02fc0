"""The processor and the memory, and how much of them this process may use."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from zsretrieve.doctor.finding import Finding, Status

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
# Those that torch and FAISS have kernels for.
_FEATURES = ("fma", "avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
_THREADS = "OMP_NUM_THREADS"
_GB = 1e9


def processor(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> Iterator[Finding]:
    described = _cpuinfo(proc)
    model = described.get("model name") or platform.processor() or platform.machine()
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    limit = cgroup_cores(proc, cgroups)
    found = f"{model}; {usable} of {total} logical cores usable"
    if limit is None or limit >= usable:
        yield Finding("CPU", Status.OK, found)
    else:
        found += f", of which the cgroup grants the time of {limit:g}"
        # One thread per core would then be throttled again and again.
        fix = None if _THREADS in os.environ else f"export {_THREADS}={max(1, int(limit))}"
        yield Finding("CPU", Status.OK if fix is None else Status.WARNING, found, fix)
    flags = described.get("flags", "").split()
    if not flags:
        yield Finding("CPU features", Status.UNKNOWN, "can only be read on Linux x86-64")
        return
    missing = [feature for feature in _FEATURES if feature not in flags]
    found = " ".join(feature for feature in _FEATURES if feature in flags) or "none"
    if missing:
        found += f"; missing: {' '.join(missing)}"
    if "avx2" in missing:
        yield Finding("CPU features", Status.WARNING, f"{found}; without avx2 torch and FAISS are slow")
    else:
        yield Finding("CPU features", Status.OK, found)


def memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> Iterator[Finding]:
    known = _meminfo(proc)
    if "MemTotal" in known:
        found = f"{known['MemTotal'] / _GB:.1f} GB, {known.get('MemAvailable', 0) / _GB:.1f} GB available"
    else:
        found = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _GB:.1f} GB"
    limit = cgroup_memory(proc, cgroups)
    if limit is not None and limit < known.get("MemTotal", limit + 1):
        found += f"; the cgroup grants {limit / _GB:.1f} GB"
    yield Finding("memory", Status.OK, found)


def cgroup_cores(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float | None:
    """The processor time granted, in cores; None without a limit. Reads both versions of cgroups."""
    limits = []
    for folder in _cgroup_folders("cpu", proc, cgroups):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():  # else: max, or -1
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def cgroup_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """The bytes granted; None without a limit, for which version 1 has a number beyond all memory."""
    limits = []
    for folder in _cgroup_folders("memory", proc, cgroups):
        written = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if written.isdigit() and int(written) < 2**60:
            limits.append(int(written))
    return min(limits, default=None)


def _cgroup_folders(controller: str, proc: Path, cgroups: Path) -> Iterator[Path]:
    """The cgroup of this process and its parents, each of which may set a limit. Containers do not see all of them."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = cgroups / controller if controllers else cgroups
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield top.joinpath(*parts[:depth])


def _cpuinfo(proc: Path) -> dict[str, str]:
    """The first processor's entries."""
    entries = (line.partition(":") for line in _read(proc / "cpuinfo").split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in entries}


def _meminfo(proc: Path) -> dict[str, int]:
    """In bytes."""
    entries = (line.split() for line in _read(proc / "meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in entries if len(words) == 3}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
