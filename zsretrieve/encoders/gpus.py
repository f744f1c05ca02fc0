"""Whether there is a GPU, asked as cheaply as it can be."""

from __future__ import annotations

import functools
import os
from pathlib import Path

# The driver's own node; the second is that of Windows' Linux.
_NODES = ("/dev/nvidiactl", "/dev/dxg")


def there_may_be_one() -> bool:
    """False where surely no NVIDIA driver is loaded, which is known at once; True where libraries must be asked."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path(node).exists() for node in _NODES)


@functools.cache
def torch_has_one() -> bool:
    """Whether torch can use a GPU; torch is imported only where there may be one."""
    if not there_may_be_one():
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
