"""Servers of galleries: in this process, and in one of their own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.testclient import TestClient

from kits.waiting import PATIENCE_S
from zsretrieve.domain.ports import Encoder
from zsretrieve.encoders.loading import Model
from zsretrieve.web.app import create_app
from zsretrieve.web.galleries import Shelf
from zsretrieve.web.service import Service
from zsretrieve.web.settings import Settings

BASE = "http://127.0.0.1:7878"


def service_for(
    encoder: Encoder, galleries: Sequence[Path], prototypes: Sequence[Path] = (), settings: Settings | None = None
) -> Service:
    """The service of galleries on the CPU."""
    settings = settings or Settings()
    shelf = Shelf([str(one) for one in galleries], [str(one) for one in prototypes], "cpu", settings.limits.revisions)
    return Service(shelf, Model.of(encoder), settings)


@contextlib.contextmanager
def client_of(service: Service) -> Iterator[TestClient]:
    """What asks a server in this process; errors are answered, as they are by a real one."""
    with TestClient(
        create_app(service), base_url=BASE, raise_server_exceptions=False, follow_redirects=False
    ) as client:
        yield client


@dataclass
class Running:
    """A server in a process of its own, at ``address``, without a slash at the end."""

    address: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        found = re.search(r":(\d+)", self.address)
        assert found is not None
        return int(found[1])

    def connect(self) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it as a user does; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def running(*words: str | Path) -> Iterator[Running]:
    """``zsretrieve serve`` with these arguments, on a free port."""
    command = [sys.executable, "-m", "zsretrieve", "serve", *map(str, words), "--port", "0", "--no-open"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                assert process.stderr is not None
                raise AssertionError(process.stderr.read())
            yield Running(line.split()[-1].rstrip("/"), process)
        finally:
            if process.poll() is None:
                process.kill()
