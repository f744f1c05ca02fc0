"""Names as people and programs write them: the form in which they are compared, synset IDs, and class numbers."""

from __future__ import annotations

import re
import unicodedata

SYNSET = re.compile(r"n[0-9]{8}")

# What cannot be seen and comes along when text is copied: zero-width space, word joiner, byte order mark.
_UNSEEN = str.maketrans(dict.fromkeys("\u200b\u2060\ufeff"))
# A text, or with # what was a number in its source; as pandas writes whole numbers beside missing ones, 3.0.
_NUMBER = re.compile(r"#?([0-9]{1,18})(?:\.0+)?")


def composed(text: str) -> str:
    """A text with each accent in one character with its letter (NFC); macOS writes file names the other way.

    Names are compared in this form, and stored and shown as they were written.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def plain_name(name: str) -> str:
    """A name as it is compared with a label that is not exactly a class.

    Case, underscores, runs of spaces, characters without width and the zeros before a number are ignored.
    """
    plain = " ".join(composed(composed(seen(name)).casefold()).replace("_", " ").split())
    return plain.lstrip("0") or "0" if plain.isascii() and plain.isdigit() else plain


def seen(text: str) -> str:
    """A text without characters that have no width."""
    return text if text.isascii() else text.translate(_UNSEEN)


def number_in(label: str) -> str | None:
    """The digits of a label that may be the number of a class, as written; None for any other."""
    match = _NUMBER.fullmatch(label)
    return match[1] if match is not None else None
