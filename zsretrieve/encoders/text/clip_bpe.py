"""CLIP's byte-pair encoding.

Only the ranks of the merges are kept of the vocabulary, which load in a few milliseconds; the Rust library takes ten
times as long to build its tables. Words are cached, so a large set of prompts costs one look-up per word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

START, END = "<start_of_text>", "<end_of_text>"

_WORD_END = "</w>"
_CONTRACTIONS = r"'s|'t|'re|'ve|'m|'ll|'d"
PATTERN = rf"{START}|{END}|{_CONTRACTIONS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
# The same for pure ASCII, for the standard library.
_ASCII = re.compile(rf"{START}|{END}|{_CONTRACTIONS}|[a-z]+|[0-9]|[^\sa-z0-9]+", re.IGNORECASE)
_MOST_CACHED = 1 << 17


def byte_alphabet() -> dict[int, str]:
    """A visible character for each byte, in the order of the vocabulary."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + place) for place, byte in enumerate(others)}


class ClipBpe:
    """Cleaned texts to tokens.

    Parameters
    ----------
    merges : sequence of str
        Pairs of symbols, ``"left right"``, in the order in which they merge. Token ``512 + i`` is the result of merge
        i, after the bytes within a word and at its end, and before start and end of text.
    """

    def __init__(self, merges: Sequence[str]) -> None:
        self.merges = merges
        self._rank = dict(zip(merges, range(len(merges)), strict=True))
        self._alphabet = byte_alphabet()
        self._byte_id = {char: number for number, char in enumerate(self._alphabet.values())}
        self.start_id = 512 + len(merges)
        self.end_id = self.start_id + 1
        self._cache: dict[str, list[int]] = {}

    def vocabulary(self) -> dict[str, int]:
        """Every token with its id."""
        words = [*self._byte_id, *(f"{char}{_WORD_END}" for char in self._byte_id)]
        words += [merge.replace(" ", "") for merge in self.merges]
        return {word: number for number, word in enumerate([*words, START, END])}

    def encode(self, text: str) -> list[int]:
        """All tokens of one cleaned text, between start and end of text."""
        cache = self._cache
        pattern = _ASCII if text.isascii() else self._pattern
        ids = [self.start_id]
        for word in pattern.findall(text):
            known = cache.get(word)
            if known is None:
                if len(cache) >= _MOST_CACHED:
                    cache.clear()
                known = cache[word] = self._merged(word)
            ids += known
        ids.append(self.end_id)
        return ids

    @cached_property
    def _pattern(self) -> Any:
        import regex

        return regex.compile(PATTERN, regex.IGNORECASE)

    def _merged(self, word: str) -> list[int]:
        if word in (START, END):
            return [self.start_id if word == START else self.end_id]
        symbols = [self._alphabet[byte] for byte in word.encode("utf-8")]
        ids = [self._byte_id[symbol] for symbol in symbols]
        symbols[-1] += _WORD_END
        ids[-1] += 256
        none = len(self.merges)
        while len(symbols) > 1:
            ranks = [self._rank.get(f"{symbols[i]} {symbols[i + 1]}", none) for i in range(len(symbols) - 1)]
            best = min(ranks)
            if best == none:
                break
            places = [i for i, rank in enumerate(ranks) if rank == best]
            merged = self.merges[best].replace(" ", "")
            last = -2
            keep = []
            for i in places:
                if i > last + 1:  # the first of overlapping pairs merges
                    symbols[i], ids[i] = merged, 512 + best
                    keep.append(i + 1)
                    last = i
            for i in reversed(keep):
                del symbols[i], ids[i]
        return ids
