"""What a request may cost before it is parsed, and how long its answer may wait."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from kits.hashing_encoder import HashingEncoder
from kits.web import service_for
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.records import Changes
from zsretrieve.web.app import create_app
from zsretrieve.web.serving import _protocol
from zsretrieve.web.settings import Limits, Settings

LIMITS = Limits(receive_s=0.3, send_s=0.3, active=2, held_bytes=1000)


@pytest.fixture
def app(gallery: Path, hashing_encoder: HashingEncoder) -> Iterator[ASGIApp]:
    service = service_for(hashing_encoder, [gallery], settings=Settings(limits=LIMITS))
    yield create_app(service)
    service.close()


class Client:
    """A client that sends what it is given, and reads unless it is ``deaf``."""

    def __init__(self, path: str, parts: list[bytes], *, ends: bool = True, deaf: bool = False) -> None:
        self.scope: dict[str, Any] = {
            "type": "http", "method": "POST" if parts else "GET", "path": path, "raw_path": path.encode(),
            "query_string": b"", "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
            "scheme": "http", "http_version": "1.1", "root_path": "", "server": ("127.0.0.1", 7878),
        }  # fmt: skip
        self._parts, self._ends, self._deaf = list(parts), ends, deaf
        self.answer: list[Message] = []

    async def receive(self) -> Message:
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts) or not self._ends}
        if self._ends:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError("nothing follows")

    async def send(self, message: Message) -> None:
        if self._deaf:
            await asyncio.Event().wait()
        self.answer.append(message)

    @property
    def status(self) -> int:
        return int(self.answer[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.answer[0]["headers"])


async def ask(app: ASGIApp, client: Client) -> Client:
    await app(client.scope, client.receive, client.send)
    return client


def search(*parts: bytes, **how: bool) -> Client:
    return Client("/api/v1/galleries/photos/search", list(parts), **how)


def test_a_body_that_never_ends(app: ASGIApp) -> None:
    async def run() -> None:
        slow = await ask(app, search(b"{", ends=False))
        assert slow.status == 408
        assert slow.headers[b"connection"] == b"close"
        assert (await ask(app, search(b"{", b"}"))).status == 200

    asyncio.run(run())


def test_a_header_that_never_ends() -> None:
    """Also that of a second request, and also where something arrives now and then."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def dribbled() -> tuple[bytes, float]:
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=_protocol(Limits(idle_s=0.6)), lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof() and time.monotonic() - started < 5:
                writer.write(b"G")
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.close()
        server.should_exit = True
        await serving
        return answer, time.monotonic() - started

    answer, seconds = asyncio.run(dribbled())
    assert answer.startswith(b"HTTP/1.1 200")
    assert seconds < 5


def test_more_at_once_than_are_answered(app: ASGIApp) -> None:
    async def run() -> None:
        slow = [asyncio.ensure_future(ask(app, search(b"{", ends=False))) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused = await ask(app, Client("/api/v1/health", []))
        assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")
        assert [client.status for client in await asyncio.gather(*slow)] == [408, 408]
        assert (await ask(app, Client("/api/v1/health", []))).status == 200

    asyncio.run(run())


def test_streams_take_no_place_of_requests(gallery: Path, hashing_encoder: HashingEncoder) -> None:
    limits = Limits(active=1, streams=2)
    service = service_for(hashing_encoder, [gallery], settings=Settings(write=True, limits=limits))
    app, done = create_app(service), threading.Event()

    def work(_: OnStage) -> Changes:
        done.wait(30)
        return Changes()

    async def run() -> None:
        job = await service.jobs.start(work)
        place = f"/api/v1/jobs/{job.name}/events"
        streams = [asyncio.ensure_future(ask(app, Client(place, [], ends=False))) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert (await ask(app, Client("/api/v1/health", []))).status == 200
        refused = await ask(app, Client(place, []))
        assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")
        done.set()
        assert [client.status for client in await asyncio.gather(*streams)] == [200, 200]
        assert (await ask(app, Client(place, []))).status == 200

    asyncio.run(run())
    service.close()


def test_all_bodies_together(app: ASGIApp) -> None:
    async def run() -> None:
        slow = asyncio.ensure_future(ask(app, search(b" " * 900, ends=False)))
        await asyncio.sleep(0.05)
        assert (await ask(app, search(b" " * 200))).status == 503
        assert (await slow).status == 408
        assert (await ask(app, search(b"{}" + b" " * 900))).status == 200

    asyncio.run(run())


def test_a_client_that_reads_nothing(app: ASGIApp) -> None:
    async def run() -> None:
        for _ in range(3):
            with pytest.raises(ConnectionAbortedError):
                await ask(app, Client("/api/v1/health", [], deaf=True))
        assert (await ask(app, Client("/api/v1/health", []))).status == 200

    asyncio.run(run())


def test_a_client_that_goes_away(app: ASGIApp) -> None:
    async def run() -> None:
        gone = search(b"{", ends=False)
        asking = asyncio.ensure_future(ask(app, gone))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert gone.answer == []
        assert (await ask(app, search(b"{}"))).status == 200

    asyncio.run(run())
