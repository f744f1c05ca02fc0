"""Requests to a server: their token, time limits and errors, and waiting while the server is busy."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import httpx

from zsretrieve.domain import errors
from zsretrieve.domain.errors import ServerError, UsageError, ZsRetrieveError
from zsretrieve.domain.wording import one_line

_CONNECT_S = 10.0
_LEAST_WAIT_S, _SILENT_S = 0.1, 30.0
_HINT = "Check the address, and that zsretrieve serve is running there."
_KINDS = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ZsRetrieveError)
}


class Connection:
    """Requests to one server, from any thread.

    Parameters
    ----------
    address : str
        ``http://HOST:PORT``, or with the token as the server prints it.
    token : str, optional
    timeout : float
        Seconds to wait for each answer, and for each part of one.
    patience : float
        Seconds to go on asking while the server says that it is busy.

    Raises
    ------
    UsageError
        If the address is not one of HTTP.
    """

    def __init__(self, address: str, token: str | None, timeout: float, patience: float) -> None:
        parts = _parts(address)
        token = (token or parse_qs(parts.query).get("token", [""])[0]).strip()
        if not (token.isascii() and (token.isprintable() or not token)):
            raise UsageError("the token is not printable ASCII", hint="Give it as the server printed it.")
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._patience = patience
        self._timeout = timeout
        self._http = httpx.Client(
            base_url=f"{self.address}/api/v1/",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_S)),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at an address; parameters that are None are left out. Raises ZsRetrieveError."""
        return _json(self._answer("GET", path, params=_given(params)))

    def post(self, path: str, body: Mapping[str, Any] | bytes) -> Any:
        """The JSON that answers a body. Raises ZsRetrieveError."""
        if isinstance(body, bytes):
            return _json(self._answer("POST", path, content=body))
        # In ASCII: a text may hold what UTF-8 cannot.
        content = json.dumps(body, allow_nan=False).encode("ascii")
        return _json(self._answer("POST", path, content=content, headers={"Content-Type": "application/json"}))

    def content(self, path: str, **params: Any) -> bytes:
        """The bytes at an address. Raises ZsRetrieveError."""
        return self._answer("GET", path, params=_given(params)).content

    def events(self, path: str) -> Iterator[dict[str, Any]]:
        """The records of server-sent events, until the server ends them. Raises ZsRetrieveError."""
        # A server that has nothing to report says so every ten seconds.
        with contextlib.closing(
            self._answer("GET", path, stream=True, timeout=max(self._timeout, _SILENT_S))
        ) as answer:
            try:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
            except httpx.HTTPError as error:
                raise self._unanswered(error) from error
            except ValueError as error:
                raise ServerError("the answer is not JSON", hint=_HINT) from error

    def _answer(self, method: str, path: str, *, stream: bool = False, **what: Any) -> httpx.Response:
        until = time.monotonic() + self._patience
        while True:
            try:
                answer = self._http.send(self._http.build_request(method, path, **what), stream=stream)
                if not answer.is_success:
                    answer.read()
            except httpx.HTTPError as error:
                raise self._unanswered(error) from error
            except UnicodeEncodeError as error:
                raise UsageError("an argument is not UTF-8", hint="Check the filter and the names.") from error
            if answer.is_success:
                return answer
            wait = _wait(answer)
            if wait is None or time.monotonic() + wait > until:
                raise _error(answer)
            time.sleep(wait)

    def _unanswered(self, error: httpx.HTTPError) -> ServerError:
        if isinstance(error, httpx.TimeoutException):
            return ServerError(f"{self.address} does not answer in time", hint="Try again, or give a longer timeout.")
        return ServerError(f"{self.address} cannot be reached: {one_line(error) or type(error).__name__}", hint=_HINT)


def _parts(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise UsageError(f"'{address}' is not the address of a server", hint="Give one such as http://127.0.0.1:7878.")


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _wait(answer: httpx.Response) -> float | None:
    """The seconds after which a busy server wants to be asked again; None if asking again is of no use."""
    seconds = answer.headers.get("retry-after", "")
    if answer.status_code != 503 or not (seconds.isascii() and seconds.isdigit()):
        return None
    return max(float(seconds), _LEAST_WAIT_S)


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise ServerError("the answer is not JSON", hint=_HINT) from error


def _error(answer: httpx.Response) -> ZsRetrieveError:
    """The error of the library that an answer reports."""
    try:
        content = answer.json()["error"]
        kind, message, hint = _KINDS.get(content.get("kind"), ServerError), content["message"], content.get("hint")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ServerError(f"the server answers with status {answer.status_code}", hint=_HINT)
    return kind(message, hint=hint)
