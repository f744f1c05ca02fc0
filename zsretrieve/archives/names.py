"""Names within archives, and the labels they give."""

from __future__ import annotations

import os
import sys

from zsretrieve.errors import ImageError

# A picture's file is smaller, and what is greater is no picture or a trap.
MEMBER_LIMIT = 1 << 30
# Of a label, the same.
LABEL_LIMIT = 1 << 20

_MOST_DIGITS = 18

_HIDDEN_FOLDERS = frozenset({"__MACOSX"})


def is_hidden(name: str) -> bool:
    """Whether a member or a folder above it is hidden, or is one of those that macOS adds."""
    return any(
        part in _HIDDEN_FOLDERS or (part.startswith(".") and part not in (".", "..")) for part in name.split("/")
    )


def tidy(name: str) -> str:
    """A member's name without the ``./`` that some programs put before it."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def first_folder(name: str) -> str | None:
    """The first folder of a name, which is the label of a picture below it."""
    folders = [part for part in name.split("/")[:-1] if part not in ("", ".", "..")]
    return folders[0] if folders else None


def is_number(text: str) -> bool:
    """Whether a text is a number that a row or a class can have; Python refuses to read thousands of digits."""
    return len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()


def numbered(label: str) -> str:
    """A label as ground-truth files give it: a class's number from 0 is written ``#65``."""
    return f"#{int(label)}" if is_number(label) else label


def label(text: str, *, numbers: bool = True) -> str | None:
    """A label as an archive gives it; None for one that is empty, too long, or that no index could hold.

    Equal ones are one object. ``numbers`` writes a number as ``numbered`` does.
    """
    text = text.strip()
    if not text or len(text) > LABEL_LIMIT or not can_be_written(text):
        return None
    return sys.intern(numbered(text) if numbers else text)


def can_be_written(text: str) -> bool:
    """Whether a text becomes bytes as file names do. A surrogate that stands for no byte does not."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def check_size(size: int) -> None:
    """Raise ImageError for a member that is too large to be a picture."""
    if size > MEMBER_LIMIT:
        raise ImageError(f"too large: {size / 1e6:,.0f} MB, and the limit in an archive is {MEMBER_LIMIT / 1e6:,.0f}")
