"""Units to workers: every unit is decoded and encoded once, and again if a worker or a node is lost."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from zsretrieve.cluster import connection
from zsretrieve.cluster.pool import Pool, Worker
from zsretrieve.cluster.unit_files import Unit
from zsretrieve.domain.errors import ClusterError

# One that runs, and one that waits for it to end.
_CALLS = 2
# Decoded units in the object stores, for each encoder.
_READY = 2
# How far the units that are done may be ahead of the oldest that is not.
_AHEAD = 4096
_TRIES = 5
_TICK_S, _AWAY_S = 1.0, 120.0


@dataclass(frozen=True)
class _Decoding:
    unit: Unit
    pixels: Any


@dataclass(frozen=True)
class _Encoding:
    unit: Unit


_Call = _Decoding | _Encoding | None


class Schedule:
    """Runs units through the workers of a pool.

    Parameters
    ----------
    pool : Pool
    units : iterable of Unit
    is_stored : callable
        Whether a unit is in the storage already.
    """

    def __init__(self, pool: Pool, units: Iterable[Unit], is_stored: Callable[[Unit], bool]) -> None:
        self._pool = pool
        self._new = iter(units)
        self._is_stored = is_stored
        self._order: deque[Unit] = deque()
        self._stored: set[str] = set()
        self._again: deque[Unit] = deque()
        self._decoded: deque[_Decoding] = deque()
        self._running: dict[Any, tuple[Worker, _Call]] = {}
        self._tries: Counter[str] = Counter()
        self._has_more = True
        self._alone_since: float | None = None

    def stored(self) -> Iterator[Unit]:
        """Units in their order, each as soon as it and all before it are in the storage.

        Raises
        ------
        ClusterError
            If no worker is left, or a unit fails again and again.
        ZsRetrieveError
            What a unit failed with.
        """
        while True:
            self._assign()
            if not (self._order or self._has_more):
                return
            is_next = bool(self._order) and self._order[0].name in self._stored
            self._note(timeout=0.0 if is_next else _TICK_S)
            if is_next:
                unit = self._order.popleft()
                self._stored.discard(unit.name)
                yield unit

    def _assign(self) -> None:
        """Give workers what they have room for."""
        for worker in self._idle(self._pool.encoders):
            while self._decoded and worker.calls < _CALLS:
                decoded = self._decoded.popleft()
                self._call(worker, worker.handle.encode.remote(decoded.unit, decoded.pixels), _Encoding(decoded.unit))
        # Least busy first, so that all nodes take part from the beginning.
        for worker in sorted(self._idle(self._pool.decoders), key=lambda one: one.calls):
            while worker.calls < _CALLS and self._has_room():
                unit = self._next()
                if unit is None:
                    return
                done, pixels = worker.handle.decode.options(num_returns=2).remote(unit)
                self._call(worker, done, _Decoding(unit, pixels))

    def _has_room(self) -> bool:
        waiting = len(self._decoded) + sum(isinstance(call, _Decoding) for _, call in self._running.values())
        return waiting < max(_READY * len(self._pool.encoders), len(self._pool.decoders))

    def _next(self) -> Unit | None:
        """The next unit to decode; those that are stored already only take their place in the order."""
        if self._again:
            return self._again.popleft()
        while len(self._order) < _AHEAD:
            unit = next(self._new, None)
            if unit is None:
                self._has_more = False
                return None
            self._order.append(unit)
            if not self._is_stored(unit):
                return unit
            self._stored.add(unit.name)
        return None

    def _call(self, worker: Worker, done: Any, call: _Call) -> None:
        worker.calls += 1
        self._running[done] = worker, call

    def _note(self, timeout: float) -> None:
        """Take note of the calls that are done, after ``timeout`` seconds at the latest."""
        import ray

        self._look_after_workers()
        if not self._running:
            time.sleep(timeout)
            return
        done, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout, fetch_local=False)
        for answer in done:
            worker, call = self._running.pop(answer)
            worker.calls -= 1
            error = connection.failure(answer)
            if error is not None:
                self._failed(worker, call, error)
            elif isinstance(call, _Decoding):
                self._decoded.append(call)
            elif isinstance(call, _Encoding):
                self._stored.add(call.unit.name)
            else:
                worker.away = False

    def _failed(self, worker: Worker, call: _Call, error: Exception) -> None:
        # Ray starts a lost worker again, on the same node.
        worker.away = worker.away or connection.is_lost(error)
        if call is None:
            return
        self._tries[call.unit.name] += 1
        if self._tries[call.unit.name] >= _TRIES:
            raise connection.as_error(error, worker.node)
        self._again.append(call.unit)

    def _look_after_workers(self) -> None:
        """Drop the workers of dead nodes, ask those that are away, and raise if none is left or comes back in time."""
        away = [worker for worker in (*self._pool.encoders, *self._pool.decoders) if worker.away]
        if not away:
            self._alone_since = None
            return
        now = time.monotonic()
        alive = {node.id for node in connection.living().all}
        for workers in (self._pool.encoders, self._pool.decoders):
            workers[:] = [worker for worker in workers if not worker.away or worker.node.id in alive]
        for worker in away:
            if worker.node.id in alive and not worker.calls and now - worker.asked > _TICK_S:
                worker.asked = now
                self._call(worker, worker.handle.ready.remote(), None)
        if self._idle(self._pool.encoders) and self._idle(self._pool.decoders):
            self._alone_since = None
            return
        self._alone_since = self._alone_since or now
        if not (self._pool.encoders and self._pool.decoders) or now - self._alone_since > _AWAY_S:
            raise ClusterError(
                "no node is left that can encode",
                hint="See what happened: ray status. What was encoded is kept; run the command again to continue.",
            )

    def _idle(self, workers: list[Worker]) -> list[Worker]:
        return [worker for worker in workers if not worker.away]
