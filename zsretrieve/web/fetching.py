"""Images behind URLs of clients, from public addresses alone.

Each name is resolved once, all of its addresses must be public, and the connection goes to the one that was checked; so
it is at every redirect. Otherwise a client could make the server ask what only the server reaches.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

from zsretrieve.system.version import tool_version
from zsretrieve.web.errors import HttpError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3
_CHUNK = 64 << 10
# Where a network translates, these lead to the IPv4 address in their last 32 bits (RFC 6052).
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


def is_url(text: str) -> bool:
    """Whether a term of a query is the URL of a web server."""
    return text.lower().startswith(("http://", "https://")) and not any(character.isspace() for character in text)


def is_public(address: str) -> bool:
    """Whether an address is of the public internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    if found in _TRANSLATED:
        mapped = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.is_global and not found.is_multicast and (mapped is None or mapped.is_global)


class Fetcher:
    """Fetches images.

    Parameters
    ----------
    is_allowed : bool
        Whether anything is fetched at all.
    most_bytes : int
    seconds : float
        For all of a request together, redirects included.
    is_safe : callable
        Whether the server may connect to an address.
    """

    def __init__(
        self, *, is_allowed: bool, most_bytes: int, seconds: float, is_safe: Callable[[str], bool] = is_public
    ) -> None:
        self._is_allowed = is_allowed
        self._most = most_bytes
        self._seconds = seconds
        self._is_safe = is_safe

    def fetch(self, url: str) -> bytes:
        """The bytes behind a URL. Raises HttpError."""
        if not self._is_allowed:
            raise HttpError(
                403,
                "the server does not fetch URLs",
                hint="Send the image itself; its operator allows URLs with --allow-url.",
            )
        until = time.monotonic() + self._seconds
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                answer = self._ask(url, until)
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise HttpError(400, "the URL cannot be fetched", hint="Send the image itself.") from error
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise HttpError(400, "the URL redirects too often", hint="Send the image itself.")

    def _ask(self, url: str, until: float) -> bytes | str:
        """The bytes behind a URL, or the URL that it redirects to."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise HttpError(
                400, "only http and https URLs without a password are fetched", hint="Send the image itself."
            )
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = self._resolved(parts.hostname, port)
        connection = _Pinned(parts.hostname, port, address, until, is_secure=parts.scheme == "https")
        # A timeout holds for each read alone, and a server may send a header byte by byte.
        ending = threading.Timer(max(0.0, until - time.monotonic()), connection.end)
        ending.daemon = True
        ending.start()
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {"User-Agent": f"zsretrieve/{tool_version()}", "Accept": "image/*", "Accept-Encoding": "identity"}
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as answer:
                if answer.status in _REDIRECTS:
                    return urljoin(url, answer.headers.get("Location", ""))
                if answer.status != 200:
                    raise HttpError(400, f"the URL is answered with {answer.status}", hint="Send the image itself.")
                return self._read(connection, answer, until)
        finally:
            ending.cancel()
            connection.close()

    def _resolved(self, host: str, port: int) -> str:
        addresses = [str(place[0]) for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if not addresses or not all(map(self._is_safe, addresses)):
            raise HttpError(403, "the URL is not on the public internet", hint="Send the image itself.")
        return addresses[0]

    def _read(self, connection: _Pinned, answer: http.client.HTTPResponse, until: float) -> bytes:
        content = bytearray()
        while True:
            connection.wait_until(until)
            part = answer.read1(_CHUNK)
            if not part:
                if time.monotonic() >= until:
                    raise TimeoutError
                return bytes(content)
            content += part
            if len(content) > self._most:
                raise HttpError(413, f"the image has more than {self._most:,} bytes", hint="Send a smaller one.")


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked, under the name that it was resolved from."""

    def __init__(self, host: str, port: int, address: str, until: float, *, is_secure: bool) -> None:
        super().__init__(host, port)
        self._address = address
        self._until = until
        self._context = ssl.create_default_context() if is_secure else None
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        left = max(0.001, self._until - time.monotonic())
        plain = socket.create_connection((self._address, self.port), left)
        if self._context is not None:
            secure = self._context.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = self._socket = secure
            secure.do_handshake()
        else:
            self.sock = self._socket = plain

    def end(self) -> None:
        """Let every read end now, from another thread."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def wait_until(self, until: float) -> None:
        """Let the next read take no longer than this. Raises TimeoutError if it is over."""
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        assert self._socket is not None
        self._socket.settimeout(left)  # not of ``sock``, which is None where the answer ends with the connection
