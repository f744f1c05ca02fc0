"""Synthetic vectors of images and texts that are as hard to search as those of CLIP.

Images are in clusters of very different sizes, which are in super-clusters, in few directions of a decaying spectrum,
and all within a cone. A text is a little of the content of one image, much of other directions, and an offset that all
texts share, so that its nearest images are hardly nearer than others, and are in many directions. Among a million
images of LAION by CLIP, images have a relative contrast of 3.0 and a local dimension of 15, texts of 1.3 and 82 (VIBE,
stats.parquet); 20,000 x 64 of these have 3.0 and 16, and 1.24 and 100.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.vectors import Vectors, unit_rows

Wide = NDArray[np.float64]
_SUPER = 60
_DECAY = 0.55
_CONE = 0.45
_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Calibrated:
    """``images`` to index; queries by other images and by ``texts``; float32 unit rows of shape (n, dim)."""

    images: Vectors
    queries: Vectors
    texts: Vectors


def calibrated(n: int, dim: int, n_queries: int = 300, seed: int = 0) -> Calibrated:
    """Images, and queries of both kinds, the same for the same arguments.

    Parameters
    ----------
    n : int
        Images, from some thousands on: there is a cluster for every 50.
    dim : int
    n_queries : int
        Of each kind.
    seed : int
    """
    rng = np.random.default_rng(seed)
    directions = max(8, min(200, dim // 2))
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    spectrum = np.arange(1, directions + 1) ** -_DECAY
    clusters = max(_SUPER, n // 50)
    above = rng.standard_normal((_SUPER, directions))
    centres = above[rng.integers(0, _SUPER, clusters)] + 0.8 * rng.standard_normal((clusters, directions))
    sizes = 1.0 / np.arange(1, clusters + 1)

    def contents(count: int) -> Wide:
        """Unit vectors of what images show."""
        of = rng.choice(clusters, count, p=sizes / sizes.sum())
        spread = centres[of] + 0.6 * rng.standard_normal((count, directions))
        return _unit(spread * spectrum) @ basis[:directions]

    def pictures(count: int) -> Vectors:
        cone = np.sqrt(_CONE) * basis[-1]
        return unit_rows(cone + np.sqrt(1 - _CONE) * contents(count) + _noise(rng, count, dim, 0.12))

    images = np.empty((n, dim), np.float32)
    for start in range(0, n, _AT_ONCE):  # in blocks, since millions of rows would not fit in float64
        images[start : start + _AT_ONCE] = pictures(min(_AT_ONCE, n - start))
    queries = pictures(n_queries)
    other = _unit(rng.standard_normal((n_queries, directions)) * spectrum) @ basis[:directions]
    texts = 0.28 * contents(n_queries) + 0.45 * other + 0.5 * basis[-2]
    return Calibrated(images, queries, unit_rows(texts + _noise(rng, n_queries, dim, 0.4)))


def relative_contrast(images: Vectors, queries: Vectors, k: int = 10) -> float:
    """The mean over queries of the mean distance of all images over that of the k-th nearest."""
    distances = np.sqrt(np.maximum(2 - 2 * queries.astype(np.float64) @ images.astype(np.float64).T, 0))
    return float(np.mean(distances.mean(axis=1) / np.partition(distances, k - 1, axis=1)[:, k - 1]))


def _unit(rows: Wide) -> Wide:
    lengths: Wide = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


def _noise(rng: np.random.Generator, n: int, dim: int, length: float) -> Wide:
    return rng.standard_normal((n, dim)) * (length / np.sqrt(dim))
