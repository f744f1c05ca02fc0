"""Requests that wait share a pass; nothing else about them changes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from zsretrieve.domain.errors import QueryError
from zsretrieve.web.batching import Batches
from zsretrieve.web.errors import HttpError
from zsretrieve.web.pools import Pool


class Slow:
    """Answers with ten times the question once it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.passes: list[tuple[str, list[int]]] = []

    def __call__(self, key: str, questions: Sequence[int]) -> list[int]:
        self.passes.append((key, list(questions)))
        assert self.go.wait(10)
        if 13 in questions:
            raise QueryError("thirteen")
        return [10 * one for one in questions]


def batches(answer: Slow, **changes: int) -> Batches[str, int, int]:
    return Batches(answer, **{"threads": 1, "waiting": 100, "most": 4, **changes})


def test_those_that_wait_are_put_together() -> None:
    async def run() -> None:
        slow = Slow()
        asking = batches(slow)
        first = asyncio.ensure_future(asking.ask("a", 1))
        await asyncio.sleep(0.05)
        assert slow.passes == [("a", [1])]  # a lone one does not wait for others
        rest = [asyncio.ensure_future(asking.ask(key, n)) for n, key in enumerate("aabaaaab", start=2)]
        await asyncio.sleep(0.05)
        slow.go.set()
        assert await first == 10
        assert await asyncio.gather(*rest) == [10 * n for n in range(2, 10)]
        # At most four together, and every group has its turn.
        assert slow.passes == [("a", [1]), ("a", [2, 3, 5, 6]), ("b", [4, 9]), ("a", [7, 8])]
        asking.close()

    asyncio.run(run())


def test_a_bad_one_spoils_no_other() -> None:
    async def run() -> None:
        slow = Slow()
        slow.go.set()
        asking = batches(slow)
        answers = await asyncio.gather(*(asking.ask("a", n) for n in (1, 12, 13, 14)), return_exceptions=True)
        assert [answers[0], answers[1], answers[3]] == [10, 120, 140]
        assert isinstance(answers[2], QueryError)
        asking.close()

    asyncio.run(run())


def test_too_many_are_refused() -> None:
    async def run() -> None:
        slow = Slow()
        asking = batches(slow, waiting=3)
        asked = [asyncio.ensure_future(asking.ask("a", n)) for n in range(4)]
        await asyncio.sleep(0.05)
        with pytest.raises(HttpError) as refused:
            await asking.ask("a", 5)
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
        slow.go.set()
        assert await asyncio.gather(*asked) == [0, 10, 20, 30]
        assert await asking.ask("a", 6) == 60
        asking.close()

    asyncio.run(run())


def test_what_nobody_waits_for_is_not_asked() -> None:
    async def run() -> None:
        slow = Slow()
        asking = batches(slow)
        first = asyncio.ensure_future(asking.ask("a", 1))
        gone = asyncio.ensure_future(asking.ask("a", 2))
        await asyncio.sleep(0.05)
        gone.cancel()
        slow.go.set()
        assert await first == 10
        assert await asking.ask("b", 3) == 30
        assert slow.passes == [("a", [1]), ("b", [3])]
        asking.close()

    asyncio.run(run())


def test_a_pool_keeps_few_waiting() -> None:
    async def run() -> None:
        go = threading.Event()
        pool = Pool("test", 1, 1)
        jobs = [asyncio.ensure_future(pool.run(go.wait, 10)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(HttpError):
            await pool.run(go.wait, 10)
        jobs[1].cancel()  # its client has gone
        go.set()
        assert await jobs[0]
        await asyncio.sleep(0.05)
        assert await pool.run(go.wait, 10)
        pool.close()

    asyncio.run(run())
