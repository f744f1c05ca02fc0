"""Where the shards of a pool are put."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from zsretrieve.cluster import connection
from zsretrieve.cluster.connection import Nodes
from zsretrieve.domain.errors import ClusterError
from zsretrieve.domain.settings import Shards
from zsretrieve.domain.wording import counted

# The share of a processor that a shard reserves. Without one Ray puts all of them on the same node.
CPUS = 0.2
_PLACE_S = 30.0

# The number of a bundle of the placement group, and the threads for a shard in it.
Place = tuple[int, int]


def placed(settings: Shards, nodes: Nodes) -> tuple[Any, list[list[Place]]]:
    """A placement group of Ray that is spread over the nodes, and the places of the replicas of each shard in it.

    Strictly different nodes are not demanded, so that Ray can move what a lost node held to one that has some already.

    Raises
    ------
    ClusterError
        If there is no room, or there are fewer nodes than replicas.
    """
    from ray.util import placement_group, placement_group_table, remove_placement_group

    count = settings.count * settings.replicas
    usable = [node for node in nodes.all if node.cpus >= CPUS]
    if settings.replicas > len(usable):
        raise ClusterError(
            f"{settings.replicas} replicas need as many nodes, and the cluster has {counted(len(usable), 'node')}",
            hint="Use fewer replicas, or add nodes.",
        )
    free = connection.free(nodes, lambda free: _fitting(free) >= count)
    refused = ClusterError(
        f"{counted(count, 'shard')} need {CPUS * count:.1f} CPUs, and of {nodes} {free.cpus:.1f} CPUs are free",
        hint="Use fewer shards or replicas, add nodes, or end what else runs there.",
    )
    if _fitting(free) < count:
        raise refused
    group = placement_group([{"CPU": CPUS}] * count, strategy="SPREAD")
    if not group.wait(_PLACE_S):
        remove_placement_group(group)
        raise refused
    node_of: dict[int, str] = placement_group_table(group)["bundles_to_node_id"]
    cpus = {node.id: node.cpus for node in nodes.all}
    on_node = Counter(node_of.values())
    return group, [
        [(bundle, max(1, int(cpus.get(node_of[bundle], 1)) // on_node[node_of[bundle]])) for bundle in bundles]
        for bundles in spread(node_of, settings.count, settings.replicas)
    ]


def _fitting(free: Nodes) -> int:
    """How many shards fit on what is free of nodes."""
    return sum(math.floor(node.cpus / CPUS + 1e-6) for node in free.all)


def spread(node_of: Mapping[int, str], count: int, replicas: int) -> list[list[int]]:
    """Bundles for the replicas of each shard, on different nodes as far as possible.

    Parameters
    ----------
    node_of : mapping of int to str
        The node of each of ``count * replicas`` bundles.
    """
    free = dict(node_of)
    chosen: list[list[int]] = []
    for _ in range(count):
        own: list[int] = []
        for _ in range(replicas):
            room, taken = Counter(free.values()), {node_of[bundle] for bundle in own}
            best = min(free, key=lambda bundle: (free[bundle] in taken, -room[free[bundle]], bundle))
            own.append(best)
            del free[best]
        chosen.append(own)
    return chosen
