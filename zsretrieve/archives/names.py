"""Names within archives, and the labels they give."""

from __future__ import annotations

from zsretrieve.errors import ImageError

# A picture's file is smaller, and what is greater is no picture or a trap.
MEMBER_LIMIT = 1 << 30

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


def numbered(label: str) -> str:
    """A label as ground-truth files give it: a class's number from 0 is written ``#65``."""
    return f"#{int(label)}" if label.isascii() and label.isdigit() else label


def check_size(size: int) -> None:
    """Raise ImageError for a member that is too large to be a picture."""
    if size > MEMBER_LIMIT:
        raise ImageError(f"too large: {size / 1e6:,.0f} MB, and the limit in an archive is {MEMBER_LIMIT / 1e6:,.0f}")
