"""Labelled unit vectors without pictures behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kits.hashing_encoder import HashingEncoder
from zsretrieve.domain.records import Item, PromptSet
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.evaluation.labelled import Labelled


def labelled(
    vectors: Vectors, truth: Sequence[int] | NDArray[np.int64], digests: Sequence[str] | None = None
) -> Labelled:
    """One picture a row, of classes called c0, c1, ...; its digest is that of its number if none is given."""
    ids = np.asarray(truth, dtype=np.int64)
    known = [hashlib.sha256(str(row).encode()).hexdigest() for row in range(len(ids))] if digests is None else digests
    items = tuple(Item(row, f"{row:06}.png", f"c{ids[row]}", 1, 1, 1, 1, known[row]) for row in range(len(ids)))
    names = tuple(f"c{c}" for c in range(int(ids.max()) + 1))
    prompts = PromptSet(names, (None,) * len(names), tuple((f"a {name}.",) for name in names), ("a {}.",), "c", "t")
    space = HashingEncoder(dim=vectors.shape[1]).space
    return Labelled(vectors, ids, items, tuple(f"root/{item.path}" for item in items), prompts, space, (), 0)


def clusters(
    n_classes: int, each: int, dim: int = 16, *, noise: float = 1.0, seed: int = 0
) -> tuple[Vectors, NDArray[np.int64]]:
    """Unit vectors scattered about one direction a class; the lower the noise the easier."""
    rng = np.random.default_rng(seed)
    middles = unit_rows(rng.standard_normal((n_classes, dim)))
    truth = np.repeat(np.arange(n_classes), each)
    return unit_rows(middles[truth] + noise * rng.standard_normal((len(truth), dim)) / np.sqrt(dim)), truth
