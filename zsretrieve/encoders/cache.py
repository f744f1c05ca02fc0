"""The user's cache folder: what can be made again, and is kept because making it takes long."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from zsretrieve.errors import CacheError

ENVIRONMENT = "ZSRETRIEVE_CACHE"
# Stands in the name of a folder that is being made, or about to be deleted.
PART = ".part-"


def cache_folder() -> Path:
    """``$ZSRETRIEVE_CACHE``, or the place this system has for caches. It need not exist.

    Raises CacheError if it begins with the home of a user who has none.
    """
    given = os.environ.get(ENVIRONMENT)
    if given:
        try:
            return Path(given).expanduser().absolute()
        except RuntimeError as error:  # pathlib's own kind for a home that is not known
            raise CacheError(
                f"{ENVIRONMENT} names no folder: '{given}' begins with a home that is not known",
                hint=f"Name another folder: {ENVIRONMENT}=FOLDER.",
            ) from error
    import platformdirs

    return platformdirs.user_cache_path("zsretrieve")


@contextlib.contextmanager
def writing(what: str = "the cache") -> Iterator[None]:
    """Turn what the file system refuses into a CacheError."""
    try:
        yield
    except OSError as error:
        where = f"'{error.filename}'" if error.filename else f"'{cache_folder()}'"
        raise CacheError(
            f"{what} cannot be written: {where}: {(error.strerror or str(error)).lower()}",
            hint=f"Check permissions and free space, or name another folder: {ENVIRONMENT}=FOLDER.",
        ) from error


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``path`` alone. The lock of a dead process is free.

    While another process holds it, this waits, or raises BlockingIOError if it should not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside and rename it, so that a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; those that vanish meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def sync_folder(folder: Path) -> None:
    """Have everything in a folder on the disk before it is renamed. Raises OSError."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
