"""The connection to a cluster of Ray, and what must hold of its nodes before any work.

Ray waits long or for ever for what does not answer, so every wait here has an end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from zsretrieve.cluster import joining, storage
from zsretrieve.domain.errors import ClusterError, ZsRetrieveError
from zsretrieve.domain.settings import Cluster
from zsretrieve.domain.wording import one_line
from zsretrieve.system import extras

_log = logging.getLogger("zsretrieve")

FREED_S, SETTLED_S = 10.0, 3.0
_ANSWER_S = 120.0
# Which images can be read and the bits of vectors depend on these; a package that a node lacks counts as a version.
_PACKAGES = (
    "ray", "zsretrieve", "numpy", "pillow", "pillow-heif", "fsspec", "datasets", "openvino", "torch", "open-clip-torch",
    "timm", "transformers",
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: its ID in Ray, its address, and what it has for work."""

    id: str
    address: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Nodes:
    """The living nodes of a cluster, in the order of their addresses."""

    all: tuple[Node, ...]

    @property
    def cpus(self) -> float:
        return sum(node.cpus for node in self.all)

    @property
    def gpus(self) -> float:
        return sum(node.gpus for node in self.all)

    def __str__(self) -> str:
        plural = "s" * (len(self.all) != 1)
        return f"{len(self.all)} node{plural} with {self.cpus:g} CPUs and {self.gpus:g} GPUs"


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[Nodes]:
    """Connect to a cluster whose nodes have the same versions; the connection that this process has already is used.

    Raises
    ------
    OptionalDependencyError
        If Ray is not installed.
    ClusterError
        If the cluster cannot be reached, the process is connected to another one, or the versions of its nodes differ.
    """
    extras.require_ray("a cluster")
    # Read when Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    joining.OWN.open(cluster.address)
    try:
        nodes = living()
        _check_versions(nodes)
        yield nodes
    finally:
        joining.OWN.close()


def living() -> Nodes:
    """The nodes that are alive now."""
    import ray

    nodes = [
        Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            float(node["Resources"].get("CPU", 0)),
            float(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]
    return Nodes(tuple(sorted(nodes, key=lambda node: (node.address, node.id))))


def free(nodes: Nodes, is_enough: Callable[[Nodes], bool] = lambda _: False) -> Nodes:
    """The same nodes with what is free of them, as soon as that is enough or all.

    What a process had that has ended is free after some seconds, so this waits while more becomes free.
    """
    from ray._private.state import available_resources_per_node

    start = changed = time.monotonic()
    before = None
    while True:
        left = available_resources_per_node()  # type: ignore[no-untyped-call]
        mine = [(node, left.get(node.id, {})) for node in nodes.all]
        free = Nodes(
            tuple(replace(node, cpus=float(has.get("CPU", 0)), gpus=float(has.get("GPU", 0))) for node, has in mine)
        )
        now = time.monotonic()
        if free != before:
            before, changed = free, now
        if is_enough(free) or free == nodes or now > changed + SETTLED_S or now > start + FREED_S:
            return free
        time.sleep(0.1)


def on_node(node: Node) -> Any:
    """The scheduling strategy of what must run on one node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def ask_all(nodes: Nodes, work: Callable[..., Any], *args: object) -> dict[Node, Any]:
    """Call a function of a module once on every node; what each answers that is still alive.

    Raises
    ------
    ClusterError
        If a node does not answer in time, or what it raises.
    """
    import ray

    task = ray.remote(num_cpus=0, max_retries=0)(work)
    asked = {task.options(scheduling_strategy=on_node(node)).remote(*args): node for node in nodes.all}
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S)
    if late:
        raise ClusterError(
            f"the node {asked[late[0]].address} did not answer within {_ANSWER_S:g} seconds",
            hint="See what it does: ray status",
        )
    answers = {}
    for answer in done:
        try:
            answers[asked[answer]] = ray.get(answer)
        except ray.exceptions.TaskUnschedulableError:  # it died meanwhile
            continue
        except (ray.exceptions.RayError, ImportError) as error:
            raise ClusterError(
                f"the node {asked[answer].address} cannot run zsretrieve: {_reason(error)}",
                hint="Install the same version of zsretrieve, with the same extras, on every node.",
            ) from error
    return answers


def check_shared(nodes: Nodes, place: str) -> None:
    """Raise ClusterError unless a folder, or a URL of fsspec, is the same storage for this process and every node.

    This process writes a file that every node must read, and each writes one that this process must read.
    """
    name, token = f".zsretrieve-probe-{secrets.token_hex(6)}", secrets.token_hex(16)
    written = [name, *(_answer_name(name, node.id) for node in nodes.all)]
    try:
        storage.write(place, name, token.encode())
        for node, seen in ask_all(nodes, _probe, place, name).items():
            if seen != token or storage.read(place, _answer_name(name, node.id)) != node.id.encode():
                raise _not_shared(place, node)
    finally:
        for one in written:
            with contextlib.suppress(ZsRetrieveError):
                storage.remove(place, one)


def _not_shared(place: str, node: Node) -> ClusterError:
    return ClusterError(
        f"'{place}' is not the same storage on the node {node.address}",
        hint="Give a folder that every node mounts under the same path, or a URL as `storage`.",
    )


def _answer_name(name: str, node: str) -> str:
    return f"{name}-{node}"


def _probe(place: str, name: str) -> str | None:
    """On a node: what the probe holds there; an answer is written beside it."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    seen = storage.read(place, name)
    if seen is not None:
        storage.write(place, _answer_name(name, node), node.encode())
    return None if seen is None else seen.decode()


def _check_versions(nodes: Nodes) -> None:
    """Raise ClusterError unless every node has the versions of this process."""
    here = _versions()
    for node, there in ask_all(nodes, _versions).items():
        differing = [f"{name} {there[name]} instead of {here[name]}" for name in here if there[name] != here[name]]
        if differing:
            raise ClusterError(
                f"the node {node.address} has {', '.join(differing)}",
                hint="Install the same versions on every node; vectors would differ otherwise.",
            )


def _versions() -> Mapping[str, str]:
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def failure(answer: Any) -> Exception | None:
    """What a call that is done failed with, None if it succeeded."""
    import ray

    try:
        ray.get(answer)
    except (ray.exceptions.RayError, ImportError) as error:
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, ZsRetrieveError) else error
    return None


def is_lost(error: Exception) -> bool:
    """Whether a call failed because its worker or node is gone, not by what the work raised or by lost arguments."""
    import ray

    blameless = ray.exceptions.RayTaskError | ray.exceptions.ObjectLostError
    return isinstance(error, ray.exceptions.RayError) and not isinstance(error, blameless)


def as_error(error: Exception, node: Node) -> ZsRetrieveError:
    """The error for a user of what a call on a node failed with."""
    if isinstance(error, ZsRetrieveError):
        return type(error)(f"on the node {node.address}: {error.message}", hint=error.hint)
    return ClusterError(
        f"the node {node.address} cannot do its work: {_reason(error)}", hint="See what happened there: ray status"
    )


def _reason(error: BaseException) -> str:
    """Why a node cannot run something, in one line: of an import that failed there, the last line of its traceback."""
    cause = getattr(error, "cause", None) or error
    imports = [line for line in str(cause).splitlines() if line.startswith(("ModuleNotFoundError: ", "ImportError: "))]
    return one_line(ImportError(imports[-1].partition(": ")[2])) if imports else one_line(cause)
