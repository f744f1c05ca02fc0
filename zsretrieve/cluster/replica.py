"""What a pool knows of an actor that holds a shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zsretrieve.cluster.placing import CPUS
from zsretrieve.cluster.shard import Shard
from zsretrieve.domain.errors import ZsRetrieveError

# Searches that a replica answers at once. More wait in the pool, so that the deadline is for work and not for a queue.
AT_ONCE = 4


@dataclass(eq=False)
class Replica:
    """An actor that holds a shard.

    ``is_up`` is None until it has answered once. It holds ``held`` after it was last made to hold ``asked`` and had
    ``problems`` with the rest; ``call`` is the watcher's call that runs, ``again`` the time for the next.
    ``reason`` is why it was lost.
    """

    shard: int
    bundle: int
    threads: int
    actor: Any = None
    is_up: bool | None = None
    held: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    problems: dict[str, ZsRetrieveError] = field(default_factory=dict)
    call: Any = None
    again: float = 0.0
    reason: str = ""

    def start(self, group: Any) -> None:
        """Start an actor at its place in a placement group."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=self.bundle)
        # Ray sets one thread for a process with a share of a processor.
        threads = {"env_vars": {"OMP_NUM_THREADS": str(self.threads)}}
        actor = ray.remote(Shard).options(
            num_cpus=CPUS, max_restarts=-1, max_concurrency=AT_ONCE + 1, scheduling_strategy=where, runtime_env=threads
        )
        self.actor = actor.remote()

    def can(self, key: str) -> bool:
        """Whether it is worth asking."""
        return self.is_up is True and key in self.held
