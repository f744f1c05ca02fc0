"""The workers of a cluster: how many there are, on which nodes, and with which share of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from zsretrieve.cluster import connection
from zsretrieve.cluster.connection import Node, Nodes
from zsretrieve.cluster.job import Job
from zsretrieve.cluster.workers import Decoder, Description, Encoder
from zsretrieve.domain.errors import ClusterError
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.wording import counted

# Of a processor; a node with less to spare is left alone.
_LEAST_CPUS = 0.5
# Loading may fetch and convert a model.
_START_S = 1800.0
_TICK_S = 1.0


@dataclass(frozen=True)
class Share:
    """The share of a node that a worker takes; ``cpus`` above 1 are whole, as Ray wants them."""

    node: Node
    cpus: float
    gpus: float = 0.0

    @property
    def threads(self) -> int:
        return max(1, int(self.cpus))


@dataclass(frozen=True)
class Plan:
    """The shares of all workers, and the device that encoders run on."""

    encoders: tuple[Share, ...]
    decoders: tuple[Share, ...]
    device: str


def plan(nodes: Nodes, free: Nodes, device: str) -> Plan:
    """An encoder for each GPU that is free, or without GPUs for each node, and a decoder on every node with processors.

    Parameters
    ----------
    nodes, free : Nodes
        The cluster, and the same nodes with what is free of them.
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    ClusterError
        If there is no room for one encoder and one decoder.
    """
    on_gpus = device == "cuda" or (device == "auto" and any(node.gpus >= 1 for node in free.all))
    encoders: list[Share] = []
    decoders: list[Share] = []
    for node in free.all:
        left = node.cpus
        if on_gpus:
            gpus = int(node.gpus)
            each = 1.0 if left >= 2 * gpus else 0.0
            encoders += [Share(node, each, 1.0)] * gpus
            left -= each * gpus
        elif left >= _LEAST_CPUS:
            half = float(int(left) // 2) if left >= 2 else 0.5 * min(left, 1.0)
            encoders.append(Share(node, half))
            left -= half
        if left > 0 and node.cpus >= _LEAST_CPUS:
            decoders.append(Share(node, float(int(left)) if left >= 1 else left))
    if encoders and decoders:
        return Plan(tuple(encoders), tuple(decoders), "cuda" if on_gpus else "cpu")
    need = "a GPU and half a CPU" if on_gpus else "half a CPU"
    raise ClusterError(
        f"the cluster has {nodes}, of which {free.cpus:g} CPUs and {free.gpus:g} GPUs are free; encoding needs at "
        f"least {need}{'' if on_gpus else ' on one node'}",
        hint="Wait for other jobs (ray status shows them), or add nodes.",
    )


@dataclass(eq=False)
class Worker:
    """An actor on a node; ``calls`` are running or wait there, and the longest so far took ``longest`` seconds.

    After a failure it is away, since the time ``lost``, until it answers; ``asked`` is the time when it was asked last.
    """

    handle: Any
    node: Node
    calls: int = 0
    longest: float | None = None
    lost: float | None = None
    asked: float = 0.0

    @property
    def is_away(self) -> bool:
        return self.lost is not None


@dataclass
class Pool:
    """The workers that run, and what all encoders among them are."""

    encoders: list[Worker]
    decoders: list[Worker]
    description: Description

    def close(self) -> None:
        """End all workers."""
        _end([*self.encoders, *self.decoders])


def started(wanted: Plan, job: Job, place: str, on_stage: OnStage | None = None) -> Pool:
    """Start workers, which write to the storage ``place``, and wait until they are ready.

    Raises
    ------
    ClusterError
        If one is not ready in time, or if the encoders differ.
    ZsRetrieveError
        If the model cannot be loaded on a node, as ``Model.load`` raises.
    """
    source = replace(job.source, files=(), skipped=())
    compute = replace(job.model.compute, device=wanted.device)
    encoders = [_worker(Encoder, share, job.model.name, compute, place) for share in wanted.encoders]
    decoders = [_worker(Decoder, share, source, job.reading.workers or share.threads) for share in wanted.decoders]
    try:
        answers = _ready([*encoders, *decoders], on_stage)
        _end([worker for worker in (*encoders, *decoders) if worker not in answers])
        encoders, decoders = ([worker for worker in some if worker in answers] for some in (encoders, decoders))
        if not (encoders and decoders):
            raise ClusterError("all nodes that could encode were lost", hint="See what happened: ray status")
        return Pool(encoders, decoders, _common([(worker.node, answers[worker]) for worker in encoders]))
    except BaseException:
        _end([*encoders, *decoders])
        raise


def _worker(kind: type, share: Share, *args: object) -> Worker:
    import ray

    actor: Any = ray.remote(kind)
    placed = actor.options(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        scheduling_strategy=connection.on_node(share.node),
        max_restarts=-1,
        max_task_retries=0,
    )
    return Worker(placed.remote(*args), share.node)


def _ready(workers: Sequence[Worker], on_stage: OnStage | None) -> dict[Worker, Any]:
    """What each worker answers that is not lost meanwhile."""
    import ray

    asked = {worker.handle.ready.remote(): worker for worker in workers}
    answers: dict[Worker, Any] = {}
    waiting, spent = list(asked), 0.0
    while waiting and spent < _START_S:
        done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_TICK_S)
        for ref in done:
            error = connection.failure(ref)
            if error is None:
                answers[asked[ref]] = ray.get(ref)
            elif not connection.is_lost(error):
                raise connection.as_error(error, asked[ref].node)
        spent += _TICK_S
        if on_stage is not None:
            on_stage(f"starting {counted(len(workers), 'worker')}", len(workers) - len(waiting), len(workers))
    if waiting:
        raise ClusterError(
            f"{len(waiting)} of {len(workers)} workers did not start within {_START_S / 60:g} minutes; the first is on "
            f"{asked[waiting[0]].node.address}",
            hint="See what the cluster does: ray status",
        )
    return answers


def _common(answers: Sequence[tuple[Node, Description]]) -> Description:
    (first, description), *others = answers
    for node, other in others:
        if other != description:
            ours, theirs = (f"{one.encoding.precision} in {one.encoding.engine}" for one in (description, other))
            raise ClusterError(
                f"the node {node.address} encodes otherwise ({theirs}) than {first.address} ({ours})",
                hint="Choose what all nodes have: `precision` fp32, `engine` openvino.",
            )
    return description


def _end(workers: Sequence[Worker]) -> None:
    import ray

    for worker in workers:
        ray.kill(worker.handle)
