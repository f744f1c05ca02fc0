"""What open_clip does to a text before it is cut into tokens, without loading open_clip."""

from __future__ import annotations

import string
from collections.abc import Callable

Clean = Callable[[str], str]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def lower(text: str) -> str:
    """Mended, white space made single, lower case."""
    return " ".join(_mended(text).split()).lower()


def whitespace(text: str) -> str:
    """Mended, white space made single."""
    return " ".join(_mended(text).split())


def canonicalize(text: str) -> str:
    """Mended, without punctuation, lower case, white space made single: SigLIP's way."""
    return " ".join(_mended(text).replace("_", " ").translate(_NO_PUNCTUATION).lower().split())


CLEANERS: dict[str, Clean] = {"lower": lower, "whitespace": whitespace, "canonicalize": canonicalize}


def _mended(text: str) -> str:
    """Wrongly decoded characters put right, HTML entities resolved.

    Printable ASCII without an ampersand holds nothing to mend, so most texts cost neither the time nor the import.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return text
    import html

    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))
