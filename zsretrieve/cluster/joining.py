"""Joining a cluster: the one connection to Ray that a process has.

Ray waits long or for ever for an address that does not answer, so it is asked first by a process that can be stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from zsretrieve.domain.errors import ClusterError
from zsretrieve.domain.wording import one_line

_log = logging.getLogger("zsretrieve")

NAMESPACE = "zsretrieve"
_CONNECT_S, _PROBE_S = 5.0, 30.0
# The variable that says which cluster ``auto`` is.
_NAMED = "RAY_ADDRESS"
# Ray's own client waits two minutes for an address that does not answer, and then ends the process.
_PROBE = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


class Connection:
    """The connection of this process, of which Ray allows one. It is opened for its first user, and closed by its last
    one unless the program has opened it itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._ours: str | None = None
        self._prints: Any = None

    def open(self, address: str) -> None:
        """Have one more user. Raises ClusterError if the cluster at the address cannot be reached, or the connection
        is to another one.
        """
        with self._lock:
            here = session()
            if here is None:
                self._prints = _connect(address)
                self._ours = session()
            else:
                _check_same(address, here.partition(" ")[0], is_ours=here == self._ours)
            self._users += 1

    def close(self) -> None:
        """Have one user less."""
        import ray
        from ray._private import worker

        with self._lock:
            self._users -= 1
            if not self._users and self._ours is not None:
                if session() == self._ours:
                    ray.shutdown()
                worker.print_to_stdstream = self._prints
                self._ours = None


OWN = Connection()


def session() -> str | None:
    """What identifies the connection of this process, beginning with the cluster's HOST:PORT; None without one."""
    import ray

    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    try:
        return f"{context.gcs_address} {context.get_job_id()}"
    except (RuntimeError, AttributeError, ray.exceptions.RayError):  # it has just been closed
        return None


def _check_same(address: str, has: str, *, is_ours: bool) -> None:
    """Raise ClusterError unless an address is that of the cluster at ``has``, which this process is connected to."""
    from ray._private.worker import global_worker

    if address == "local":
        node = global_worker.node
        is_same = node is not None and node.is_head()  # this process has started it
    elif address == "auto" and not is_ours and _NAMED not in os.environ:
        is_same = True  # the program has chosen it
    else:
        is_same = _resolved(_of_this_machine() if address == "auto" else address) == _resolved(has)
    if not is_same:
        raise ClusterError(
            f"this process is connected to the cluster at '{has}', and '{address}' is another one",
            hint="A process has one connection: close what uses it, or use another process.",
        )


def _resolved(address: str) -> tuple[str, str]:
    """The IP address and the port of HOST:PORT; the host as it is if it has no address."""
    import ray

    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        host = socket.gethostbyname(host)
    here: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return here if host.startswith("127.") else host, port


def _connect(address: str) -> Any:
    """Connect; returns what printed for Ray before."""
    import ray
    from ray._private import worker

    where = _found(address) if address != "local" else "local"
    # Ray prints what it hears of nodes and workers, whatever it is asked, and a library does not print.
    before, worker.print_to_stdstream = worker.print_to_stdstream, _note
    try:
        ray.init(
            where, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR,
            include_dashboard=False if where == "local" else None,
        )  # fmt: skip
    except (RuntimeError, ValueError, OSError) as error:  # among them Ray's refusal of other versions
        worker.print_to_stdstream = before
        raise ClusterError(
            f"the cluster at '{where}' does not take this process: {one_line(error)}",
            hint="Run on a node of the cluster, with its versions of Python and Ray.",
        ) from error
    return before


def _note(data: Mapping[str, Any], ignore_prefix: bool) -> None:  # noqa: ARG001, as Ray calls it
    for line in data["lines"]:
        _log.debug(line)


def _found(address: str) -> str:
    """HOST:PORT of a cluster that answers."""
    if "://" in address:
        raise ClusterError(f"'{address}' is the address of a Ray client", hint="Run on a node, with the address auto.")
    where = _of_this_machine() if address == "auto" else address
    host, _, port = where.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"'{where}' is not the address of a cluster", hint="Give HOST:PORT, auto or local.")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise _unreachable(where, one_line(error), is_named=address == "auto" and _NAMED in os.environ) from error
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE, where], capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _unreachable(where, "what listens there does not answer as Ray does") from error
    if "AuthenticationError" in probe.stderr:
        raise ClusterError(
            f"the cluster at '{where}' wants its token",
            hint="Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH as on its head.",
        )
    if probe.returncode:
        raise _unreachable(where, one_line(RuntimeError(probe.stderr.strip().rpartition("\n")[2])))
    return where


def _of_this_machine() -> str:
    """The address of the cluster that this machine belongs to, or that ``RAY_ADDRESS`` names."""
    from ray._private.services import canonicalize_bootstrap_address

    with contextlib.suppress(ConnectionError):
        where: str | None = canonicalize_bootstrap_address("auto")
        if where is not None:
            return where
    raise ClusterError(
        "this machine does not belong to a cluster of Ray",
        hint="Start one: ray start --head. Or give the address of one, HOST:PORT, or local.",
    )


def _unreachable(where: str, reason: str, *, is_named: bool = False) -> ClusterError:
    named = f", which {_NAMED} names," if is_named else ""
    return ClusterError(
        f"the cluster at '{where}'{named} cannot be reached: {reason}",
        hint="Check the address with: ray status --address HOST:PORT",
    )
