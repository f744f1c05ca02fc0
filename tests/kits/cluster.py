"""A real cluster of Ray on this machine: several nodes, each with processes and an object store of its own."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster as RayCluster

from zsretrieve.domain.settings import Cluster

ROOT = Path(__file__).resolve().parents[2]
_STORE_BYTES = 150_000_000
_SETTINGS = {
    # A killed node counts as dead after seconds, not after half a minute.
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
    # Workers give way to everything else on a machine by default; beside other tests they would hardly run.
    "worker_niceness": 0,
    # Those that are started before anything asks for them take time from the others.
    "prestart_worker_first_driver": False,
    "enable_worker_prestart": False,
}


class LocalCluster:
    """A cluster whose head has no CPUs, so that any node with work can be killed.

    The nodes are processes of this machine and see the same files. The workers of ``tests/kits`` and of the package
    under test are those of this checkout.
    """

    def __init__(self, nodes: int, cpus: int = 1) -> None:
        self._path = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        self._cpus = cpus
        self._ray = RayCluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": _STORE_BYTES,
                "include_dashboard": False,
                "_system_config": _SETTINGS,
            },
        )
        self.nodes: list[Any] = []
        self.restore(nodes)

    @property
    def cluster(self) -> Cluster:
        """What the library takes."""
        return Cluster(self._ray.address)

    def add(self, **environment: str) -> Any:
        """Start another node, with these environment variables; ``kill`` takes what this returns."""
        return self._ray.add_node(
            num_cpus=self._cpus, object_store_memory=_STORE_BYTES, env_vars=environment or None, wait=True
        )

    def workers(self, node: Any, kind: str) -> list[psutil.Process]:
        """The processes of actors of a class on a node."""
        (raylet,) = node.all_processes["raylet"]
        found = []
        for one in psutil.Process(raylet.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                if one.name().startswith(f"ray::{kind}"):
                    found.append(one)
        return found

    def kill(self, node: Any = None) -> None:
        """Kill a node, by default the last of the usual ones, as a power cut would."""
        self._ray.remove_node(self.nodes.pop() if node is None else node, allow_graceful=False)

    def restore(self, nodes: int) -> None:
        """Start nodes until there are so many of the usual ones again."""
        while len(self.nodes) < nodes:
            self.nodes.append(self.add())

    def shutdown(self) -> None:
        """End all of it, once the last shards have: the thread that ends them uses the connection, and closes it."""
        until = time.monotonic() + 30
        while ray.is_initialized() and time.monotonic() < until:
            gc.collect()
            time.sleep(0.05)
        ray.shutdown()
        self._ray.shutdown()
        if self._path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = self._path


_running: list[LocalCluster] = []


@pytest.fixture(scope="module")
def three_nodes() -> LocalCluster:
    """A head without CPUs and three nodes of one CPU; a test that kills one calls ``restore(3)`` in the end."""
    if not _running:
        _running.append(LocalCluster(3))
    return _running[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End the cluster after the last test of a folder: also idle, it takes a quarter of a processor from the others."""
    try:
        yield
    finally:
        if _running and (nextitem is None or nextitem.path.parent != item.path.parent):
            _running.pop().shutdown()
