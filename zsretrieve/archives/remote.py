"""Files behind URLs, through fsspec. Credentials and options come from where fsspec and its backends look for them."""

from __future__ import annotations

import contextlib
import functools
import io
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import IO, Any, TypeVar

from zsretrieve.archives.places import State
from zsretrieve.errors import ImageError, MissingImageError, OptionalDependencyError, SourceError, ZsRetrieveError
from zsretrieve.images import Content

# What a server said of a file is believed for so long: each picture of an archive would otherwise ask again.
_SECONDS = 60
# What is smaller is fetched at once, also from servers that give no parts of files.
_SMALL_BYTES = 1 << 22
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "Last-Modified", "created")
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs",
    "http": "aiohttp", "https": "aiohttp",
}  # fmt: skip
_Result = TypeVar("_Result")


class RemoteError(SourceError):
    """A file that a server does not give. ``reason`` says why, without the URL."""

    def __init__(self, message: str, *, hint: str, reason: str, missing: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.missing = missing


def picture(url: str) -> Content:
    """Read a picture's file. Raises ImageError, with the reason alone, if that cannot be done."""
    with reasons():
        known = state(url)
        return Content(read(url), known.mtime_ns)


def picture_state(url: str) -> State:
    """Size and time of a picture's file. Raises ImageError, with the reason alone, if there is none."""
    with reasons():
        return state(url)


def find(url: str) -> list[str]:
    """The URLs of all files below a URL, in no order. Raises SourceError if that cannot be told."""
    fs, path = _filesystem(url)
    scheme = url.partition("://")[0]
    found = _asked(url, lambda: fs.find(path))
    if not found:
        _asked(url, lambda: fs.ls(path))  # finding takes what cannot be listed for empty
    return [name if name.startswith(f"{scheme}://") else f"{scheme}://{name.lstrip('/')}" for name in found]


def state(url: str) -> State:
    """Size and time of a file, 0 where the server does not tell. Raises SourceError if there is none."""
    return _state(url, int(time.monotonic() / _SECONDS))


def read(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file from ``start`` to ``end``, or all of them. Raises SourceError if they cannot be had."""
    fs, path = _filesystem(url)
    data: bytes = _asked(url, lambda: fs.cat_file(path, start=start, end=end))
    if start is not None and end is not None and len(data) > end - start:
        # A server that knows no ranges sends the whole file.
        return data[start:end]
    return data


def stream(url: str) -> IO[bytes]:
    """A file to seek and read in. Raises SourceError if the server gives no parts of files."""
    size = state(url).bytes
    if 0 < size <= _SMALL_BYTES:
        return io.BytesIO(read(url))
    fs, path = _filesystem(url)
    opened: IO[bytes] = _asked(url, lambda: fs.open(path, "rb"))
    try:
        # A server that knows no ranges would send the whole file for each part.
        opened.seek(size - 1)
        opened.read(1)
        opened.seek(0)
    except (OSError, ValueError) as error:
        opened.close()
        raise SourceError(
            f"'{url}' cannot be read in parts: {one_line(error)}", hint="Download it, and give the file."
        ) from error
    return opened


def one_line(error: BaseException) -> str:
    """What an error says, in one line of reasonable length."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextlib.contextmanager
def reasons() -> Iterator[None]:
    """Make an error of a file or archive the reason for which one picture cannot be read."""
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
    info: dict[str, Any] = _asked(url, lambda: fs.info(path))
    if info.get("type") == "directory":
        raise SourceError(f"'{url}' is a folder", hint="Give the URL of a file.")
    return State(int(info.get("size") or 0), next((_ns(info[key]) for key in _TIMES if info.get(key)), 0))


def _filesystem(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0]
    try:
        import fsspec

        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        raise OptionalDependencyError(
            f"reading {scheme}:// needs a package that is not installed: {one_line(error)}",
            hint=f"Install it with: pip install {package} (or: uv pip install {package})"
            if package
            else "Install the package that it names.",
        ) from error
    except Exception as error:
        raise SourceError(
            f"'{url}' cannot be opened: {one_line(error)}", hint="Check the URL; it is read as fsspec reads it."
        ) from error
    return fs, str(path)


def _asked(url: str, ask: Callable[[], _Result]) -> _Result:
    try:
        return ask()
    except ZsRetrieveError:
        raise
    except FileNotFoundError as error:
        # fsspec takes every failure of a web server for this one.
        cause = error.__cause__
        if url.startswith("http") and cause is not None and getattr(cause, "status", None) != 404:
            raise _refused(url, cause) from error
        raise RemoteError(f"there is no '{url}'", hint="Check the URL.", reason="no such file", missing=True) from error
    except Exception as error:  # each backend has errors of its own
        raise _refused(url, error) from error


def _refused(url: str, error: BaseException) -> RemoteError:
    return RemoteError(
        f"'{url}' cannot be read: {one_line(error)}",
        hint="Check the URL, the network and the credentials.",
        reason=f"cannot be fetched: {one_line(error)}",
    )


def _ns(value: object) -> int:
    if isinstance(value, datetime):
        return int(value.timestamp() * 1_000_000_000)
    if isinstance(value, int | float):
        return int(value * 1_000_000_000)
    for read_time in (parsedate_to_datetime, datetime.fromisoformat):
        with contextlib.suppress(ValueError, TypeError):
            return _ns(read_time(str(value)))
    return 0
