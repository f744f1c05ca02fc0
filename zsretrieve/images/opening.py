"""Addresses of images: a path, a URL, or ``ARCHIVE!/MEMBER``, where the archive is a path, a URL or a data set."""

from __future__ import annotations

import os

from zsretrieve.domain.errors import ImageError, MissingImageError
from zsretrieve.domain.records import Item
from zsretrieve.images import archives
from zsretrieve.images.addresses import HUB
from zsretrieve.images.archives import MEMBER, State, is_url, join, remote, split
from zsretrieve.images.content import Content, read_file

__all__ = [
    "MEMBER", "State", "absence", "canonical", "is_away", "is_missing", "is_unchanged", "is_url", "join", "read",
    "relative", "split", "state",
]  # fmt: skip


def read(address: str) -> Content:
    """Read the bytes of an image. Raises ImageError, with the reason alone, if they cannot be read."""
    place = split(address)
    if place is not None:
        return archives.read(*place)
    if is_url(address):
        return remote.image(address)
    return read_file(address)


def state(address: str) -> State:
    """Size of an image's file, and the time of the file or its archive; 0 if a server does not say.

    Raises
    ------
    ImageError
        With the reason alone, if the state is unknown; MissingImageError if the image definitely does not exist.
    """
    place = split(address)
    if place is not None:
        return archives.state(*place)
    if is_url(address):
        return remote.image_state(address)
    try:
        stat = os.stat(address)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingImageError("no such file") from error
    except OSError as error:
        raise ImageError((error.strerror or str(error)).lower()) from error
    return State(stat.st_size, stat.st_mtime_ns)


def relative(root: str, address: str) -> str:
    """The path of an address below ``root``; the address itself if it is elsewhere."""
    below = f"{root}{MEMBER}" if root.startswith(HUB) else f"{root.rstrip('/')}/"
    return address.removeprefix(below).lstrip("/") or address if address.startswith(below) else address


def canonical(address: str) -> str:
    """One name for an image with several paths: links to its file, or to its archive, are resolved."""
    if is_url(address) or address.startswith(HUB):
        return address
    place = split(address)
    if place is None:
        return os.path.realpath(address)
    return f"{os.path.realpath(place[0])}{MEMBER}{place[1]}"


def is_missing(address: str) -> bool:
    """Whether an image definitely does not exist any more; False if that is unknown."""
    try:
        state(address)
    except MissingImageError:
        return True
    except ImageError:
        return False
    return False


def is_away(address: str) -> bool:
    """Whether the file of an image, or its archive, is not there: a quick look, which asks no server."""
    if is_url(address) or address.startswith(HUB):
        return False
    try:
        os.stat(address)
    except (FileNotFoundError, NotADirectoryError):
        return split(address) is None
    except OSError:
        return False
    return False


def absence(address: str) -> tuple[str, str] | None:
    """Why a file that is not there may only be away, and the folder or link that is to blame; None if it was deleted.

    A drive that is not mounted leaves a link without a target, or an empty folder.
    """
    below = os.path.join(os.getcwd(), address)
    folder = os.path.dirname(below)
    while not os.path.isdir(folder):
        below, folder = folder, os.path.dirname(folder)
    if os.path.islink(below):
        return below, f"a link to '{os.readlink(below)}', which is missing"
    try:
        with os.scandir(folder) as entries:
            return None if any(entries) else (folder, "empty now")
    except OSError as error:
        return folder, (error.strerror or str(error)).lower()


def is_unchanged(address: str, item: Item) -> bool:
    """Whether size and time of an image's file are the same as when it was encoded."""
    try:
        return state(address) == State(item.bytes, item.mtime_ns)
    except ImageError:
        return False
