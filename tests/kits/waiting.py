"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 600.0
"""How long a test waits for what must come: far longer than a busy machine takes, since only what hangs takes it."""


def eventually(holds: Callable[[], Any], what: str = "", pause: float = 0.05, within: float = PATIENCE_S) -> None:
    """Wait until something holds, for as long as ``within`` seconds, with ``pause`` seconds between two looks.

    Raises AssertionError with ``what``.
    """
    until = time.monotonic() + within
    while not holds():
        assert time.monotonic() < until, what or "it never came"
        time.sleep(pause)
