"""A server of a small gallery that may be changed, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kits.small import Served, Small, serving

from zsretrieve.client import Client


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(Small.made(tmp_path_factory.mktemp("client")), "--write") as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client
