"""Servers that are busy, slow, not there, or something else."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from kits.small import Served

import zsretrieve as zs
from zsretrieve.client import Client

BUSY = (503, {"Retry-After": "1"}, {"error": {"kind": "ServerError", "message": "the server is busy", "hint": "Wait."}})
WELL = (200, {}, {"status": "ok", "version": "1"})
Answer = tuple[int, dict[str, str], object]


@contextlib.contextmanager
def answering(answers: Sequence[Answer]) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that gives these answers, the last for ever; and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_busy_server_is_asked_again() -> None:
    started = time.monotonic()
    with answering([BUSY, WELL]) as (address, asked), Client(address) as client:
        assert client.health() == "1"
    assert asked == ["/api/v1/health"] * 2
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("answer", [BUSY, (503, {}, BUSY[2]), (503, {"Retry-After": "soon"}, BUSY[2])])
def test_a_server_that_stays_busy(answer: Answer) -> None:
    with answering([answer]) as (address, asked), Client(address, patience=0.5) as client:
        with pytest.raises(zs.ServerError, match="the server is busy") as raised:
            client.health()
        assert raised.value.hint == "Wait."
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, {}, b"<html>"), "the server answers with status 404"),
        ((500, {}, {"error": "no"}), "the server answers with status 500"),
        ((302, {"Location": "/login"}, b""), "the server answers with status 302"),
        ((200, {}, b"<html>"), "the answer is not JSON"),
        ((200, {}, {"version": None, "galleries": [{}]}), "the answer is not what this version expects"),
        ((400, {}, {"error": {"kind": "SystemExit", "message": "other", "hint": None}}), "other"),
    ],
)
def test_something_else_answers(answer: Answer, message: str) -> None:
    with (
        answering([answer]) as (address, _),
        Client(address) as client,
        pytest.raises(zs.ServerError, match=message),
    ):
        client.galleries()


@pytest.mark.parametrize(("verb", "rows"), [("items", "hits"), ("duplicates", "groups")])
@pytest.mark.parametrize("lacking", ["next", "revision"])
def test_pages_of_another_version(verb: str, rows: str, lacking: str) -> None:
    page = {rows: [], "next": None, "revision": "r"}
    del page[lacking]
    with (
        answering([(200, {}, page)]) as (address, _),
        Client(address) as client,
        pytest.raises(zs.ServerError, match="the answer is not what this version expects"),
    ):
        tuple(getattr(client, verb)("shapes"))


EVENT = {"state": "done", "stage": "encoding", "done": 1, "total": 1, "changes": {}, "message": None}


@pytest.mark.parametrize(
    ("started", "event", "message"),
    [
        ({}, EVENT, "the answer is not what this version expects: 'job'"),
        ({"job": "1"}, {"state": "done"}, "the answer is not what this version expects: 'stage'"),
        ({"job": "1"}, {**EVENT, "changes": {}}, "the answer is not what this version expects: 'skipped'"),
        ({"job": "1"}, {name: EVENT[name] for name in EVENT if name != "changes"}, "expects: 'changes'"),
        ({"job": "1"}, [], "the answer is not what this version expects"),
        ({"job": "1"}, b"{", "the answer is not JSON"),
    ],
)
def test_jobs_of_another_version(started: object, event: object, message: str) -> None:
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    answers = [(200, {}, started), (200, {}, b"data: " + data + b"\n\n")]
    with (
        answering(answers) as (address, _),
        Client(address) as client,
        pytest.raises(zs.ServerError, match=message),
    ):
        client.sync("shapes")


def test_a_server_that_does_not_answer() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        with (
            Client(f"http://127.0.0.1:{port}", timeout=0.3) as client,
            pytest.raises(zs.ServerError, match="does not answer in time"),
        ):
            client.health()
    with (
        Client(f"http://127.0.0.1:{port}") as client,
        pytest.raises(zs.ServerError, match="cannot be reached") as raised,
    ):
        client.galleries()
    assert "zsretrieve serve" in (raised.value.hint or "")


@pytest.mark.parametrize("address", ["127.0.0.1:7878", "localhost", "ftp://x", "http://", "http://x:port", ""])
def test_what_is_not_an_address(address: str) -> None:
    with pytest.raises(zs.UsageError, match="is not the address of a server"):
        Client(address)


def test_the_token(served: Served) -> None:
    address, _, token = served.address.partition("/?token=")
    with Client(address, token=token + "\n") as client:
        assert len(client.galleries()) == 1
        assert token not in repr(client)
    for wrong, message in ((None, "asks for a token"), ("wrong", "wrong token")):
        with Client(address, token=wrong) as client, pytest.raises(zs.UsageError, match=message):
            client.galleries()
    with pytest.raises(zs.UsageError, match="the token is not printable ASCII"):
        Client(address, token="schlüssel")
