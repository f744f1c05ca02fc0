"""How much memory this process takes, and giving back what it has only mapped."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """The memory that this process takes now; the most it ever took where the system does not say."""
    with contextlib.suppress(OSError):
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def release(array: NDArray[Any]) -> None:
    """Give back the memory of an array that is mapped from a file to be read, which is read again when it is used.

    Other arrays stay as they are.
    """
    mapped = getattr(array, "_mmap", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)
