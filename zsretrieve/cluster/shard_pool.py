"""Shards as actors of Ray: placed, asked within a deadline, and watched.

A replica that fails or misses a deadline is asked no more until it answers the watcher, a thread that sees to it that
every replica holds what it should. Ray places the actors of a lost node on another one that has room; they begin empty,
and the watcher has them open their rows again.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import queue
import secrets
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zsretrieve.cluster import connection, joining
from zsretrieve.cluster.placing import placed
from zsretrieve.cluster.replica import AT_ONCE, Replica
from zsretrieve.cluster.shard import Held, HeldParts, NotHeldError
from zsretrieve.cluster.sharded import ShardedCandidates, ShardedIndex, cuts_of, held_by_each, parts_of_each
from zsretrieve.domain.errors import ClusterError, IndexFolderError, ZsRetrieveError
from zsretrieve.domain.kinds import Approximate
from zsretrieve.domain.records import Manifest
from zsretrieve.domain.settings import Shards
from zsretrieve.domain.wording import one_line
from zsretrieve.store.rows import LiveVectors

_log = logging.getLogger("zsretrieve")

# How often the watcher looks, and how long opening the rows may take: large ones are read once from the storage.
_LOOK_S, _OPEN_S = 0.2, 600.0
# After so long a replica that was lost, or could not open something, is asked again.
_AGAIN_S = 0.5

_lock = threading.Lock()
_pools: dict[Shards, Pool] = {}


class Spread:
    """RemoteIndexes port over shards. Galleries with the same settings share them; they end with the last index.

    Parameters
    ----------
    settings : Shards
    """

    def __init__(self, settings: Shards) -> None:
        self._settings = settings

    def exact(self, folder: Path, manifest: Manifest, vectors: LiveVectors) -> ShardedIndex:
        """The index that compares every row.

        Raises
        ------
        OptionalDependencyError
            If Ray is not installed.
        ClusterError
            If the cluster cannot be reached, has no room for the shards, or does not answer.
        IndexFolderError, IntegrityError
            If the files of the gallery are not there on a node, or not sound.
        """
        cuts = cuts_of(len(vectors), self._settings.count)
        # An approximate index names the few rows that are compared.
        reads = manifest.approximate is None
        held = held_by_each(folder.absolute(), manifest.segments, vectors, cuts, reads=reads)
        return ShardedIndex(vectors, cuts, self._held(held))

    def candidates(self, folder: Path, made: Approximate, dim: int) -> ShardedCandidates | None:
        """The approximate index; None if a writer has replaced it. Raises as ``exact`` does."""
        cuts = cuts_of(len(made.parts), self._settings.count)
        parts = parts_of_each(folder.absolute(), made, dim, cuts)
        try:
            if all(part.is_there for part in parts):
                return ShardedCandidates(made, dim, cuts, self._held(parts))
        except IndexFolderError:
            if all(part.is_there for part in parts):
                raise
        return None

    def _held(self, held: Sequence[Held | HeldParts]) -> Lease:
        with _lock:
            pool = _pools.get(self._settings)
            if pool is None or not pool.is_connected:
                pool = _pools[self._settings] = Pool(self._settings)
            lease = Lease(pool, pool.want(held))
        lease.wait()
        return lease


class Lease:
    """Holders port over what a pool holds for one index, until it is let go."""

    def __init__(self, pool: Pool, key: str) -> None:
        self._pool = pool
        self._key = key
        # Only into a queue: this runs in whatever thread lets go of the last reference.
        weakref.finalize(self, pool.unwanted.put, key)

    @property
    def partial(self) -> bool:
        return self._pool.settings.partial

    def wait(self) -> None:
        """See ``Pool.wait``."""
        self._pool.wait(self._key)

    def ask(self, method: str, wanted: Mapping[int, Sequence[Any]]) -> Mapping[int, Any]:
        """See ``Holders.ask``."""
        return self._pool.ask(method, self._key, wanted)


class Pool:
    """The shards of all indexes with the same settings, and the thread that watches them; it ends with the last index.

    Parameters
    ----------
    settings : Shards

    Raises
    ------
    OptionalDependencyError
        If Ray is not installed.
    ClusterError
        If the cluster cannot be reached or has no room for the shards.
    """

    def __init__(self, settings: Shards) -> None:
        self.settings = settings
        self.unwanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._wanted: dict[str, Sequence[Held | HeldParts]] = {}
        self._changed = threading.Condition()
        self._turn = itertools.count()
        self._room = threading.BoundedSemaphore(AT_ONCE * settings.replicas)
        self._is_ending = False
        with contextlib.ExitStack() as stack:
            nodes = stack.enter_context(connection.connected(settings.cluster))
            self._session = joining.session()
            self._group, places = placed(settings, nodes)
            stack.callback(self._free)
            self._replicas = [[Replica(number, *place) for place in own] for number, own in enumerate(places)]
            for replica in self._all:
                replica.start(self._group)
            self._connection = stack.pop_all()
        self._watcher = threading.Thread(target=self._watch, name="shards", daemon=True)
        self._watcher.start()
        # Before Ray's own end, which a call that runs would not survive.
        atexit.register(self._stop)

    @property
    def is_connected(self) -> bool:
        """Whether Ray still has the connection that the shards were started by."""
        return joining.session() == self._session

    def want(self, held: Sequence[Held | HeldParts]) -> str:
        """Have the shards hold these, one entry for each; returns the key to ask for them."""
        key = secrets.token_hex(8)
        with self._changed:
            self._wanted[key] = held
            self._changed.notify_all()
        return key

    def wait(self, key: str) -> None:
        """Wait until every shard holds what it should; those that do not answer are left out if a part is wanted.

        Raises
        ------
        ClusterError
            If a shard does not answer, or takes too long.
        IndexFolderError, IntegrityError
            If what it should hold cannot be opened.
        """
        end = time.monotonic() + _OPEN_S
        with self._changed:
            while True:
                if not self.is_connected:
                    raise _closed()
                states = [self._state(own, key) for own in self._replicas]
                for state in states:
                    if isinstance(state, ZsRetrieveError):
                        raise state
                if "opening" not in states:
                    break
                if time.monotonic() > end:
                    raise self._silent(states.index("opening"))
                self._changed.wait(_LOOK_S)
            if "lost" in states and not (self.settings.partial and "held" in states):
                raise self._silent(states.index("lost"))

    def ask(self, method: str, key: str, wanted: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        """See ``Holders.ask``."""
        with self._room:
            # Ray would start a cluster of its own.
            if not self.is_connected:
                raise _closed()
            try:
                return self._asked(method, key, wanted)
            except Exception as error:
                if self.is_connected:
                    raise
                raise _closed() from error

    def _asked(self, method: str, key: str, wanted: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        import ray

        answers: dict[int, Any] = {}
        end = time.monotonic() + self.settings.deadline_s
        asked: set[Replica] = set()
        turn = next(self._turn)
        while True:
            left = {
                shard: [replica for replica in self._replicas[shard] if replica.can(key) and replica not in asked]
                for shard in wanted
                if shard not in answers
            }
            calls: dict[Any, Replica] = {}
            for shard, replicas in left.items():
                if replicas:
                    replica = replicas[(turn + shard) % len(replicas)]
                    calls[getattr(replica.actor, method).remote(key, *wanted[shard])] = replica
            if not calls:
                for shard in left:
                    self._check_there(shard, key)
                return answers
            asked.update(calls.values())
            # The other replicas of a shard that does not answer need time as well.
            within = max(0.0, end - time.monotonic()) / max(map(len, left.values()))
            done = set(ray.wait(list(calls), num_returns=len(calls), timeout=within)[0])
            for call, replica in calls.items():
                if call not in done:
                    self._lose(replica, f"no answer within {within:.3g} s")
                    continue
                try:
                    answers[replica.shard] = ray.get(call)
                except ray.exceptions.RayTaskError as error:
                    if not isinstance(error.cause, NotHeldError):
                        raise error.cause from None
                    self._lose(replica, "it was restarted")
                except ray.exceptions.RayError as error:
                    self._lose(replica, _reason(error))

    def _check_there(self, shard: int, key: str) -> None:
        """Raise ClusterError if a replica cannot open rows again because their files were replaced."""
        held = self._wanted.get(key)
        has_problem = any(key in replica.problems for replica in self._replicas[shard])
        if held is not None and has_problem and not held[shard].is_there:
            raise ClusterError(
                f"the gallery '{held[shard].folder}' has changed since it was opened, and {self._name(shard)} was "
                "started again since",
                hint="Open the gallery again.",
            )

    @property
    def _all(self) -> Iterator[Replica]:
        return itertools.chain.from_iterable(self._replicas)

    def _state(self, replicas: Sequence[Replica], key: str) -> str | ZsRetrieveError:
        """How far a shard is with some rows."""
        if any(replica.can(key) for replica in replicas):
            return "held"
        if all(replica.is_up is False for replica in replicas):
            return "lost"
        problems = [replica.problems[key] for replica in replicas if key in replica.problems]
        is_open = any(replica.is_up is not False and key not in replica.problems for replica in replicas)
        return "opening" if is_open else problems[0]

    def _silent(self, shard: int) -> ClusterError:
        reason = next((f": {replica.reason}" for replica in self._replicas[shard] if replica.reason), "")
        return ClusterError(f"{self._name(shard)} does not answer{reason}", hint="See what the nodes do: ray status")

    def _name(self, shard: int) -> str:
        return f"shard {shard + 1} of {self.settings.count}"

    def _lose(self, replica: Replica, reason: str) -> None:
        if replica.is_up:
            _log.warning(f"{self._name(replica.shard)} is lost: {reason}")
        replica.is_up, replica.held, replica.reason = False, frozenset(), reason
        with self._changed:  # it may only have been slow
            self._changed.notify_all()

    def _stop(self) -> None:
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._watcher.join()

    def _watch(self) -> None:
        try:
            self._watch_on()
        except Exception:  # whatever Ray raises when the program shuts it down
            if self.is_connected:
                raise
        finally:
            with _lock:
                if _pools.get(self.settings) is self:
                    del _pools[self.settings]
            if not self._is_ending:
                atexit.unregister(self._stop)
            self._connection.close()

    def _watch_on(self) -> None:
        """See to the replicas until the pool ends or its connection does."""
        import ray

        while not self._is_ending and self.is_connected:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._wanted.pop(self.unwanted.get_nowait(), None)
            if not self._wanted and self._ended():
                return
            for replica in self._all:
                self._look(replica)
            calls = [replica.call for replica in self._all if replica.call is not None]
            if calls:
                ray.wait(calls, timeout=_LOOK_S)
                continue
            with self._changed:
                self._changed.wait(_LOOK_S)

    def _ended(self) -> bool:
        """End the pool, unless an index has just come."""
        with _lock:
            if self._wanted:
                return False
            if _pools.get(self.settings) is self:
                del _pools[self.settings]
            self._free()  # before another pool of the same settings looks for room
        return True

    def _free(self) -> None:
        """Give back what the shards have reserved, if the connection is still there."""
        from ray.util import remove_placement_group

        if self.is_connected:
            remove_placement_group(self._group)

    def _look(self, replica: Replica) -> None:
        """See what a replica says, and have it hold what it should."""
        import ray

        if replica.call is not None:
            if not ray.wait([replica.call], timeout=0)[0]:
                return
            self._heard(replica)
        wanted = {key: held[replica.shard] for key, held in list(self._wanted.items())}
        is_right = replica.is_up and replica.asked == wanted.keys() and not replica.problems
        if not is_right and (replica.asked != wanted.keys() or time.monotonic() >= replica.again):
            replica.asked = frozenset(wanted)
            replica.call = replica.actor.hold.remote(wanted)

    def _heard(self, replica: Replica) -> None:
        """Take note of how the watcher's call ended."""
        import ray

        call, replica.call = replica.call, None
        replica.again = time.monotonic() + _AGAIN_S
        try:
            problems = ray.get(call)
        except ray.exceptions.RayError as error:
            self._lose(replica, _reason(error))
            if isinstance(error, ray.exceptions.ActorDiedError):  # for good
                replica.start(self._group)
        else:
            for key in problems.keys() - replica.problems.keys():
                _log.warning(f"{self._name(replica.shard)}: {problems[key].message}")
            if not problems and (replica.reason or replica.problems.keys() & replica.asked):
                _log.warning(f"{self._name(replica.shard)} answers again")
                replica.reason = ""
            replica.problems, replica.held, replica.is_up = problems, replica.asked - problems.keys(), True
        with self._changed:
            self._changed.notify_all()


def _closed() -> ClusterError:
    return ClusterError("the connection to the cluster was closed", hint="Open the gallery again.")


def _reason(error: Exception) -> str:
    """Why a call failed, in one line; what Ray says of a connection that broke is a paragraph."""
    import ray

    is_away = isinstance(error, ray.exceptions.ActorUnavailableError)
    return "its process or node cannot be reached" if is_away else one_line(error)
