"""Work in a process of its own, with less than this one may do."""

from __future__ import annotations

import multiprocessing
import os
import resource
from collections.abc import Callable

import zsretrieve as zs
from zsretrieve.domain.errors import ZsRetrieveError

_NOBODY = 65534


def in_process(work: Callable[..., None], *args: object) -> str:
    """Run something in a process of its own; what it raised as message and hint, or nothing."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_told, args=(theirs, work, args))
    process.start()
    theirs.close()
    told: str = ours.recv()
    process.join()
    return told


def with_small_files(limit: int, work: Callable[..., None], *args: object) -> None:
    """Let no file grow beyond ``limit`` bytes, as a full disk would not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    work(*args)


def as_nobody(work: Callable[..., None], *args: object) -> None:
    """Give up the rights of root, if this is root. What ``work`` imports besides the API must be imported already."""
    for name in zs.__all__:
        getattr(zs, name)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    work(*args)


def _told(pipe: object, work: Callable[..., None], args: tuple[object, ...]) -> None:
    try:
        work(*args)
        pipe.send("")  # type: ignore[attr-defined]
    except ZsRetrieveError as error:
        pipe.send(f"{error.message} | {error.hint}")  # type: ignore[attr-defined]
