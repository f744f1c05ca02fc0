"""What a server was asked to do, and what it spends at most."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field

PORT = 7878


@dataclass(frozen=True)
class Limits:
    """What a server spends at most; docs/serve.md lists the numbers.

    Sizes are in bytes and times in seconds. ``active`` requests are answered at once, and ``streams`` of the steps of
    jobs beside them; ``waiting`` wait for each pool of threads, and ``batch`` searches share one pass through the
    model. Near-duplicates are left out of the first ``distinct`` hits of a ranking, since each is compared with all
    before it. Classes that a request names may take ``prompts`` with their templates.
    """

    distinct: int = 10_000
    prompts: int = 20_000
    json_bytes: int = 4 << 20
    image_bytes: int = 32 << 20
    held_bytes: int = 512 << 20
    receive_s: float = 30.0
    send_s: float = 60.0
    idle_s: float = 20.0
    filter_s: float = 5.0
    fetch_s: float = 10.0
    stop_s: float = 15.0
    active: int = 512
    streams: int = 64
    waiting: int = 256
    batch: int = 64
    image_pixels: int = 150_000_000
    check_s: float = 0.5
    revisions: int = 4
    uploads_bytes: int = 512 << 20
    thumbnails_bytes: int = 4 << 30


@dataclass(frozen=True)
class Settings:
    """How a server is reached and what it may do.

    Parameters
    ----------
    host : str
        The address to listen on.
    port : int
    names : tuple of str
        Further host names by which browsers may reach it.
    token : str, optional
        What every request must show; None where anyone who reaches the server may use it.
    write : bool
        Whether requests may change galleries.
    fetch : bool
        Whether it fetches the URLs of query images.
    limits : Limits
    """

    host: str = "127.0.0.1"
    port: int = PORT
    names: tuple[str, ...] = ()
    token: str | None = None
    write: bool = False
    fetch: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine reach the server."""
        return is_loopback(self.host)

    @property
    def address(self) -> str:
        """The URL of the page, without the token."""
        host = self.host
        if _is_wildcard(host):
            host = "127.0.0.1" if ":" not in host else "::1"
        return _url(host, self.port)

    @property
    def network_address(self) -> str | None:
        """The URL by which other machines reach the page, without the token, if it listens on all addresses."""
        return _url(_own_address(), self.port) if _is_wildcard(self.host) else None

    def accepts_host(self, header: str) -> bool:
        """Whether a request with this ``Host`` may be answered.

        A page that turns its own name into the address of this machine still sends its own name, so names must be
        known, while addresses written as numbers are safe.
        """
        name = header.strip().lower()
        if name.startswith("["):
            name, _, port = name[1:].partition("]")
            port = port.removeprefix(":")
        else:
            name, _, port = name.partition(":")
        if port and not port.isdigit():
            return False
        if name in ("localhost", self.host.lower(), *(known.lower() for known in self.names)):
            return True
        own = socket.gethostname().lower()
        if not self.is_local and name in (own, f"{own.partition('.')[0]}.local"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.is_local


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _own_address() -> str:
    """The address of this machine in its network, or without one its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
        try:
            unsent.connect(("192.0.2.1", 9))  # for documentation (RFC 5737); this only looks up the route
        except OSError:
            return socket.gethostname()
        return str(unsent.getsockname()[0])


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
