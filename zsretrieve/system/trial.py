"""Commands tried in a process of their own, because what they try may crash or hang."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence


class Trial:
    """A command that was started, and is killed at the end of the block.

    Parameters
    ----------
    command : sequence of str
    limit_s : float
        How long it may take, counted from its start.
    """

    def __init__(self, command: Sequence[str], limit_s: float) -> None:
        self._limit_s = limit_s
        self._end = time.monotonic() + limit_s
        # The same packages as here, in the same order.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def outcome(self) -> tuple[str, str | None]:
        """Wait for the end or the limit.

        Returns
        -------
        stdout : str
        failure : str or None
            E.g. ``crashed (SIGABRT)`` or ``did not answer within 120 s``; None if the command succeeded.
        """
        try:
            written, errors = self._process.communicate(timeout=max(0.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return self._kill(), f"did not answer within {self._limit_s:g} s"
        code = self._process.returncode
        if code == 0:
            return written, None
        failure = f"crashed ({_signal_name(-code)})" if code < 0 else f"exited with code {code}"
        # Most say why in the last line; nvidia-smi does so on stdout.
        lines = [line.strip() for line in (errors.strip() or written).splitlines() if line.strip()]
        return written, f"{failure}: {lines[-1][:300]}" if lines else failure

    def _kill(self) -> str:
        """Kill the process and what it started; returns its stdout."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        try:
            return self._process.communicate(timeout=5)[0]
        except subprocess.TimeoutExpired:  # not even a kill ends a process that waits for a wedged driver
            return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def leave_no_core_dump() -> None:
    """Keep a crash of this process, which a trial expects, from leaving a file."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
