"""Units to workers: every unit is decoded and encoded once, and again if a worker or a node is lost."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from zsretrieve.cluster import connection
from zsretrieve.cluster.connection import Node
from zsretrieve.cluster.pool import Pool, Worker
from zsretrieve.cluster.unit_files import Skips, Unit
from zsretrieve.domain.errors import ClusterError

_log = logging.getLogger("zsretrieve")

# One that runs, and one that waits for it to end.
_CALLS = 2
# Decoded units in the object stores, for each encoder.
_READY = 2
# How far the units that are done may be ahead of the oldest that is not.
_AHEAD = 4096
_TRIES = 5
_TICK_S, _AWAY_S = 1.0, 120.0
# A call may take so many times the longest of its worker, and at least some minutes, or an hour if it is the first:
# units differ, and a large model takes seconds for each image on a slow processor. Each try of a unit gets twice that.
_TIMES, _LEAST_S, _FIRST_S = 10.0, 300.0, 3600.0


@dataclass(frozen=True)
class _Decoding:
    unit: Unit
    pixels: Any


@dataclass(frozen=True)
class _Encoding:
    unit: Unit


@dataclass(frozen=True)
class _Running:
    """A call that runs on a worker or waits there; without work it only asks whether the worker is back."""

    worker: Worker
    work: _Decoding | _Encoding | None
    since: float


class Schedule:
    """Runs units through the workers of a pool.

    Parameters
    ----------
    pool : Pool
    units : iterable of Unit
    is_stored : callable
        Whether a unit is in the storage already.
    only_there : callable
        The error for images that a node skipped though this process can use them, None if there are none.
    """

    def __init__(
        self,
        pool: Pool,
        units: Iterable[Unit],
        is_stored: Callable[[Unit], bool],
        only_there: Callable[[Unit, Skips], ClusterError | None],
    ) -> None:
        self._pool = pool
        self._new = iter(units)
        self._is_stored = is_stored
        self._only_there = only_there
        self._order: deque[Unit] = deque()
        self._stored: set[str] = set()
        self._again: deque[Unit] = deque()
        self._decoded: deque[_Decoding] = deque()
        self._running: dict[Any, _Running] = {}
        # The IDs of the nodes on which a unit failed.
        self._failures: defaultdict[str, list[str]] = defaultdict(list)
        self._warned: set[str] = set()
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
                unit = self._next(worker)
                if unit is None:
                    break
                done, pixels = worker.handle.decode.options(num_returns=2).remote(unit)
                self._call(worker, done, _Decoding(unit, pixels))

    def _has_room(self) -> bool:
        waiting = len(self._decoded) + sum(isinstance(call.work, _Decoding) for call in self._running.values())
        return waiting < max(_READY * len(self._pool.encoders), len(self._pool.decoders))

    def _next(self, worker: Worker) -> Unit | None:
        """The next unit for a decoder; those that are stored already only take their place in the order."""
        for unit in self._again:
            if self._may_try(worker, unit):
                self._again.remove(unit)
                return unit
        while len(self._order) < _AHEAD:
            new = next(self._new, None)
            if new is None:
                self._has_more = False
                return None
            self._order.append(new)
            if not self._is_stored(new):
                return new
            self._stored.add(new.name)
        return None

    def _may_try(self, worker: Worker, unit: Unit) -> bool:
        """Whether a unit did not fail on the node of a decoder yet, or there is no other node to wait for."""
        failed = self._failures[unit.name]
        awaited = {
            one.node.id for one in self._pool.decoders if one.lost is None or time.monotonic() - one.lost < _AWAY_S
        }
        return worker.node.id not in failed or awaited <= set(failed)

    def _call(self, worker: Worker, done: Any, work: _Decoding | _Encoding | None) -> None:
        worker.calls += 1
        self._running[done] = _Running(worker, work, time.monotonic())

    def _note(self, timeout: float) -> None:
        """Take note of the calls that are done, after ``timeout`` seconds at the latest."""
        import ray

        self._end_what_hangs()
        self._look_after_workers()
        if not self._running:
            time.sleep(timeout)
            return
        done, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout, fetch_local=False)
        for answer in done:
            call = self._running.pop(answer)
            worker, work = call.worker, call.work
            worker.calls -= 1
            error = connection.failure(answer)
            if error is None and work is not None:
                worker.longest = max(worker.longest or 0.0, time.monotonic() - call.since)
            if error is None and isinstance(work, _Decoding):
                error = self._only_there(work.unit, ray.get(answer))
                if error is not None:
                    self._warn(worker.node, error)
            if error is not None:
                self._failed(call, error)
            elif isinstance(work, _Decoding):
                self._decoded.append(work)
            elif isinstance(work, _Encoding):
                self._stored.add(work.unit.name)
            else:
                worker.lost = None

    def _failed(self, call: _Running, error: Exception) -> None:
        worker = call.worker
        if connection.is_lost(error) and worker.lost is None:
            worker.lost = time.monotonic()  # Ray starts it again, on the same node
        if call.work is None:
            return
        unit = call.work.unit
        failures = self._failures[unit.name]
        failures.append(worker.node.id)
        if len(failures) >= _TRIES:
            last = connection.as_error(error, worker.node)
            which = f"'{unit.files[0].path}' to '{unit.files[-1].path}'"
            raise type(last)(f"encoding {which} failed {_TRIES} times, at last {last.message}", hint=last.hint)
        self._again.append(unit)

    def _warn(self, node: Node, error: ClusterError) -> None:
        """Say once of a node that it does not see what this machine sees."""
        if node.id not in self._warned:
            self._warned.add(node.id)
            _log.warning(f"the node {node.address} leaves images to others: {error.message}")

    def _end_what_hangs(self) -> None:
        """Kill the workers of calls that take too long; Ray starts them again."""
        import ray

        now = time.monotonic()
        late = {call.worker for call in self._running.values() if now - call.since > self._patience(call)}
        for worker in late:
            ray.kill(worker.handle, no_restart=False)
            worker.lost = worker.lost or now
            worker.calls = 0
            for answer, call in list(self._running.items()):
                if call.worker is worker:
                    del self._running[answer]
                    waited = f"did not get on for {(now - call.since) / 60:.1f} minutes"
                    self._failed(call, ClusterError(waited, hint="See what happened there: ray status"))

    def _patience(self, call: _Running) -> float:
        """How many seconds a call may take; a worker that is away is asked without an end, since none waits for it."""
        if call.work is None:
            return math.inf
        longest = call.worker.longest
        seconds = _FIRST_S if longest is None else max(_LEAST_S, _TIMES * longest)
        return seconds * 2.0 ** len(self._failures.get(call.work.unit.name, ()))

    def _look_after_workers(self) -> None:
        """Drop the workers of dead nodes, ask those that are away, and raise if none is left or comes back in time."""
        away = [worker for worker in (*self._pool.encoders, *self._pool.decoders) if worker.is_away]
        if not away:
            self._alone_since = None
            return
        now = time.monotonic()
        alive = {node.id for node in connection.living().all}
        for workers in (self._pool.encoders, self._pool.decoders):
            workers[:] = [worker for worker in workers if not worker.is_away or worker.node.id in alive]
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
        return [worker for worker in workers if not worker.is_away]
