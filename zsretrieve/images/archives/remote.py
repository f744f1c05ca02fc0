"""Files behind URLs, through fsspec, which finds credentials and options in its own way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import ipaddress
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, Any, TypeVar

from zsretrieve.domain.errors import (
    ImageError,
    MissingImageError,
    OptionalDependencyError,
    SourceError,
    ZsRetrieveError,
)
from zsretrieve.domain.wording import one_line
from zsretrieve.images.addresses import State
from zsretrieve.images.content import Content
from zsretrieve.system import install_hints

# How long the state of a file is cached: otherwise each image of an archive would request it.
_SECONDS = 60
# Smaller files are fetched whole, which works with servers that do not send parts of files.
_SMALL_BYTES = 1 << 22
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "Last-Modified", "created")
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs",
    "http": "fsspec[http]", "https": "fsspec[http]",  # the extra ``remote``
}  # fmt: skip
_Result = TypeVar("_Result")


class RemoteError(SourceError):
    """A file that a server does not send. ``reason`` says why, without the URL."""

    def __init__(self, message: str, *, hint: str, reason: str, missing: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.missing = missing


def image(url: str) -> Content:
    """Read an image's file. Raises ImageError, with the reason alone, if it cannot be read."""
    with reasons():
        known = state(url)
        return Content(read(url), known.mtime_ns)


def image_state(url: str) -> State:
    """Size and time of an image's file. Raises ImageError, with the reason alone, if there is none."""
    with reasons():
        return state(url)


def find(url: str) -> list[str]:
    """The URLs of all files below a URL, in no order. Raises SourceError if they cannot be listed."""
    fs, path = _filesystem(url)
    scheme = url.partition("://")[0]
    fs.invalidate_cache()  # other processes may have written since
    names = _request(url, lambda: fs.find(path))
    if not names:
        _request(url, lambda: fs.ls(path))  # `find` takes a folder that cannot be listed for empty
    return [name if name.startswith(f"{scheme}://") else f"{scheme}://{name.lstrip('/')}" for name in names]


def state(url: str) -> State:
    """Size and time of a file, 0 if the server does not say. Raises SourceError if there is none."""
    return _state(url, int(time.monotonic() / _SECONDS))


def read(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file from ``start`` to ``end``, or all of them. Raises SourceError if they are not available."""
    fs, path = _filesystem(url)
    data: bytes = _request(url, lambda: fs.cat_file(path, start=start, end=end))
    if start is not None and end is not None and len(data) > end - start:
        # A server without ranges sends the whole file.
        return data[start:end]
    return data


def stream(url: str) -> IO[bytes]:
    """A file to seek and read in. Raises SourceError if the server does not send parts of files."""
    size = state(url).bytes
    if 0 < size <= _SMALL_BYTES:
        return io.BytesIO(read(url))
    fs, path = _filesystem(url)
    opened: IO[bytes] = _request(url, lambda: fs.open(path, "rb"))
    try:
        # A server without ranges would send the whole file for each part.
        opened.seek(size - 1)
        opened.read(1)
        opened.seek(0)
    except (OSError, ValueError) as error:
        opened.close()
        raise SourceError(
            f"'{url}' cannot be read in parts: {one_line(error)}", hint="Download it, and give the file."
        ) from error
    return opened


def write(url: str, content: bytes) -> None:
    """Write a file, replacing what is there. Raises SourceError."""
    fs, path = _filesystem(url)

    def send() -> None:
        fs.makedirs(fs._parent(path), exist_ok=True)
        fs.pipe_file(path, content)

    _request(url, send, "written")


def remove(url: str) -> None:
    """Delete a file. Raises SourceError, also if there is none."""
    fs, path = _filesystem(url)
    _request(url, lambda: fs.rm_file(path), "deleted")


@contextlib.contextmanager
def reasons() -> Iterator[None]:
    """Turn an error of a file or archive into the reason why an image cannot be read."""
    try:
        yield
    except RemoteError as error:
        raise (MissingImageError if error.missing else ImageError)(error.reason) from error
    except SourceError as error:
        raise ImageError(error.message) from error
    except OptionalDependencyError as error:
        raise ImageError(f"{error.message}: {error.hint}") from error


@functools.lru_cache(maxsize=4096)
def _state(url: str, _moment: int) -> State:
    fs, path = _filesystem(url)
    info: dict[str, Any] = _request(url, lambda: fs.info(path))
    if info.get("type") == "directory":
        raise SourceError(f"'{url}' is a folder", hint="Give the URL of a file.")
    return State(int(info.get("size") or 0), next((_ns(info[key]) for key in _TIMES if info.get(key)), 0))


def _filesystem(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0]
    try:
        import fsspec

        guarded = {"get_client": _client} if scheme in ("http", "https") else {}
        fs, path = fsspec.core.url_to_fs(url, **guarded)
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        raise OptionalDependencyError(
            f"reading {scheme}:// needs a package that is not installed: {one_line(error)}",
            hint=f"Install it with: {install_hints.install(package)}" if package else "Install that package.",
        ) from error
    except Exception as error:
        raise SourceError(
            f"'{url}' cannot be opened: {one_line(error)}", hint="Check the URL; fsspec has to understand it."
        ) from error
    return fs, str(path)


async def _client(**options: Any) -> Any:
    """Fsspec's HTTP client, which does not let a server on the internet point into this machine or its network."""
    import aiohttp
    from fsspec.implementations import http

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_check_redirect)
    return await http.get_client(**{**options, "trace_configs": [*options.get("trace_configs", ()), trace]})


async def _check_redirect(_session: object, _context: object, redirect: Any) -> None:
    headers = redirect.response.headers  # aiohttp follows the old URI as well
    there = redirect.url.join(type(redirect.url)(headers.get("Location") or headers.get("URI", "")))
    if await _is_internal(there.host) and not await _is_internal(redirect.url.host):
        raise ValueError(f"it redirects to the internal address {there.host}")


async def _is_internal(host: str) -> bool:
    """Whether a host is this machine or in a private network."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None)
    return any(not ipaddress.ip_address(str(place[0]).partition("%")[0]).is_global for *_, place in found)


def _request(url: str, send: Callable[[], _Result], done: str = "read") -> _Result:
    try:
        return send()
    except ZsRetrieveError:
        raise
    except FileNotFoundError as error:
        # fsspec raises this for every failure of a web server.
        cause = error.__cause__
        if url.startswith("http") and cause is not None and getattr(cause, "status", None) != 404:
            raise _refused(url, cause, done) from error
        raise RemoteError(f"there is no '{url}'", hint="Check the URL.", reason="no such file", missing=True) from error
    except Exception as error:  # each backend has errors of its own
        raise _refused(url, error, done) from error


def _refused(url: str, error: BaseException, done: str) -> RemoteError:
    return RemoteError(
        f"'{url}' cannot be {done}: {one_line(error)}",
        hint="Check the URL, the network and the credentials.",
        reason=f"cannot be fetched: {one_line(error)}",
    )


def _ns(value: object) -> int:
    if isinstance(value, datetime):
        return int(value.timestamp() * 1_000_000_000)
    if isinstance(value, int | float):
        return int(value * 1_000_000_000)
    from email.utils import parsedate_to_datetime  # slow to import

    for read_time in (parsedate_to_datetime, datetime.fromisoformat):
        with contextlib.suppress(ValueError, TypeError):
            return _ns(read_time(str(value)))
    return 0
