"""Can FAISS search on a GPU? Tried in a process of its own: a missing kernel may abort the process that tries.

What came out is remembered in this process and, for later ones, in a small file: that it works for good, that it does
not for an hour, since it may have lacked memory. The file names FAISS's version, the GPUs and the driver, so that
another of these is tried anew.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_LIMIT_S = 120.0
_FAILURE_HOLDS_S = 3600.0
_FILE = "faiss-gpus.json"
_DRIVER = Path("/proc/driver/nvidia")
_log = logging.getLogger("zsretrieve")
# What came out by what was tried and where it is kept, and the time of it.
_known: dict[tuple[str, Path | None], tuple[str | None, float]] = {}

_DISTRIBUTIONS = ("faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-cpu", "faiss")


def failure(number: int, memory: Path | None = None) -> str | None:
    """Why FAISS cannot search on a GPU; None if it can.

    Parameters
    ----------
    number : int
    memory : Path, optional
        Folder of the file in which the outcome is kept, and looked for first. It need not exist.
    """
    key = json.dumps([number, os.environ.get("CUDA_VISIBLE_DEVICES"), *_circumstances()])
    known = _known.get((key, memory))
    if known is None or not _holds(*known):
        known = None if memory is None else _read(memory).get(key)
    if known is None or not _holds(*known):
        _log.info(f"trying FAISS on GPU {number} ...")
        known = _tried([sys.executable, "-P", "-m", __name__, str(number)]), time.time()
        if memory is not None:
            _write(memory, {**_read(memory), key: known})
    _known[key, memory] = known
    return known[0]


def _holds(told: str | None, when: float) -> bool:
    return told is None or abs(time.time() - when) < _FAILURE_HOLDS_S


def _tried(command: list[str], limit_s: float = _LIMIT_S) -> str | None:
    """How a process that searches on a GPU failed; None if it ended well."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=limit_s,
            start_new_session=True, env={**os.environ, "PYTHONPATH": paths}, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {limit_s:g} s"
    except OSError as error:
        return f"it cannot be tried: {error.strerror}"
    if done.returncode == 0:
        return None
    how = f"exit code {done.returncode}"
    if done.returncode < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-done.returncode).name
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return f"{how}: {said[-1][:200]}" if said else how


def _circumstances() -> list[str]:
    """What decides whether it works: versions of FAISS and of the driver, and the GPUs if the driver names them."""
    found = []
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    for path in [_DRIVER / "version", *sorted(_DRIVER.glob("gpus/*/information"))]:
        with contextlib.suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
            found += [line.strip() for line in lines if line.startswith(("NVRM", "Model"))]
    return found


def _read(memory: Path) -> dict[str, tuple[str | None, float]]:
    """What is remembered; nothing if the file is not as it was written."""
    try:
        content: Any = json.loads((memory / _FILE).read_bytes())
        return {str(key): (None if told is None else str(told), float(when)) for key, (told, when) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(memory: Path, content: dict[str, Any]) -> None:
    """Where it cannot be written, the next process tries again."""
    beside = memory / f".{_FILE}.{secrets.token_hex(6)}"
    with contextlib.suppress(OSError):
        memory.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, memory / _FILE)


def _search(number: int) -> None:
    """Search for one vector on a GPU. Exits with a reason if the answer is wrong."""
    import numpy as np

    from zsretrieve.backends.faiss_gpu import empty_index

    vectors = np.eye(8, 32, dtype=np.float32)
    index = empty_index(32, number, half=False)
    index.add(vectors)
    scores, rows = index.search(vectors[3:4], 1)
    if int(rows[0, 0]) != 3 or not abs(float(scores[0, 0]) - 1.0) < 1e-3:
        sys.exit(f"a wrong answer: row {rows[0, 0]} at score {scores[0, 0]:g}")


def _without_core_dump() -> None:
    """A crash that was looked for should leave no file behind."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


if __name__ == "__main__":
    _without_core_dump()
    _search(int(sys.argv[1]))
