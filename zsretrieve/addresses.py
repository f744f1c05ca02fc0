"""Where a picture lies, as one string by which it can be opened again."""

from __future__ import annotations

import os
from dataclasses import dataclass

from zsretrieve import images
from zsretrieve.errors import ImageError
from zsretrieve.images import Content


@dataclass(frozen=True)
class State:
    """What tells quickly that a file is probably what it was."""

    bytes: int
    mtime_ns: int


def join(root: str, path: str) -> str:
    """The address of a path that is relative to ``root`` where it is not an address of its own."""
    return os.path.join(root, path)


def read(address: str) -> Content:
    """Read the bytes of a picture. Raises ImageError, with the reason alone, if that cannot be done."""
    return images.read_file(address)


def state(address: str) -> State:
    """Size and time of a picture's file. Raises ImageError, with the reason alone, if there is none."""
    try:
        found = os.stat(address)
    except OSError as error:
        raise ImageError((error.strerror or str(error)).lower()) from error
    return State(found.st_size, found.st_mtime_ns)


def relative(root: str, address: str) -> str:
    """The path of an address below ``root``; the address itself if it does not lie there."""
    below = f"{root.rstrip('/')}/"
    return address.removeprefix(below).lstrip("/") or address if address.startswith(below) else address


def is_missing(address: str) -> bool:
    """Whether there surely is no such picture any more; False also where that cannot be told."""
    try:
        os.stat(address)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
