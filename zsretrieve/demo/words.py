"""The words of the captions that the bundled model was trained on; it has seen no others."""

from __future__ import annotations

import re
from collections.abc import Iterable

KNOWN = frozenset({
    "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "black", "white", "grey",
    "circle", "square", "triangle", "star", "heart", "cross", "diamond", "arrow", "crescent", "bolt", "striped",
    "dotted", "outlined", "small", "medium", "large", "above", "left", "background", "paper", "sand", "grass",
    "sky", "night", "brick", "wood", "checkerboard",
})  # fmt: skip
# Of any caption, whatever it shows.
_COMMON = frozenset({
    "a", "an", "and", "at", "by", "for", "from", "here", "in", "is", "of", "on", "or", "the", "there", "to", "with",
    "image", "photo", "picture",
})  # fmt: skip


def unknown(texts: Iterable[str]) -> bool:
    """Whether texts have words, and the bundled model knows none of them."""
    words = {word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())} - _COMMON
    return bool(words) and words.isdisjoint(KNOWN)
