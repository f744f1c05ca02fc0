"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 600.0
"""How long a test waits for what must come: far longer than a busy machine takes, since only what hangs takes it."""


def eventually(holds: Callable[[], Any], what: str = "", pause: float = 0.05) -> None:
    """Wait until something holds; raises AssertionError with ``what``, in seconds of ``pause`` between two looks."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, what or "it never came"
        time.sleep(pause)
