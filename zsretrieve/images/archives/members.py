"""Names in archives, and the labels they give."""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase

from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.names import seen

# An image's file is smaller; a larger member is something else, or a trap.
MEMBER_LIMIT = 1 << 30
# The same for a label.
LABEL_LIMIT = 1 << 20

_MOST_DIGITS = 18

# Folders that programs and systems keep for thumbnails and deleted files, in lower case.
_KEPT_BY_PROGRAMS = frozenset(
    {"@eadir", "@recycle", "#recycle", "#snapshot", "@recently-snapshot", "@tmp", "$recycle.bin", "recycler"}
    | {"system volume information", "__macosx"}
)
_KEPT_INSIDE = ("*.lrdata", "*.photoslibrary/resources", "*/*.photoslibrary/resources")


def is_hidden(name: str) -> bool:
    """Whether a member or a folder above it is hidden, or a program keeps it for itself."""
    parts = name.split("/")
    return any(is_hidden_name(part) for part in parts) or any(
        is_kept_by_program("/".join(parts[:end])) for end in range(1, len(parts))
    )


def is_hidden_name(name: str) -> bool:
    """Whether the name of a file or folder is hidden."""
    return name.startswith(".") and name not in (".", "..")


def is_kept_by_program(folder: str) -> bool:
    """Whether a program keeps a folder, given by its path, for thumbnails or deleted files."""
    path = folder.lower()
    return path.rpartition("/")[2] in _KEPT_BY_PROGRAMS or any(fnmatchcase(path, glob) for glob in _KEPT_INSIDE)


def tidy(name: str) -> str:
    """A member's name without the ``./`` that some programs add."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def first_folder(name: str) -> str | None:
    """The first folder of a name, which is the label of an image below it."""
    folders = [part for part in name.split("/")[:-1] if part not in ("", ".", "..")]
    return folders[0] if folders else None


def is_number(text: str) -> bool:
    """Whether a text is the number of a row or a class; Python refuses to parse thousands of digits."""
    return len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()


def label(text: str) -> str | None:
    """The label in a text; None if it is empty, too long, or cannot be stored in an index. Equal labels are one object.

    What is a number in its source, not a text, is written as ``#65``.
    """
    text = seen(text).strip()
    if not text or len(text) > LABEL_LIMIT or not can_be_written(text):
        return None
    return sys.intern(text)


def can_be_written(text: str) -> bool:
    """Whether a text can be encoded like a file name, which fails for surrogates that stand for no byte."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def check_size(size: int) -> None:
    """Raise ImageError for a member that is too large to be an image."""
    if size > MEMBER_LIMIT:
        raise ImageError(f"too large: {size / 1e6:,.0f} MB, and the limit in an archive is {MEMBER_LIMIT / 1e6:,.0f}")
