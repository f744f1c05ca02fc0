"""A real server: many clients at once, slow ones, an index that changes, and the end."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from kits.waiting import PATIENCE_S, eventually
from kits.web import Running, running
from PIL import Image

import zsretrieve as zs
from zsretrieve.web.serving import open_page

API = "/api/v1"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("followed") / "photos"
    root.mkdir()
    for number in range(12):
        Image.new("RGB", (30, 30), (number * 20, 0, 90)).save(root / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def index(photos: Path) -> Path:
    zs.build_gallery(photos, photos.parent / "followed", "demo")
    return photos.parent / "followed"


@pytest.fixture(scope="module")
def server(index: Path) -> Iterator[Running]:
    with running(index) as server:
        yield server


def request(target: str, body: bytes | None = None) -> bytes:
    head = f"{'GET' if body is None else 'POST'} {target} HTTP/1.1\r\nHost: localhost\r\n"
    return f"{head}Content-Length: {len(body or b'')}\r\n\r\n".encode() + (body or b"")


def search(server: Running, query: str, **more: object) -> httpx.Response:
    return httpx.post(
        f"{server.address}{API}/galleries/followed/search", json={"query": query, **more}, timeout=PATIENCE_S
    )


def test_concurrent_searches_are_those_of_one(server: Running) -> None:
    words = ["red", "green", "a blue circle", "night", "pink", "a star"]
    alone = {word: search(server, word, k=5).json()["hits"] for word in words}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: (words[n % 6], search(server, words[n % 6], k=5)), range(96)))
    for word, answer in answers:
        assert answer.json()["hits"] == alone[word]
    figures = httpx.get(f"{server.address}/metrics").text
    passes = float(next(line for line in figures.splitlines() if line.startswith("zsretrieve_batch_size_count"))[28:])
    searches = float(next(line for line in figures.splitlines() if line.startswith("zsretrieve_batch_size_sum"))[26:])
    assert searches == 102
    assert passes < searches


def test_a_changed_index_is_served_without_an_error(
    server: Running, photos: Path, index: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    failed: list[str] = []
    sizes: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=PATIENCE_S) as client:
            while not ended.is_set():
                answer = client.get(f"{server.address}{API}/galleries/followed/search", params={"q": "red", "k": 50})
                if answer.status_code == 200:
                    sizes.append(answer.json()["n_images"])
                else:
                    failed.append(answer.text)

    first = search(server, "red", k=5).json()
    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        for number in range(12, 15):
            Image.new("RGB", (30, 30), (0, number * 10, 90)).save(photos / f"{number:02}.png")
            for verb in ("sync", "compact"):
                assert run_cli("index", verb, index).returncode == 0
        eventually(lambda: failed or sizes[-1:] == [15])
    finally:
        ended.set()
        for asker in askers:
            asker.join()
    assert failed == []
    assert sizes[0] == 12
    assert sizes[-1] == 15
    # A client turns the pages of what it began with, or hears that this is over.
    rest = search(server, "red", k=50, offset=5, revision=first["revision"])
    if rest.status_code == 200:
        assert len(rest.json()["hits"]) == 7
    else:
        assert rest.status_code == 409
    latest = search(server, "red", k=5).json()
    rest = search(server, "red", k=50, offset=5, revision=latest["revision"])
    assert len({hit["id"] for hit in latest["hits"] + rest.json()["hits"]}) == 15


def test_a_damaged_index_is_not_taken_up(index: Path, tmp_path: Path, photos: Path) -> None:
    zs.build_gallery(photos, tmp_path / "damaged", "demo")
    with running(tmp_path / "damaged") as server:
        (tmp_path / "damaged" / "manifest.json").write_text("{}")
        time.sleep(1.5)
        answer = httpx.get(f"{server.address}{API}/galleries/damaged/search", params={"q": "red"}, timeout=PATIENCE_S)
        assert answer.status_code == 200


def test_slow_clients_hold_nobody(server: Running) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(300):
            slow = stack.enter_context(contextlib.closing(server.connect()))
            # Half of a head, half of a body, or an answer that is never read.
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            slow.sendall(
                (b"GET /api/v1/health HT", request(f"{API}/uploads", b"x" * 100)[:-50], request(f"{API}/openapi.json"))[
                    number % 3
                ]
            )
        started = time.monotonic()
        assert search(server, "red").status_code == 200
        assert time.monotonic() - started < 15  # they are dropped after 20 seconds


def test_a_filter_is_ended_and_holds_nobody(server: Running) -> None:
    paths = ",".join(["path"] * 120)
    slow = f"regexp_matches(concat({paths}), '((a?){{8}}(a?){{8}}x)+b')"
    with ThreadPoolExecutor(8) as pool:
        hostile = [pool.submit(search, server, "red", where=f"{slow} or id = {n}") for n in range(6)]
        assert search(server, "red").status_code == 200
        assert not all(answer.done() for answer in hostile), "it need not wait for them"
        assert {answer.result().status_code for answer in hostile} <= {200, 400, 503}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_are_finished_and_new_ones_refused(index: Path, number: int) -> None:
    with running(index) as server, contextlib.closing(server.connect()) as slow:
        slow.sendall(request(f"{API}/galleries/followed/search", b"{}")[:-1])  # one byte is missing
        time.sleep(0.3)
        server.process.send_signal(number)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                server.connect().close()
            except OSError:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("it still listens")
        slow.sendall(b"}")
        answer = slow.recv(1 << 20)
        assert answer.startswith(b"HTTP/1.1 ")
        assert server.process.wait(20) == 0
        assert server.process.stderr is not None
        assert "Traceback" not in server.process.stderr.read()


def test_a_port_in_use(server: Running, index: Path) -> None:
    command = [sys.executable, "-m", "zsretrieve", "serve", str(index), "--no-open", "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert f"error: the port {server.port} of 127.0.0.1 is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_address_holds_the_token_where_one_is_needed(index: Path) -> None:
    with running(index, "--write") as server:
        address, _, token = server.address.partition("/?token=")
        assert len(token) >= 32
        assert httpx.get(f"{address}{API}/galleries").status_code == 401
        answer = httpx.get(f"{address}{API}/galleries", headers={"Authorization": f"Bearer {token}"})
        assert json.loads(answer.content)["read_only"] is False


@pytest.mark.parametrize(
    ("content", "message"),
    [("short", "is not one of at least 16"), ("é" * 20, "it is not ASCII"), (None, "cannot be read")],
)
def test_a_file_that_holds_no_token(index: Path, tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    command = [sys.executable, "-m", "zsretrieve", "serve", str(index), "--token-file", str(tmp_path / "token")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_folders_are_indexed_first(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSRETRIEVE_DATA", str(tmp_path / "data"))
    with running(photos, "--build", "--model", "demo", "--no-warm") as server:
        (found,) = httpx.get(f"{server.address}{API}/galleries").json()["galleries"]
        assert (found["name"], found["n_images"], found["model"]) == ("photos", len(list(photos.iterdir())), "demo")
        answer = httpx.get(f"{server.address}{API}/galleries/photos/search", params={"q": "red"}, timeout=PATIENCE_S)
        assert len(answer.json()["hits"]) == found["n_images"]


def test_the_token_is_not_in_the_arguments_of_the_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    open_page("http://127.0.0.1:7878/?token=secret&x")
    assert "secret" not in opened[0]
    (file,) = tmp_path.iterdir()
    assert "http://127.0.0.1:7878/?token=secret&amp;x" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    open_page("http://127.0.0.1:7878/")
    assert opened[1] == "http://127.0.0.1:7878/"


def test_on_all_addresses_that_of_the_network_is_printed_too(index: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zsretrieve", "serve", str(index), "--host", "0.0.0.0", "--port", "0", "--no-warm"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        local = server.stdout.readline().split()[-1]
        noted = server.stderr.readline().split()
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    assert noted[:-1] == ["on", "your", "network:"]
    assert urlsplit(noted[-1])[2:] == urlsplit(local)[2:], "the path and the token"
    assert urlsplit(noted[-1]).port == urlsplit(local).port
