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
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kits.cluster import LocalCluster
from kits.without import without

from zsretrieve.cluster import connection
from zsretrieve.domain.errors import ClusterError
from zsretrieve.domain.settings import Cluster


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


def test_what_listens_is_not_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(connection, "_PROBE_S", 5.0)
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
            until = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert time.monotonic() < until
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def test_a_token_that_is_missing_is_named(head_with_a_token: str) -> None:
    with pytest.raises(ClusterError, match="wants its token"), connection.connected(Cluster(head_with_a_token)):
        pass
