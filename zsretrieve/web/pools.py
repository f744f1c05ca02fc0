"""Threads with a bounded number of jobs waiting for them, so the event loop waits for no disk and no decoder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from zsretrieve.web.errors import overloaded

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Pool:
    """A few threads for one kind of work.

    Parameters
    ----------
    name : str
    threads : int
    waiting : int
        Jobs that may wait; more are refused with 503.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + waiting
        self._jobs = 0

    async def run(self, work: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """What ``work`` returns, from a thread. Raises what it raises, or HttpError if too much is waiting."""
        if self._jobs >= self._most:
            raise overloaded()
        self._jobs += 1
        loop = asyncio.get_running_loop()
        future = self._executor.submit(work, *args, **kwargs)
        # Of a request whose client has gone, the job still runs and counts.
        future.add_done_callback(lambda _: _later(loop, self._ended))
        return await asyncio.wrap_future(future)

    def _ended(self) -> None:
        self._jobs -= 1

    def close(self) -> None:
        """Drop what is waiting, and let what runs end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _later(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
