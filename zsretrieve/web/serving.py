"""Running a server: the port, the address with the token, the browser, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import shlex
import signal
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.settings import Shards
from zsretrieve.encoders.loading import Model
from zsretrieve.web.app import create_app
from zsretrieve.web.service import Service, open_service
from zsretrieve.web.settings import Limits, Settings

_TRIED_PORTS = 20
_LEAST_TOKEN = 16


@dataclass(frozen=True)
class Asked:
    """What ``zsretrieve serve`` was asked for.

    ``galleries`` and ``prototypes`` are folders or ``@NAME``s. Without ``is_port_wanted`` the next free port does too.
    With ``shards`` galleries are on a cluster.
    """

    galleries: tuple[str, ...]
    prototypes: tuple[str, ...]
    settings: Settings
    is_port_wanted: bool = False
    open_browser: bool = False
    warm: bool = True
    shards: Shards | None = None


def serve(asked: Asked, model: Model, on_ready: Callable[[str, Service], None]) -> None:
    """Open everything, listen, and answer until SIGINT or SIGTERM; then running requests are finished.

    ``on_ready`` is called with the address, which holds the token if there is one, once requests are answered.

    Raises
    ------
    UsageError
        If the address cannot be listened on.
    IndexFormatError, IntegrityError
        If an index is not sound.
    ClusterError
        If the cluster cannot be reached or has no room.
    """
    listening, settings = _listen(asked.settings, is_wanted=asked.is_port_wanted)
    with contextlib.closing(listening):
        service = open_service(asked.galleries, asked.prototypes, model, settings, asked.shards)
        address = with_token(settings.address, settings.token)

        def ready() -> None:
            if asked.warm:
                service.warm()
            on_ready(address, service)
            if asked.open_browser:
                threading.Thread(target=open_page, args=(address,), name="browser", daemon=True).start()

        limits = settings.limits
        config = uvicorn.Config(
            create_app(service), http=_protocol(limits), ws="none", loop="asyncio", lifespan="on", log_config=None,
            access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=int(limits.idle_s),
            timeout_graceful_shutdown=int(limits.stop_s), h11_max_incomplete_event_size=64 << 10,
        )  # fmt: skip
        _Server(config, ready, service.jobs.stopping.set).run([listening])


def with_token(address: str, token: str | None) -> str:
    """The URL of the page that opens it."""
    return address if token is None else f"{address}?token={quote(token, safe='')}"


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def read_token(file: Path) -> str:
    """The token in a file, which may end with a newline.

    Raises
    ------
    UsageError
        If it cannot be read, or is too short or not of printable ASCII.
    """
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise UsageError(f"the token in '{file}' cannot be read: {reason}", hint=_make_token(file)) from error
    if len(token) < _LEAST_TOKEN or not token.isprintable() or " " in token:
        raise UsageError(
            f"the token in '{file}' is not one of at least {_LEAST_TOKEN} printable characters without spaces",
            hint=_make_token(file),
        )
    return token


def _make_token(file: Path) -> str:
    return f"Make one: python -c 'import secrets; print(secrets.token_urlsafe())' > {shlex.quote(str(file))}"


def _listen(settings: Settings, *, is_wanted: bool) -> tuple[socket.socket, Settings]:
    """A socket that listens, and the settings with its port."""
    ports = [settings.port] if is_wanted or not settings.port else range(settings.port, settings.port + _TRIED_PORTS)
    for port in ports:
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0]
            listening = socket.socket(family, kind, protocol)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind(place)
                listening.listen(1024)
            except OSError:
                listening.close()
                raise
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port != ports[-1]:
                continue
            if error.errno == errno.EADDRINUSE:
                raise UsageError(
                    f"the port {port} of {settings.host} is in use", hint="Give another with --port, or 0 for any."
                ) from error
            raise UsageError(
                f"the server cannot listen on '{settings.host}': {(error.strerror or str(error)).lower()}",
                hint="Give an address of this machine with --host, and a port above 1023.",
            ) from error
        return listening, replace(settings, port=listening.getsockname()[1])
    raise AssertionError("there is always a port to try")


class _Server(uvicorn.Server):
    """Ends quietly on a signal, and says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready, self._ending = ready, ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._ending()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn's own raises the signal again at the end, as if the process had been killed.
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number])


def _protocol(limits: Limits) -> type[asyncio.Protocol]:
    """HTTP on a connection that is ended if a request does not begin or its header does not end in time.

    Uvicorn ends connections on which nothing arrives between requests, and waits for ever for the rest of a header.
    """

    class Protocol(H11Protocol):
        _ending: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._ending = self.loop.call_later(limits.idle_s, self._end)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stay()
            elif self._ending is None:
                self._ending = self.loop.call_later(limits.idle_s, self._end)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stay()
            super().connection_lost(exc)

        def _stay(self) -> None:
            if self._ending is not None:
                self._ending.cancel()
                self._ending = None

        def _end(self) -> None:
            self._ending = None
            if not self.transport.is_closing():
                self.transport.abort()

    return Protocol


def open_page(address: str) -> None:
    """Show the page. The token must not be in the arguments of the browser's process, which all users can read."""
    if "?token=" not in address:
        webbrowser.open(address)
        return
    handle, name = tempfile.mkstemp(prefix="zsretrieve-", suffix=".html")  # for this user alone
    with os.fdopen(handle, "w") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(address)}">')
    webbrowser.open(Path(name).as_uri())
    remover = threading.Timer(60, Path(name).unlink, kwargs={"missing_ok": True})
    remover.daemon = True
    remover.start()
