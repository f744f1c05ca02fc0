"""Connecting to a cluster: what is refused, and that it takes seconds."""

from __future__ import annotations

import contextlib
import http.server
import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from kits.cluster import LocalCluster
from kits.vector_gallery import vector_gallery
from kits.waiting import eventually
from kits.without import without

import zsretrieve as zs
from zsretrieve.cluster import connection, joining, shard_pool
from zsretrieve.domain.errors import ClusterError
from zsretrieve.domain.settings import Cluster
from zsretrieve.domain.vectors import unit_rows


def test_nodes_what_they_have_and_what_they_share(three_nodes: LocalCluster, tmp_path: Path) -> None:
    with connection.connected(three_nodes.cluster) as nodes:
        assert len(nodes.all) == 4
        assert (nodes.cpus, nodes.gpus) == (3.0, 0.0)
        assert str(nodes) == "4 nodes with 3 CPUs and 0 GPUs"
        for place in (str(tmp_path / "new"), (tmp_path / "url").as_uri()):
            connection.check_shared(nodes, place)
        assert not list((tmp_path / "new").iterdir())
        assert not list((tmp_path / "url").iterdir())
        with pytest.raises(ClusterError, match="'memory://units' is not the same storage on the node"):
            connection.check_shared(nodes, "memory://units")  # which each process has for itself


def test_a_node_with_another_version_is_refused(three_nodes: LocalCluster, tmp_path: Path) -> None:
    info = tmp_path / "pillow-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 0.1\n")
    odd = three_nodes.add(PYTHONPATH=f"{tmp_path}:{os.environ['PYTHONPATH']}")
    try:
        with (
            pytest.raises(ClusterError, match=r"has pillow 0\.1 instead of"),
            connection.connected(three_nodes.cluster),
        ):
            pass
    finally:
        three_nodes.kill(odd)


def test_nodes_without_the_package_are_refused(
    three_nodes: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connection.connected(three_nodes.cluster) as nodes:
        # Nodes have the path that this process had when it connected.
        (tmp_path / "only_here.py").write_text("def answer(): return 1")
        monkeypatch.syspath_prepend(tmp_path)
        work = importlib.import_module("only_here").answer
        with pytest.raises(ClusterError, match=r"cannot run zsretrieve: No module named 'only_here'"):
            connection.ask_all(nodes, work)


def test_nothing_listens() -> None:
    with (
        pytest.raises(ClusterError, match=r"'127.0.0.1:1' cannot be reached: connection refused"),
        connection.connected(Cluster("127.0.0.1:1")),
    ):
        pass


def test_the_variable_that_names_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with (
        pytest.raises(ClusterError, match=r":1', which RAY_ADDRESS names, cannot be reached"),
        connection.connected(Cluster()),
    ):
        pass


def test_what_listens_is_not_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(joining, "_PROBE_S", 5.0)
    with (
        pytest.raises(ClusterError, match="does not answer as Ray does"),
        connection.connected(Cluster(f"127.0.0.1:{server.server_port}")),
    ):
        pass
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("address", ["127.0.0.1", "nohost.invalid:6379", "ray://127.0.0.1:10001"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ClusterError), connection.connected(Cluster(address)):
        pass


def test_no_cluster_here(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray would find the cluster of these tests.
    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", lambda _: None)
    with pytest.raises(ClusterError, match="does not belong to a cluster of Ray"), connection.connected(Cluster()):
        pass


def test_without_ray_the_extra_is_named() -> None:
    code = "from zsretrieve.cluster import connection; from zsretrieve.domain.settings import Cluster\n"
    code += "with connection.connected(Cluster()): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=without("ray"), check=False)
    assert "OptionalDependencyError: a cluster needs Ray" in done.stderr


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture
def head_with_a_token() -> Iterator[str]:
    """The address of a head that wants a token. Its folder has a short path, for the sockets in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = (
        f"ray start --head --block --port {port} --num-cpus 0 --object-store-memory 80000000 --include-dashboard false"
    )
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        head = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), *command.split()[1:], "--temp-dir", folder],
            env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            eventually(lambda: _listens(port))
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def test_a_token_that_is_missing_is_named(head_with_a_token: str) -> None:
    with pytest.raises(ClusterError, match="wants its token"), connection.connected(Cluster(head_with_a_token)):
        pass


def test_a_process_has_one_connection_and_uses_no_other_cluster(three_nodes: LocalCluster) -> None:
    port = three_nodes.cluster.address.rpartition(":")[2]
    with connection.connected(three_nodes.cluster):
        for other in ("127.0.0.1:1", "local"):
            said = f"is connected to the cluster at '.*:{port}', and '{other}' is another one"
            with pytest.raises(ClusterError, match=said), connection.connected(Cluster(other)):
                pass
        with connection.connected(Cluster(f"localhost:{port}")):
            pass
        assert ray.is_initialized()
    assert not ray.is_initialized()


def test_the_last_user_closes_the_connection(three_nodes: LocalCluster, tmp_path: Path) -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((50, 8)))
    out = vector_gallery(tmp_path / "gallery", vectors)
    shards = zs.Shards(three_nodes.cluster, count=1, deadline_s=60)
    with pytest.raises(ClusterError, match="100 shards need"):
        zs.open_gallery(out, ray=zs.Shards(three_nodes.cluster, count=100))
    assert not ray.is_initialized()

    def opened() -> tuple[zs.Gallery, threading.Thread]:
        gallery = zs.open_gallery(out, ray=shards)
        return gallery, shard_pool._pools[shards]._watcher

    with connection.connected(three_nodes.cluster):  # as a build is
        gallery, watcher = opened()
        del gallery
        watcher.join(60)
        assert not watcher.is_alive()
        assert ray.is_initialized()
        gallery, watcher = opened()
    assert gallery.index.search(vectors[7:8], 1)[1].tolist() == [[7]]
    ray.shutdown()
    with pytest.raises(ClusterError, match="the connection to the cluster was closed"):
        zs.search(gallery, vectors[7])
    again, last = opened()
    watcher.join(60)
    assert zs.search(again, vectors[7])[0].id == 7
    del again
    last.join(60)
    assert not ray.is_initialized()
