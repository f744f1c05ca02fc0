"""What must be refused is refused, with the right status, and the server goes on."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kits.hashing_encoder import HashingEncoder
from kits.web import BASE, Running, client_of, running, service_for
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import UsageError
from zsretrieve.web.serving import read_token
from zsretrieve.web.settings import Settings

API = "/api/v1"
SEARCH = f"{API}/galleries/plain/search"
THUMBNAIL = f"{API}/galleries/plain/items/0/thumbnail"
HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("secret-place")
    (root / "photos").mkdir()
    for number in range(4):
        Image.new("RGB", (30, 30), (number * 60, 0, 90)).save(root / "photos" / f"{number}.png")
    zs.build_gallery(root / "photos", root / "plain", "demo")
    with running(root / "plain") as server:
        yield server


def request(method: str, target: str, body: bytes = b"", host: str = HERE, **headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body and "Transfer_Encoding" not in headers and "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def post(target: str, content: Any, **headers: str) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Content_Type": "application/json", **headers}
    return request("POST", target, body, **headers)


def chunked(size: int) -> bytes:
    part = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    return part * (size // 0x10000) + b"0\r\n\r\n"


def png(width: int, height: int) -> bytes:
    """The beginning of an image that says it is larger than it is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


WHERE = f"{SEARCH}?q=x&where="
CROSS = {"Sec_Fetch_Site": "cross-site"}
HOSTILE: dict[str, tuple[bytes, int]] = {
    # The name of another site that resolves to this machine.
    "no host": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "foreign host": (request("GET", "/", host="evil.example"), 400),
    "host that begins like ours": (request("GET", "/", host="127.0.0.1.evil.example"), 400),
    "host with a user": (request("GET", "/", host="127.0.0.1@evil.example"), 400),
    "host with no port": (request("GET", "/", host="127.0.0.1:80x"), 400),
    "host after brackets": (request("GET", "/", host="[::1]evil.example"), 400),
    "host of the network": (request("GET", "/", host="192.168.1.7"), 400),
    "empty host": (request("GET", "/", host=""), 400),
    "two hosts": (request("GET", "/", Host="evil.example"), 400),
    # Pages of other origins.
    "search from another site": (post(SEARCH, {"query": "x"}, **CROSS), 403),
    "search from a sibling": (post(SEARCH, {"query": "x"}, Sec_Fetch_Site="same-site"), 403),
    "search from another origin": (post(SEARCH, {"query": "x"}, Origin="http://evil.example"), 403),
    "search from another port": (post(SEARCH, {"query": "x"}, Origin="http://127.0.0.1:1"), 403),
    "search from a file": (post(SEARCH, {"query": "x"}, Origin="null"), 403),
    "upload from another site": (post(f"{API}/uploads", b"x", **CROSS), 403),
    "knn from another site": (post("/knn-service", {"text": "x"}, Content_Type="text/plain", **CROSS), 403),
    "knn behind two slashes": (post("//knn-service", {"text": "x"}, Content_Type="text/plain", **CROSS), 403),
    "image within another site": (request("GET", THUMBNAIL, Sec_Fetch_Mode="no-cors", **CROSS), 403),
    "answer in a frame": (
        request("GET", SEARCH, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe", **CROSS), 403,
    ),
    # Files of the server.
    "above the page": (request("GET", "/../../../../etc/passwd"), 404),
    "above, encoded": (request("GET", "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"), 404),
    "above, slashes encoded": (request("GET", "/..%2f..%2f..%2f..%2fetc%2fpasswd"), 404),
    "above, backslashes": (request("GET", "/..\\..\\..\\etc\\passwd"), 404),
    "from the root": (request("GET", "//etc/passwd"), 404),
    "source of the page's program": (request("GET", "/../app.py"), 404),
    "null byte": (request("GET", "/index.html%00.png"), 404),
    "gallery above": (request("GET", f"{API}/galleries/..%2f..%2fetc/items/0/image"), 404),
    "image by its path": (request("GET", f"{API}/galleries/plain/items/..%2f..%2fetc%2fpasswd/image"), 404),
    "image by a word": (request("GET", f"{API}/galleries/plain/items/passwd/image"), 422),
    "negative image": (request("GET", f"{API}/galleries/plain/items/-1/image"), 422),
    "image beyond all numbers": (request("GET", f"{API}/galleries/plain/items/{10**30}/image"), 422),
    "upload by its path": (request("GET", f"{API}/uploads/..%2f..%2fplain/thumbnail"), 404),
    "upload of no digest": (request("GET", f"{API}/uploads/{'.' * 32}/thumbnail"), 404),
    "file as an image URL": (post("/knn-service", {"image_url": "file:///etc/passwd"}), 403),
    "metadata of the network": (post("/knn-service", {"image_url": "http://169.254.169.254/latest"}), 403),
    "own port as an image URL": (post("/knn-service", {"image_url": "http://127.0.0.1:22/"}), 403),
    "URL as a query": (request("GET", f"{SEARCH}?q=http://127.0.0.1/a.png"), 403),
    # Filters.
    "two statements": (request("GET", f"{WHERE}true;drop%20table%20items"), 400),
    "reading a file": (request("GET", f"{WHERE}read_text('/etc/passwd')%20is%20not%20null"), 400),
    "query in a filter": (request("GET", f"{WHERE}(select%20true)"), 400),
    "closing the bracket": (request("GET", f"{WHERE}true)%20union%20all%20(select%20true"), 400),
    "setting in a filter": (request("GET", f"{WHERE}current_setting('memory_limit')='x'"), 400),
    "filter with many repeats": (request("GET", f"{WHERE}regexp_matches(path,'(a{{50}}){{50}}')"), 400),
    # Too much, or not what is asked for.
    "upload that says it is huge": (request("POST", f"{API}/uploads", Content_Length=str(10**12)), 413),
    "upload that is huge": (post(f"{API}/uploads", chunked(34 << 20), Transfer_Encoding="chunked"), 413),
    "search that is huge": (post("/metadata", chunked(5 << 20), Transfer_Encoding="chunked"), 413),
    "negative length": (request("POST", SEARCH, Content_Length="-1"), 400),
    "length and chunks": (post(SEARCH, b"0\r\n\r\n", Content_Length="5", Transfer_Encoding="chunked"), 400),
    "header that is huge": (request("GET", "/", X=("x" * 200_000)), 400),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "tracing": (request("TRACE", "/"), 405),
    "writing the page": (request("PUT", "/index.html", b"x"), 405),
    "another method": (request("DELETE", f"{API}/galleries/plain"), 405),
    "not JSON": (post(SEARCH, b"{"), 422),
    "nested deeply": (post(SEARCH, b"[" * 100_000), 400),
    "nested deeply for knn": (post("/knn-service", b"[" * 100_000), 400),
    "not a number": (post(SEARCH, b'{"min_score": NaN}'), 422),
    "infinite weight": (post(SEARCH, b'{"terms": [{"text": "x", "weight": Infinity}]}'), 422),
    "unknown key": (post(SEARCH, {"path": "/etc/passwd"}), 422),
    "too many hits": (post(SEARCH, {"query": "x", "k": 10**9}), 422),
    "too many terms": (post(SEARCH, {"terms": [{"text": "x"}] * 1000}), 422),
    "too long a query": (post(SEARCH, {"query": "x" * 20_000}), 422),
    "half a character": (post(SEARCH, b'{"query": "\\ud800"}'), 422),
    "weight of nothing": (post(SEARCH, {"terms": [{"text": "x", "weight": 0}]}), 400),
    "term of two kinds": (post(SEARCH, {"terms": [{"text": "x", "id": 1}]}), 400),
    "box inside out": (post(SEARCH, {"terms": [{"id": 1, "box": [0.5, 0, 0.2, 1]}]}), 400),
    "path as an upload": (post(SEARCH, {"terms": [{"upload": "../../etc/passwd"}]}), 404),
    "not base64": (post(SEARCH, {"terms": [{"image": "%%%"}]}), 400),
    "text as an image": (post(SEARCH, {"terms": [{"image": base64.b64encode(b"root").decode()}]}), 415),
    "empty upload": (request("POST", f"{API}/uploads", Content_Length="0"), 415),
    "page as an upload": (post(f"{API}/uploads", b"<script>alert(1)</script>"), 415),
    "drawing as an upload": (post(f"{API}/uploads", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 415),
    "image that grows": (post(f"{API}/uploads", png(100_000, 100_000)), 415),
    "wide image that grows": (post(f"{API}/uploads", png(2**31 - 1, 1)), 415),
    "vector of another length": (post("/knn-service", {"embedding_input": [1.0] * 3}), 400),
    "vector of nothing": (post("/knn-service", {"embedding_input": [0.0] * 128}), 400),
    "vector of words": (post("/knn-service", {"embedding_input": ["x"] * 128}), 400),
    "ids of words": (post("/metadata", {"ids": ["0"]}), 400),
    "too many ids": (post("/metadata", {"ids": [0] * 100_000}), 400),
}  # fmt: skip


def exchange(server: Running, sent: bytes) -> bytes:
    with server.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was refused before its end
            connection.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                answer += part
        return answer


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests(server: Running, name: str) -> None:
    sent, status = HOSTILE[name]
    answer = exchange(server, sent)
    assert answer[:12] == f"HTTP/1.1 {status}".encode(), answer[:600]
    for secret in (b"root:", b"secret-place", b"Traceback", b"site-packages", b"zsretrieve/"):
        assert secret not in answer
    health = exchange(server, request("GET", f"{API}/health"))
    assert health.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("query", ["/etc/passwd", "./0.png", "0.png", "file:///etc/passwd", "a\0b"])
def test_names_of_files_are_only_text(server: Running, query: str) -> None:
    answer = exchange(server, post(SEARCH, {"query": query, "k": 1}))
    assert answer.startswith(b"HTTP/1.1 200 OK"), answer
    terms = json.loads(answer.partition(b"\r\n\r\n")[2])["terms"]
    assert [term["text"] for term in terms] == [query]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7878", "localhost:1", "LOCALHOST", "[::1]:7878", "[::1]"])
def test_our_own_names(server: Running, host: str) -> None:
    assert exchange(server, request("GET", f"{API}/health", host=host)).startswith(b"HTTP/1.1 200")


def test_links_from_other_sites_open_the_page_and_images(server: Running) -> None:
    headers = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document", **CROSS}
    for target in ("/", "/?q=a+cat", THUMBNAIL):
        assert exchange(server, request("GET", target, **headers)).startswith(b"HTTP/1.1 200")


def test_every_answer_has_its_headers(server: Running) -> None:
    page = "default-src 'none'; script-src 'self'; style-src 'self'"
    for target, policy in (
        ("/", page),
        (f"{API}/health", "default-src 'none'; frame-ancestors 'none'"),
        (THUMBNAIL, "default-src 'none'; frame-ancestors 'none'"),
        ("/nothing", page),
        ("/indices-list", "default-src 'none'"),
    ):
        answer = exchange(server, request("GET", target)).partition(b"\r\n\r\n")[0].decode().lower()
        assert f"content-security-policy: {policy}" in answer
        assert "x-content-type-options: nosniff" in answer
        assert "referrer-policy: no-referrer" in answer
        assert re.search(r"content-security-policy:[^\r]*unsafe", answer) is None
        assert "access-control-allow-origin" not in answer
        assert "\r\nserver:" not in answer


class TestToken:
    TOKEN = "a-token-that-nobody-guesses"

    @pytest.fixture
    def asking(self, gallery: Path, hashing_encoder: HashingEncoder) -> Iterator[Any]:
        with client_of(service_for(hashing_encoder, [gallery], settings=Settings(token=self.TOKEN))) as client:
            yield client

    def test_everything_but_health_asks_for_it(self, asking: Any) -> None:
        for place in ("/", f"{API}/galleries", f"{API}/openapi.json", "/metrics", "/indices-list", "/config.json"):
            answer = asking.get(place)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), place
        assert asking.get(f"{API}/health").status_code == 200

    def test_a_browser_reads_a_page_that_says_so(self, asking: Any) -> None:
        for place, problem in (("/", "This server asks for a token"), ("/?token=x", "Wrong token")):
            answer = asking.get(place, headers={"Accept": "text/html,*/*;q=0.8"})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert f"<h1>{problem}" in answer.text
            assert "Open the address that the server printed" in answer.text
            assert self.TOKEN not in answer.text
        for place, accepted in (("/", "*/*"), (f"{API}/galleries", "text/html")):
            answer = asking.get(place, headers={"Accept": accepted})
            assert answer.json()["error"]["message"] == "this server asks for a token"

    @pytest.mark.parametrize("given", ["", "Bearer", "Bearer x", "Basic a-token-that-nobody-guesses", "Bearer é"])
    def test_another_one_is_refused(self, asking: Any, given: str) -> None:
        answer = asking.get(f"{API}/galleries", headers={"Authorization": given.encode()})
        assert answer.status_code == 401

    def test_programs_send_it_in_a_header(self, asking: Any) -> None:
        headers = {"Authorization": f"Bearer {self.TOKEN}", "Sec-Fetch-Site": "cross-site"}
        assert asking.post(f"{API}/galleries/photos/search", json={}, headers=headers).status_code == 200

    def test_browsers_get_a_cookie_and_go_on_without_it(self, asking: Any) -> None:
        first = asking.get("/", params={"q": "a cat", "token": self.TOKEN})
        assert (first.status_code, first.headers["location"]) == (303, "/?q=a+cat")
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert self.TOKEN not in cookie
        assert asking.get(f"{API}/galleries").status_code == 200
        answer = asking.post(f"{API}/galleries/photos/search", json={}, headers={"Sec-Fetch-Site": "same-site"})
        assert answer.status_code == 403

    def test_the_address_leads_nowhere_else(self, asking: Any) -> None:
        answer = asking.get(f"{BASE}//evil.example/?token={self.TOKEN}")
        assert answer.headers["location"] == "/evil.example/"
        assert asking.get("/?token=wrong").status_code == 401

    def test_a_cookie_of_another_token_is_refused(self, asking: Any) -> None:
        for cookie in ("zsretrieve-7878=x", "zsretrieve-7878", "=;;=", 'zsretrieve-7878="'):
            assert asking.get(f"{API}/galleries", headers={"Cookie": cookie}).status_code == 401


def test_names_that_are_allowed(gallery: Path, hashing_encoder: HashingEncoder) -> None:
    settings = Settings("0.0.0.0", names=("photos.example",), token="x" * 20)
    with client_of(service_for(hashing_encoder, [gallery], settings=settings)) as client:
        for host, status in (
            ("photos.example", 200), ("photos.example:80", 200), ("192.168.1.7:7878", 200), ("[fe80::1]", 200),
            ("other.example", 400), (socket.gethostname(), 200), (f"{socket.gethostname()}.local:7878", 200),
        ):  # fmt: skip
            assert client.get(f"{API}/health", headers={"Host": host}).status_code == status, host


def test_what_was_sent_is_kept_by_its_content_alone(server: Running) -> None:
    data = io.BytesIO()
    Image.new("RGB", (9, 9), "green").save(data, "PNG")
    answer = exchange(server, post(f"{API}/uploads", data.getvalue(), Content_Type="text/html"))
    name = json.loads(answer.partition(b"\r\n\r\n")[2])["upload"]
    shown = exchange(server, request("GET", f"{API}/uploads/{name}/thumbnail"))
    assert b"content-type: image/jpeg" in shown


def test_a_token_file_that_is_missing_hints_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file") as caught:
        read_token(tmp_path / "my token")
    made = f"> '{tmp_path / 'my token'}'"
    assert "print(secrets.token_urlsafe())" in str(caught.value.hint)
    assert str(caught.value.hint).endswith(made)
