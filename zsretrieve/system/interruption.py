"""Work that an interruption must not cut into."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C and requests to end back until the block is left.

    A compiled module that is interrupted while it is imported turns the interruption into an ImportError, which would
    be taken for a broken installation. Blocking the signals would not do: another thread may receive them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = [number for number, handler in before.items() if callable(handler)]
    for number in ours:
        signal.signal(number, lambda received_, _frame: received.append(received_))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        if received:
            signal.raise_signal(received[0])
