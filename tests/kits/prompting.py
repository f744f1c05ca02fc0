"""Labelled vectors and prompts for the lab, made of nothing but numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kits.hashing_encoder import HashingEncoder
from zsretrieve.domain.prompts import ClassList, TemplateList, expand
from zsretrieve.domain.records import Item, PromptSet
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.evaluation.labelled import Labelled

NAMES = ("red circle", "blue star", "green bolt", "red circle", "grey heart")
TEMPLATES = ("{}", "a photo of a {}.", "itap of the {}.", "{} {}", "a drawing of one {}", "no {}!")


def prompt_set(names: Sequence[str] = NAMES, templates: Sequence[str] = TEMPLATES, source: str = "mine") -> PromptSet:
    classes = ClassList(tuple(names), (None,) * len(names), "given names")
    return expand(classes, TemplateList(tuple(templates), source))


def item(number: int, label: str, digest: str = "") -> Item:
    return Item(number, f"{label}/{number}.png", label, 8, 8, 1, 0, digest)


def labelled(
    vectors: Vectors, truth: NDArray[np.int64], prompts: PromptSet, digests: Sequence[str] | None = None
) -> Labelled:
    names = prompts.class_names
    items = tuple(
        item(row, names[int(c)], digests[row] if digests is not None else f"sha-{row}") for row, c in enumerate(truth)
    )
    space = HashingEncoder(dim=vectors.shape[1]).space
    return Labelled(vectors, truth, items, tuple(i.path for i in items), prompts, space, (), 0)


def images_near(encoder: HashingEncoder, prompts: PromptSet, n: int, seed: int, noise: float = 0.7) -> Labelled:
    """Images near the prompts of their classes, so that templates matter and some answers are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(prompts.class_names), n)
    texts = encoder.encode_texts([prompts.prompts[c][rng.integers(0, len(prompts.templates))] for c in truth])
    vectors = unit_rows(texts + noise * rng.standard_normal(texts.shape) / np.sqrt(texts.shape[1]) * 2)
    return labelled(vectors, truth, prompts)
