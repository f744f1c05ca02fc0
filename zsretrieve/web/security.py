"""What every request passes before it is answered, and every answer before it is sent.

``Guard`` knows who asks: the host name, the token, and the page that a browser is on. ``Bounds`` limits what a request
may cost before any of it is parsed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from collections import Counter
from collections.abc import MutableMapping
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zsretrieve.web.errors import HttpError, body_of, overloaded
from zsretrieve.web.settings import Settings

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
)
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Data for programs; everything else is part of the page.
_DATA = ("/api/", "/knn-service", "/metadata", "/indices-list", "/config.json", "/metrics")
_REFERENCE = "/api/v1/reference"
_OPEN = frozenset({"/api/v1/health"})
_HTML = "text/html; charset=utf-8"
_STREAM = re.compile(r"/api/v1/jobs/[^/]*/events")
_WITH_IMAGES = ("/search", "/classify", "/knn-service")


def is_data(path: str) -> bool:
    """Whether an address is of the API, whose answers no page may run or frame."""
    return f"/{path.lstrip('/')}".startswith(_DATA) and path != _REFERENCE


class Guard:
    """Refuses requests by other names, without the token, or from other origins; adds the headers of every answer."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._cookie = f"zsretrieve-{settings.port}"
        token = settings.token
        # The cookie does not hold the token itself, which also opens the API to programs.
        self._ticket = None if token is None else hashlib.sha256(f"cookie\0{token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # there are none here
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        path = scope["path"]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers["Content-Security-Policy"] = _DATA_POLICY if is_data(path) else _PAGE_POLICY
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            entry = self._entry(scope)
            if entry is not None:
                await _answer(with_headers, 303, b"", entry)
                return
            self._check_token(path, headers)
            self._check_origin(scope, headers)
        except HttpError as error:
            if error.status == 401 and not is_data(path) and "text/html" in headers.get("accept", ""):
                await _answer(with_headers, 401, _entrance(error), error.headers | {"content-type": _HTML})
            else:
                await refuse(with_headers, error)
            return
        await self._app(scope, receive, with_headers)

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._settings.accepts_host(hosts[0]):
            raise HttpError(
                400, "the server does not answer to this host name", hint="Its operator allows one with --allow-host."
            )

    def _entry(self, scope: Scope) -> dict[str, str] | None:
        """Where a browser goes on that came with the token in the address: there without it, with a cookie."""
        if self._ticket is None or scope["method"] != "GET" or is_data(scope["path"]):
            return None
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in pairs if name == "token"), None)
        if given is None:
            return None
        self._compare(given)
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        # The path of this server alone: two slashes would begin a host name.
        place = "/" + quote(scope["path"].lstrip("/\\"))
        return {
            "location": f"{place}?{rest}" if rest else place,
            "set-cookie": f"{self._cookie}={self._ticket}; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000",
            "cache-control": "no-store",
        }

    def _check_token(self, path: str, headers: Headers) -> None:
        if self._ticket is None or path in _OPEN:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            self._compare(given.strip())
            return
        if secrets.compare_digest(self._cookie_of(headers).encode(), self._ticket.encode()):
            return
        raise _no_token("this server asks for a token")

    def _cookie_of(self, headers: Headers) -> str:
        for header in headers.getlist("cookie"):
            try:
                cookie = SimpleCookie(header)
            except CookieError:
                continue
            if self._cookie in cookie:
                return cookie[self._cookie].value
        return ""

    def _compare(self, given: str) -> None:
        if not secrets.compare_digest(given.encode(), (self._settings.token or "").encode()):
            raise _no_token("wrong token")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Refuse what a page of another origin makes a browser send."""
        if headers.get("authorization") and "cookie" not in headers:
            return  # no browser adds this by itself
        path, method = scope["path"], scope["method"]
        site = headers.get("sec-fetch-site")
        origin = headers.get("origin")
        if site is not None:
            own = site in ("same-origin", "none")
        elif origin is not None:
            own = urlsplit(origin).netloc.lower() == headers["host"].lower()
        else:
            return  # not a browser
        is_link = method in _SAFE and headers.get("sec-fetch-mode") == "navigate"
        if own or (is_link and headers.get("sec-fetch-dest") == "document"):
            return
        if method in _SAFE and not is_data(path):
            return
        raise HttpError(403, "cross-site request refused", hint="Open the server's own page.")


class Bounds:
    """Counts and times what a request sends before anything parses it, and what its answer waits for."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._limits = settings.limits
        self._active: Counter[bool] = Counter()
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A stream stays open for as long as its job takes, and must not take the place of requests.
        is_stream = _STREAM.fullmatch(scope["path"]) is not None
        if self._active[is_stream] >= (self._limits.streams if is_stream else self._limits.active):
            await refuse(send, overloaded())
            return
        self._active[is_stream] += 1
        body = b""
        try:
            if scope["method"] not in _SAFE:
                body = await self._body(scope, receive)
            await self._app(scope, _once(body, receive), self._timed(send))
        except HttpError as error:  # of the body alone: those of the application are answered there
            await refuse(send, error, {"connection": "close"})
        except TimeoutError:
            # The client does not take its answer; what was begun cannot be ended well.
            raise ConnectionAbortedError("the client does not read") from None
        finally:
            self._held -= len(body)
            self._active[is_stream] -= 1

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limits, path = self._limits, scope["path"]
        most = limits.json_bytes
        if path.endswith("/uploads"):
            most = limits.image_bytes
        elif path.endswith(_WITH_IMAGES):
            most = limits.json_bytes + limits.image_bytes * 4 // 3
        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:  # a proxy may read another end of the body
            raise HttpError(400, "the request has two lengths")
        announced = headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > most:
            raise _too_large(most)
        body = bytearray()
        try:
            async with asyncio.timeout(limits.receive_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise HttpError(400, "the request ends before its body does")
                    part = message.get("body", b"")
                    if len(body) + len(part) > most:
                        raise _too_large(most)
                    if self._held + len(part) > limits.held_bytes:
                        raise overloaded()
                    body += part
                    self._held += len(part)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            self._held -= len(body)
            raise HttpError(408, "the request takes too long to arrive", hint="Send it faster, or less.") from None
        except BaseException:
            self._held -= len(body)
            raise

    def _timed(self, send: Send) -> Send:
        async def timed(message: Message) -> None:
            async with asyncio.timeout(self._limits.send_s):
                await send(message)

        return timed


def _once(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the whole body, then what the server says later: that the client has gone."""
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _too_large(most: int) -> HttpError:
    return HttpError(413, f"the request has more than {most:,} bytes", hint="Send less at once.")


def _no_token(message: str) -> HttpError:
    hint = "Open the address that the server printed, or send it as: Authorization: Bearer TOKEN."
    return HttpError(401, message, hint=hint, headers={"WWW-Authenticate": "Bearer"})


def _entrance(error: HttpError) -> bytes:
    """What a person reads who opens the page without the token."""
    return f"""<!doctype html>
<html lang="en">
<head><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>zsretrieve</title></head>
<body><h1>{escape(error.message.capitalize())}</h1>
<p>Open the address that the server printed when it started. It contains the token.</p></body>
</html>
""".encode()


async def refuse(send: Send, error: HttpError, more: dict[str, str] | None = None) -> None:
    """Answer with an error."""
    headers = {name.lower(): value for name, value in error.headers.items()} | (more or {})
    content = json.dumps(body_of(error)).encode()
    await _answer(send, error.status, content, headers | {"content-type": "application/json"})


async def _answer(send: Send, status: int, content: bytes, headers: MutableMapping[str, Any]) -> None:
    headers["content-length"] = str(len(content))
    raw = [(name.encode("latin-1"), str(value).encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
