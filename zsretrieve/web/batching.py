"""Searches that arrive while others run are put together: one pass through the model and one product for all.

A lone request starts at once. While every thread is busy, requests collect, and the thread that becomes free takes all
that may share a pass; so no request waits longer than for the pass before it, and no timer delays it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from zsretrieve.web.errors import overloaded

_Key = TypeVar("_Key", bound=Hashable)
_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")
_Waiting = tuple[_Question, "asyncio.Future[_Answer]"]


class Batches(Generic[_Key, _Question, _Answer]):
    """Puts questions with equal keys together.

    Parameters
    ----------
    answer : callable
        Called in a thread with a key and its questions; returns an answer for each. If it raises for several
        questions, each is asked again alone, so that one bad question spoils no other.
    threads : int
        Passes that run at once.
    waiting : int
        Questions that may wait; more are refused with 503.
    most : int
        Questions in one pass.
    on_batch : callable, optional
        Called with the number of questions of each pass.
    """

    def __init__(
        self,
        answer: Callable[[_Key, Sequence[_Question]], Sequence[_Answer]],
        *,
        threads: int,
        waiting: int,
        most: int,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self._answer = answer
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._free = threads
        self._room = waiting
        self._most = most
        self._on_batch = on_batch
        self._groups: OrderedDict[_Key, deque[_Waiting[_Question, _Answer]]] = OrderedDict()
        self._count = 0
        self._running: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many questions wait for a thread."""
        return self._count

    async def ask(self, key: _Key, question: _Question) -> _Answer:
        """The answer to a question. Raises what ``answer`` raises for it, or HttpError if too many wait."""
        if self._count >= self._room:
            raise overloaded()
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._groups.setdefault(key, deque()).append((question, future))
        self._count += 1
        self._start()
        return await future

    def _start(self) -> None:
        while self._free and self._groups:
            key, group = next(iter(self._groups.items()))
            batch = [group.popleft() for _ in range(min(self._most, len(group)))]
            self._count -= len(batch)
            if group:
                self._groups.move_to_end(key)  # another group's turn
            else:
                del self._groups[key]
            wanted = [(question, future) for question, future in batch if not future.done()]  # others have gone
            if not wanted:
                continue
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._run(key, wanted))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, key: _Key, batch: Sequence[_Waiting[_Question, _Answer]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._on_batch is not None:
                self._on_batch(len(batch))
            answers = await loop.run_in_executor(self._executor, self._each, key, [question for question, _ in batch])
        except RuntimeError:  # the server has been closed
            answers = [overloaded()] * len(batch)
        finally:
            self._free += 1
            self._start()
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _each(self, key: _Key, questions: Sequence[_Question]) -> Sequence[_Answer | Exception]:
        try:
            return self._answer(key, questions)
        except Exception as error:  # noqa: BLE001  (it belongs to the request, which reports it)
            if len(questions) == 1:
                return [error]
        return [self._each(key, [question])[0] for question in questions]

    def close(self) -> None:
        """Let what runs end, and start nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
