"""Running a probe in a process of its own: what it probes may crash or hang, and must not take the doctor along."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

# Importing torch from a network file system takes most of it.
LIMIT_S = 120.0
_DRIVER_LIMIT_S = 20.0
_DRIVER = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


@dataclass(frozen=True)
class Outcome:
    """What a probe told before it ended, and how it ended if not well.

    Parameters
    ----------
    facts : dict
        The objects it wrote, one JSON object a line, as one.
    lines : tuple of str
        What else it wrote on stdout.
    failure : str, optional
        E.g. ``crashed (SIGABRT)`` or ``gave no answer within 120 s``.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class Told:
    """What the probes of torch, of FAISS and of the driver told; None where there is no ``nvidia-smi``."""

    torch: Outcome
    faiss: Outcome
    driver: Outcome | None


class Probe:
    """A started process. Its time counts from the start.

    Parameters
    ----------
    command : sequence of str
    limit_s : float
    """

    def __init__(self, command: Sequence[str], limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._end = time.monotonic() + limit_s
        # The same packages as here, in the same order.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
        )

    def outcome(self) -> Outcome:
        """Wait for the end or for the limit."""
        try:
            written, complaints = self._process.communicate(timeout=max(0.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            written, _ = self.stop()
            return _outcome(written, f"gave no answer within {self._limit_s:g} s")
        code = self._process.returncode
        if code == 0:
            return _outcome(written, None)
        how = f"crashed ({_signal_name(-code)})" if code < 0 else f"ended with exit code {code}"
        # nvidia-smi complains on stdout.
        said = [line.strip() for line in (*_outcome(written, None).lines, *complaints.splitlines()) if line.strip()]
        return _outcome(written, f"{how}: {said[-1][:300]}" if said else how)

    def stop(self) -> tuple[str, str]:
        """End the process and what it started, and tell what it wrote."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        try:
            return self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            return "", ""  # a process that waits for a wedged driver cannot even be killed


class Probes:
    """The probes of this machine, all started."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        own = [sys.executable, "-P", "-m", "zsretrieve.doctor.probes"]
        self._torch = _start(stack, [*own, "torch"])
        self._faiss = _start(stack, [*own, "faiss"])
        tool = shutil.which("nvidia-smi")
        self._driver = None if tool is None else _start(stack, [tool, *_DRIVER], _DRIVER_LIMIT_S)

    def told(self) -> Told:
        """Wait for them."""
        # nvidia-smi first, since its limit is the shortest.
        driver = None if self._driver is None else self._driver.outcome()
        return Told(self._torch.outcome(), self._faiss.outcome(), driver)


@contextlib.contextmanager
def started() -> Iterator[Probes]:
    """The probes of this machine, started; none of them outlives the block."""
    with contextlib.ExitStack() as stack:
        yield Probes(stack)


def _start(stack: contextlib.ExitStack, command: Sequence[str], limit_s: float = LIMIT_S) -> Probe:
    probe = Probe(command, limit_s)
    stack.callback(probe.stop)
    return probe


def _outcome(written: str, failure: str | None) -> Outcome:
    facts: dict[str, Any] = {}
    lines = []
    for line in written.splitlines():
        try:
            told = json.loads(line)
        except json.JSONDecodeError:
            told = None
        if isinstance(told, dict):
            facts |= told
        else:
            lines.append(line)
    return Outcome(facts, tuple(lines), failure)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
