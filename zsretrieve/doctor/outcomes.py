"""The outcomes of the probes of torch, FAISS, OpenVINO and the NVIDIA driver, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from zsretrieve.system.trial import Trial

# Importing torch from a network file system takes most of it.
_LIMIT_S = 120.0
_DRIVER_LIMIT_S = 20.0
_DRIVER = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


@dataclass(frozen=True)
class Outcome:
    """What a probe reported before it ended.

    Parameters
    ----------
    facts : dict
        The JSON objects that it wrote, one a line, merged.
    lines : tuple of str
        Its other lines on stdout.
    failure : str, optional
        How it failed, see ``Trial.outcome``.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class Outcomes:
    """Those of all probes; ``driver`` is None without ``nvidia-smi``."""

    torch: Outcome
    faiss: Outcome
    driver: Outcome | None
    openvino: Outcome = field(default_factory=Outcome)


@contextlib.contextmanager
def started() -> Iterator[Callable[[], Outcomes]]:
    """Start the probes, and give the block a function that waits for them. No probe outlives the block."""
    with contextlib.ExitStack() as stack:

        def start(command: Sequence[str], limit_s: float = _LIMIT_S) -> Trial:
            return stack.enter_context(Trial(command, limit_s))

        probes = [sys.executable, "-P", "-m", "zsretrieve.doctor.probes"]
        torch, faiss, openvino = (start([*probes, name]) for name in ("torch", "faiss", "openvino"))
        nvidia_smi = shutil.which("nvidia-smi")
        driver = None if nvidia_smi is None else start([nvidia_smi, *_DRIVER], _DRIVER_LIMIT_S)

        def wait() -> Outcomes:
            # The driver first, since its limit is the shortest.
            last = None if driver is None else read(*driver.outcome())
            return Outcomes(read(*torch.outcome()), read(*faiss.outcome()), last, read(*openvino.outcome()))

        yield wait


def read(written: str, failure: str | None) -> Outcome:
    """The outcome of a trial."""
    facts: dict[str, Any] = {}
    lines = []
    for line in written.splitlines():
        try:
            facts |= json.loads(line)
        except (ValueError, TypeError):  # a warning of a library, or a line cut off by a crash
            lines.append(line)
    return Outcome(facts, tuple(lines), failure)
