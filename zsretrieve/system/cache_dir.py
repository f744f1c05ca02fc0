"""The user's cache folder, for what takes long to make and can be made again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from zsretrieve.domain.errors import CacheError

ENVIRONMENT = "ZSRETRIEVE_CACHE"
# Part of the name of a folder that is being made or about to be deleted.
PART = ".part-"


def cache_folder() -> Path:
    """``$ZSRETRIEVE_CACHE``, or the system's place for caches. It need not exist.

    Raises CacheError if it begins with the home of an unknown user.
    """
    given = os.environ.get(ENVIRONMENT)
    if given:
        try:
            return Path(given).expanduser().absolute()
        except RuntimeError as error:  # what pathlib raises for an unknown home
            raise CacheError(
                f"{ENVIRONMENT} is not a folder: '{given}' begins with the home of an unknown user",
                hint=f"Use another folder: {ENVIRONMENT}=FOLDER.",
            ) from error
    import platformdirs

    return platformdirs.user_cache_path("zsretrieve")


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn an OSError into a CacheError."""
    try:
        yield
    except OSError as error:
        where = f"'{error.filename}'" if error.filename else f"'{cache_folder()}'"
        raise CacheError(
            f"the cache cannot be written: {where}: {(error.strerror or str(error)).lower()}",
            hint=f"Check permissions and free space, or use another folder: {ENVIRONMENT}=FOLDER.",
        ) from error


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``path`` alone. The lock of a dead process is free.

    While another process holds it, this waits, or raises BlockingIOError without ``wait``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextlib.contextmanager
def part_of(place: Path) -> Iterator[Path]:
    """An empty folder beside ``place``, for the block to fill and rename; what is left of it is deleted.

    The caller holds the lock of ``place``, so all other parts of it were left behind by dead processes.
    """
    _remove_parts(place)
    part = set_aside(place)
    part.mkdir()
    try:
        yield part
    finally:
        _remove_parts(place)


def set_aside(place: Path) -> Path:
    """A fresh name for a part of ``place``, to which an old folder is also renamed before it is deleted."""
    return place.with_name(f"{place.name}{PART}{secrets.token_hex(4)}")


def _remove_parts(place: Path) -> None:
    for part in place.parent.glob(f"{place.name}{PART}*"):
        shutil.rmtree(part, ignore_errors=True)


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder, without those that vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
