"""Parts of addresses: a file, a URL, or an image in an archive (``ARCHIVE!/MEMBER``)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum

# Where texts from standard input are.
PIPED = "stdin"
MEMBER = "!/"
HUB = "hf:"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ROW_OF_HUB = re.compile(r"hf:.+!/\d+", re.DOTALL)


class Kind(StrEnum):
    """The kinds of archive."""

    TAR = "tar"
    ZIP = "zip"
    PARQUET = "parquet"
    DATASET = "dataset"


_SPECIAL = re.compile(r"([\\{},])")
_SUFFIXES = {
    ".tar": Kind.TAR,
    # Compressed ones are recognised only to be refused with a reason.
    **dict.fromkeys((".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"), Kind.TAR),
    ".zip": Kind.ZIP,
    ".parquet": Kind.PARQUET,
}


@dataclass(frozen=True)
class State:
    """Size and time of a file; equal ones mean that it has probably not changed."""

    bytes: int
    mtime_ns: int


def quoted(name: str) -> str:
    """A name with the characters escaped that are special in a name with braces."""
    return _SPECIAL.sub(r"\\\1", name)


def is_url(name: str) -> bool:
    """Whether a name is a URL such as ``s3://bucket/photos``. A path found by walking has no doubled slash."""
    return _URL.match(name) is not None


def kind_of(name: str) -> Kind | None:
    """The kind of archive that a name denotes, or None."""
    if name.startswith(HUB):
        return Kind.DATASET
    path = (bare(name) if is_url(name) else name).lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if path.endswith(suffix)), None)


def bare(url: str) -> str:
    """A URL without its query, which may hold a signature."""
    return re.split(r"[?#]", url, maxsplit=1)[0] if url.startswith("http") else url


def join(root: str, path: str) -> str:
    """The address of a path relative to ``root``, unless the path is an address itself."""
    # A search joins ten thousands of paths, most of which need no regular expression.
    if path.startswith("/") or ("://" in path and is_url(path)) or (MEMBER in path and _ROW_OF_HUB.fullmatch(path)):
        return path
    if root.startswith(HUB):
        return f"{root}{MEMBER}{path}"
    if "://" in root and is_url(root):
        return f"{root.rstrip('/')}/{path}"
    return f"{root}{path}" if root.endswith("/") or not root else f"{root}/{path}"


def split(address: str) -> tuple[str, str] | None:
    """The archive and the member that an address names, or None if it names a file.

    An existing file at the address takes precedence: a folder's name may end in ``!``.
    """
    if MEMBER not in address:
        return None
    if address.startswith(HUB):
        archive, _, member = address.rpartition(MEMBER)
        return archive, member
    remote = is_url(address)
    if not remote and os.path.lexists(address):
        return None
    at = address.find(MEMBER)
    while at >= 0:
        archive = address[:at]
        if kind_of(archive) is not None and (remote or os.path.isfile(archive)):
            return archive, address[at + len(MEMBER) :]
        at = address.find(MEMBER, at + 1)
    return None
