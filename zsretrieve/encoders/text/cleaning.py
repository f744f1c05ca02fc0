"""How open_clip, or a tokenizer of transformers, cleans a text before it splits it into tokens, without either."""

from __future__ import annotations

import string
from collections.abc import Callable

Clean = Callable[[str], str]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def lower(text: str) -> str:
    """Repaired, with single spaces, in lower case."""
    return " ".join(_repaired(text).split()).lower()


def whitespace(text: str) -> str:
    """Repaired, with single spaces."""
    return " ".join(_repaired(text).split())


def canonicalize(text: str) -> str:
    """Repaired, without punctuation, in lower case, with single spaces: SigLIP's way."""
    return " ".join(_repaired(text).replace("_", " ").translate(_NO_PUNCTUATION).lower().split())


def unchanged(text: str) -> str:
    """As it is: transformers leaves it to its tokenizers."""
    return text


def siglip(text: str) -> str:
    """Without punctuation, in lower case, with single spaces: as transformers' tokenizer for SigLIP does it."""
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


CLEANERS: dict[str, Clean] = {
    "none": unchanged,
    "siglip": siglip,
    "lower": lower,
    "whitespace": whitespace,
    "canonicalize": canonicalize,
}


def _repaired(text: str) -> str:
    """With wrongly decoded characters corrected and HTML entities resolved.

    Printable ASCII without an ampersand needs no repair, which saves most texts the time and the import.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return text
    import html

    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))
