"""Whether FAISS can search on a GPU, tried in a process of its own: a missing kernel may abort it.

The outcome is cached, in this process and in a file for later ones: a success for good, a failure for an hour, since
the GPU may have lacked memory. Versions of FAISS and driver and the GPUs are the key, so a change is tried again.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from zsretrieve.system import atomic
from zsretrieve.system.trial import Trial, leave_no_core_dump

_LIMIT_S = 120.0
_FAILURE_HOLDS_S = 3600.0
_FILE = "faiss-gpus.json"
_DRIVER = Path("/proc/driver/nvidia")
_DISTRIBUTIONS = ("faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-cpu", "faiss")
_log = logging.getLogger("zsretrieve")

# The failure, or None for a success, and its time.
Outcome = tuple[str | None, float]
_known: dict[tuple[str, Path | None], Outcome] = {}


def failure(number: int, cache: Path | None = None) -> str | None:
    """Why FAISS cannot search on a GPU; None if it can.

    Parameters
    ----------
    number : int
    cache : Path, optional
        Folder of the file with earlier outcomes. It need not exist.
    """
    key = json.dumps([number, os.environ.get("CUDA_VISIBLE_DEVICES"), *_circumstances()])
    known = _known.get((key, cache))
    if not _holds(known) and cache is not None:
        known = _read(cache).get(key)
    if not _holds(known):
        _log.info(f"trying FAISS on GPU {number} ...")
        known = _try(number), time.time()
        if cache is not None:
            # If it cannot be written, the next process tries again.
            with contextlib.suppress(OSError):
                cache.mkdir(parents=True, exist_ok=True)
                atomic.write_file(cache / _FILE, json.dumps({**_read(cache), key: known}, indent=1).encode())
    assert known is not None
    _known[key, cache] = known
    return known[0]


def _holds(known: Outcome | None) -> bool:
    return known is not None and (known[0] is None or abs(time.time() - known[1]) < _FAILURE_HOLDS_S)


def _try(number: int) -> str | None:
    """How a process that searches on a GPU failed; None if it did not."""
    try:
        with Trial([sys.executable, "-P", "-m", __name__, str(number)], _LIMIT_S) as trial:
            return trial.outcome()[1]
    except OSError as error:
        return f"could not be tried: {error.strerror or error}"


def _circumstances() -> list[str]:
    """What decides whether it works: the versions of FAISS and of the driver, and the GPUs if the driver names them."""
    versions = []
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    for path in [_DRIVER / "version", *sorted(_DRIVER.glob("gpus/*/information"))]:
        with contextlib.suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
            versions += [line.strip() for line in lines if line.startswith(("NVRM", "Model"))]
    return versions


def _read(cache: Path) -> dict[str, Outcome]:
    """The cached outcomes; none if the file is missing or damaged."""
    try:
        content: Any = json.loads((cache / _FILE).read_bytes())
        return {str(key): (None if why is None else str(why), float(when)) for key, (why, when) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _search(number: int) -> None:
    """Search for one vector on a GPU. Exits with a reason if the result is wrong."""
    import numpy as np

    from zsretrieve.backends.faiss_gpu import empty_index

    vectors = np.eye(8, 32, dtype=np.float32)
    index = empty_index(32, number, half=False)
    index.add(vectors)
    scores, rows = index.search(vectors[3:4], 1)
    if int(rows[0, 0]) != 3 or not abs(float(scores[0, 0]) - 1.0) < 1e-3:
        sys.exit(f"wrong answer: row {rows[0, 0]} at score {scores[0, 0]:g}")


if __name__ == "__main__":
    leave_no_core_dump()
    _search(int(sys.argv[1]))
