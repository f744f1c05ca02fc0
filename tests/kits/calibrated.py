"""Synthetic vectors of images and texts that are as hard to search as those of CLIP.

Images are in clusters of very different sizes, which are in super-clusters, in few directions of a decaying spectrum,
and all within a cone. A text is a little of the content of one image, much of other directions, and an offset that all
texts share, so that its nearest images are hardly nearer than others, and are in many directions. Among a million
images of LAION by CLIP, images have a relative contrast of 3.0 and a local dimension of 15, texts of 1.3 and 82 (VIBE,
stats.parquet); 20,000 x 64 of these have 3.0 and 16, and 1.24 and 100.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from zsretrieve.domain.vectors import Vectors, unit_rows

Wide = NDArray[np.floating[Any]]
_SUPER = 60
_DECAY = 0.55
_CONE = 0.45
_AT_ONCE = 1 << 15
# Blocks that are made at the same time.
_THREADS = 2


@dataclass(frozen=True)
class Calibrated:
    """``images`` to index; queries by other images and by ``texts``; float32 unit rows of shape (n, dim)."""

    images: Vectors
    queries: Vectors
    texts: Vectors


class World:
    """What ``n`` images show, and texts say: directions and clusters, from which any number of both is drawn.

    With float32 instead of float64 the same is drawn in half the time, of other random numbers.
    """

    def __init__(self, rng: np.random.Generator, n: int, dim: int, dtype: DTypeLike = np.float64) -> None:
        directions = max(8, min(200, dim // 2))
        basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        self._clusters = max(_SUPER, n // 50)
        above = rng.standard_normal((_SUPER, directions))
        of = rng.integers(0, _SUPER, self._clusters)
        centres = above[of] + 0.8 * rng.standard_normal((self._clusters, directions))
        sizes = 1.0 / np.arange(1, self._clusters + 1)
        self._shares = sizes / sizes.sum()
        self._spectrum = (np.arange(1, directions + 1) ** -_DECAY).astype(dtype)
        self._basis, self._centres = basis.astype(dtype), centres.astype(dtype)
        self._dtype: Any = dtype

    def images(self, rng: np.random.Generator, count: int) -> Vectors:
        cone = self._dtype(np.sqrt(_CONE)) * self._basis[-1]
        rows = self._dtype(np.sqrt(1 - _CONE)) * self._contents(rng, count) + cone
        return self._units(rows + self._noise(rng, count, 0.12))

    def texts(self, rng: np.random.Generator, count: int) -> Vectors:
        directions = len(self._spectrum)
        other = _unit(self._normal(rng, count, directions) * self._spectrum) @ self._basis[:directions]
        texts = 0.28 * self._contents(rng, count) + 0.45 * other + 0.5 * self._basis[-2]
        return self._units(texts + self._noise(rng, count, 0.4))

    def _units(self, rows: Wide) -> Vectors:
        return unit_rows(rows) if self._dtype is np.float64 else np.asarray(_unit(rows), np.float32)

    def _contents(self, rng: np.random.Generator, count: int) -> Wide:
        """Unit vectors of what images show."""
        of = rng.choice(self._clusters, count, p=self._shares)
        spread = self._centres[of] + self._dtype(0.6) * self._normal(rng, count, len(self._spectrum))
        return _unit(spread * self._spectrum) @ self._basis[: len(self._spectrum)]

    def _noise(self, rng: np.random.Generator, count: int, length: float) -> Wide:
        dim = len(self._basis)
        return self._normal(rng, count, dim) * self._dtype(length / np.sqrt(dim))

    def _normal(self, rng: np.random.Generator, count: int, directions: int) -> Wide:
        drawn: Wide = rng.standard_normal((count, directions), dtype=self._dtype)
        return drawn


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
    world = World(rng, n, dim)
    images = np.empty((n, dim), np.float32)
    for start in range(0, n, _AT_ONCE):  # in blocks, since millions of rows would not fit in float64
        images[start : start + _AT_ONCE] = world.images(rng, min(_AT_ONCE, n - start))
    return Calibrated(images, world.images(rng, n_queries), world.texts(rng, n_queries))


class Streamed:
    """As ``calibrated``, for more images than memory holds: block by block, in float32, by several threads."""

    def __init__(self, n: int, dim: int, seed: int = 0) -> None:
        self._n, self._seed = n, seed
        self._world = World(np.random.default_rng(seed), n, dim, np.float32)

    def images(self) -> Iterator[Vectors]:
        """All images, float32 of shape (some, dim). A block is the same whatever was made before it."""
        sizes = [min(_AT_ONCE, self._n - start) for start in range(0, self._n, _AT_ONCE)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for first in range(0, len(sizes), _THREADS):
                numbers = range(first, min(first + _THREADS, len(sizes)))
                yield from pool.map(lambda number: self._world.images(self._rng(1, number), sizes[number]), numbers)

    def queries(self, count: int) -> tuple[Vectors, Vectors]:
        """Other images and texts, float32 of shape (count, dim) each."""
        return self._world.images(self._rng(2), count), self._world.texts(self._rng(3), count)

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *purpose])


def relative_contrast(images: Vectors, queries: Vectors, k: int = 10) -> float:
    """The mean over queries of the mean distance of all images over that of the k-th nearest."""
    distances = np.sqrt(np.maximum(2 - 2 * queries.astype(np.float64) @ images.astype(np.float64).T, 0))
    return float(np.mean(distances.mean(axis=1) / np.partition(distances, k - 1, axis=1)[:, k - 1]))


def _unit(rows: Wide) -> Wide:
    lengths: Wide = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths
