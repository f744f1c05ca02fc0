"""Where a picture lies, as one string by which it can be opened again.

That is a path, a URL, or ``ARCHIVE!/MEMBER``, where the archive is a path or a URL itself or a data set's name.
"""

from __future__ import annotations

import os

from zsretrieve import archives, images
from zsretrieve.archives import MEMBER, State, is_url, join, remote, split
from zsretrieve.archives.places import HUB
from zsretrieve.errors import ImageError, MissingImageError
from zsretrieve.images import Content
from zsretrieve.records import Item

__all__ = [
    "MEMBER", "State", "canonical", "is_missing", "is_unchanged", "is_url", "join", "read", "relative", "split",
    "state",
]  # fmt: skip


def read(address: str) -> Content:
    """Read the bytes of a picture. Raises ImageError, with the reason alone, if that cannot be done."""
    place = split(address)
    if place is not None:
        return archives.read(*place)
    if is_url(address):
        return remote.picture(address)
    return images.read_file(address)


def state(address: str) -> State:
    """Size and time of a picture's file, or of its archive; 0 where a server does not tell.

    Raises
    ------
    ImageError
        With the reason alone, if that cannot be told; a MissingImageError if there surely is none.
    """
    place = split(address)
    if place is not None:
        return archives.state(*place)
    if is_url(address):
        return remote.picture_state(address)
    try:
        found = os.stat(address)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingImageError("no such file") from error
    except OSError as error:
        raise ImageError((error.strerror or str(error)).lower()) from error
    return State(found.st_size, found.st_mtime_ns)


def relative(root: str, address: str) -> str:
    """The path of an address below ``root``; the address itself if it does not lie there."""
    below = f"{root}{MEMBER}" if root.startswith(HUB) else f"{root.rstrip('/')}/"
    return address.removeprefix(below).lstrip("/") or address if address.startswith(below) else address


def canonical(address: str) -> str:
    """One name for a picture that several paths lead to: links to a file, or to its archive, are resolved."""
    if is_url(address) or address.startswith(HUB):
        return address
    place = split(address)
    if place is None:
        return os.path.realpath(address)
    return f"{os.path.realpath(place[0])}{MEMBER}{place[1]}"


def is_missing(address: str) -> bool:
    """Whether there surely is no such picture any more; False also where that cannot be told."""
    try:
        state(address)
    except MissingImageError:
        return True
    except ImageError:
        return False
    return False


def is_unchanged(address: str, item: Item) -> bool:
    """Whether size and time of a picture's file are what they were when it was encoded."""
    try:
        found = state(address)
    except ImageError:
        return False
    return (found.bytes, found.mtime_ns) == (item.bytes, item.mtime_ns)
