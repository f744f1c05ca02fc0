"""Texts of many kinds, as people search for images and describe them, to measure the recall of texts with.

Labels and sentences, short and long, of things, scenes, people, animals, colours, counts, styles, actions, negations
and feelings, most in English and some in other languages.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

COUNT = 3000

_FILE = Path(__file__).with_name("captions.toml")
_LABELS = ("animal", "thing", "food", "vehicle", "place", "job", "plant", "sport", "clothing", "idea", "event")
_SEED = 0
_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")


def captions() -> tuple[str, ...]:
    """``COUNT`` distinct texts, always the same: every label and phrase there is, then sentences of a grammar."""
    content = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    words = {name: " ".join(text.split()).split(", ") for name, text in content["words"].items()}
    templates, phrases = (content[name].strip().split("\n") for name in ("templates", "phrases"))
    made = dict.fromkeys((*(word for name in _LABELS for word in words[name]), *phrases))
    rng = random.Random(_SEED)
    while len(made) < COUNT:
        made[_filled(_picked(templates, rng), words, rng)] = None
    return tuple(made)


def _filled(template: str, words: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    text = _SLOT.sub(lambda slot: _picked(words[slot[1]], rng), template)
    return _ARTICLE.sub(r"\1n ", text)


def _picked(some: Sequence[str], rng: random.Random) -> str:
    # Of the methods of a generator, only random() is promised to stay the same.
    return some[int(rng.random() * len(some))]
