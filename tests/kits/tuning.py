"""What tuning states, and what searches find."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import zsretrieve as zs
from kits.hashing_encoder import HashingEncoder
from zsretrieve.domain.kinds import Setting, Tuning
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.store.indexes import Gallery

N, K, QUERIES = 20_000, 10, 1000
# More of them than a tenth, after which what was measured no longer counts; and fewer.
MANY, FEW = N * 23 // 200, N * 3 // 40
MODEL = HashingEncoder(64)


def tuning_of(gallery: Path) -> Tuning:
    made = zs.read_manifest(gallery).approximate
    assert made is not None
    assert made.tuning is not None
    return made.tuning


def shares(found: Rows, expected: Rows) -> np.ndarray:
    return np.array([np.isin(want, have).mean() for have, want in zip(found, expected, strict=True)])


def fresh_recall(gallery: Gallery, queries: Vectors, setting: Setting) -> np.ndarray:
    """What each of some queries finds by an effort, of which none is answered by comparing all."""
    rows, is_exact = gallery.nearest(queries, K, effort=setting.effort)
    assert not is_exact.any()
    return shares(rows, gallery.index.search(queries, K)[1])


def sampling_error(found: np.ndarray, n: int) -> float:
    """Three standard errors of the difference between the mean over these queries and that over ``n`` others."""
    return 3 * float(found.std()) * np.sqrt(1 / len(found) + 1 / n)
