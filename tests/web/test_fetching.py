"""URLs of clients lead to the public internet alone."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from kits.servers import Redirects, serving
from PIL import Image

from zsretrieve.web.errors import HttpError
from zsretrieve.web.fetching import Fetcher, is_public, is_url


def fetcher(**changes: object) -> Fetcher:
    return Fetcher(**{"is_allowed": True, "most_bytes": 1 << 20, "seconds": 5.0, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    Image.new("RGB", (20, 10), "red").save(folder / "red.png")
    (folder / "large").write_bytes(b"x" * (2 << 20))
    with serving(folder, Redirects) as address:
        yield address


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
     "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
     "2002:7f00:1::", "ff02::1", "64:ff9b::7f00:1", "64:ff9b::a00:1"],
)  # fmt: skip
def test_internal_addresses(address: str) -> None:
    assert not is_public(address)


def test_public_addresses() -> None:
    assert is_public("93.184.215.14")
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a.png", "http://localhost/a.png", "http://[::1]/a.png", "http://2130706433/a.png",
     "http://0x7f000001/a.png", "http://127.1/a.png", "http://0/a.png", "http://169.254.169.254/latest/meta-data"],
)  # fmt: skip
def test_urls_of_this_machine_and_its_network(url: str) -> None:
    with pytest.raises(HttpError, match="not on the public internet"):
        fetcher().fetch(url)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.org/a", "gopher://example.org/", "http://user:word@example.org/", "http://",
     "http://example.org:99999/", "//example.org/a", "data:image/png;base64,AAAA"],
)  # fmt: skip
def test_other_urls(url: str) -> None:
    with pytest.raises(HttpError) as refused:
        fetcher().fetch(url)
    assert refused.value.status == 400


def test_nothing_is_fetched_unless_it_is_allowed(site: str) -> None:
    with pytest.raises(HttpError, match="does not fetch URLs") as refused:
        fetcher(is_allowed=False, is_safe=lambda _: True).fetch(f"{site}/red.png")
    assert refused.value.status == 403


def test_an_image(site: str) -> None:
    data = fetcher(is_safe=lambda _: True).fetch(f"{site}/red.png")
    assert Image.open(io.BytesIO(data)).size == (20, 10)


def test_redirects_are_checked_like_the_first(site: str) -> None:
    checked: list[str] = []

    def is_safe(address: str) -> bool:
        checked.append(address)
        return len(checked) < 2

    with pytest.raises(HttpError, match="not on the public internet"):
        fetcher(is_safe=is_safe).fetch(f"{site}/to/127.0.0.1/red.png")
    assert len(checked) == 2
    through = fetcher(is_safe=lambda _: True).fetch(f"{site}/to/127.0.0.1/red.png")
    assert Image.open(io.BytesIO(through)).size == (20, 10)
    with pytest.raises(HttpError, match="too often"):
        fetcher(is_safe=lambda _: True).fetch(f"{site}{'/to/127.0.0.1' * 5}/red.png")


def test_the_address_that_was_checked_is_the_one(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has another address the second time leads nowhere else."""
    port = int(site.rpartition(":")[2])
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        assert asked.count("images.example") == 1 or host != "images.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert fetcher(is_safe=lambda _: True).fetch(f"http://images.example:{port}/red.png")


def test_too_large(site: str) -> None:
    with pytest.raises(HttpError) as refused:
        fetcher(is_safe=lambda _: True).fetch(f"{site}/large")
    assert refused.value.status == 413


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "], ids=["body", "header"])
def test_too_slow(head: bytes) -> None:
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(head)
                while not ended.wait(0.05):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        dripping = threading.Thread(target=drip)
        dripping.start()
        started = time.monotonic()
        try:
            with pytest.raises(HttpError, match="cannot be fetched"):
                fetcher(is_safe=lambda _: True, seconds=0.5).fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        finally:
            ended.set()
            dripping.join()
    assert time.monotonic() - started < 3


def test_what_is_a_url() -> None:
    assert is_url("https://example.org/a.png")
    assert not is_url("a http://example.org/a.png")
    assert not is_url("file:///etc/passwd")
