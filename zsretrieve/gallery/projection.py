"""Vectors as points in a plane: t-SNE of up to some ten thousand of them, and places for others among these.

openTSNE does the descent; the nearest neighbours are exact, from our own products.
``docs/decisions/0012-map.md`` compares methods.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsretrieve.backends import products
from zsretrieve.domain.maps import Places
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.vectors import Rows, Vectors

TSNE, PCA = "t-SNE", "PCA"
_PERPLEXITY = 30
# Below, the descent of t-SNE collapses, and two principal components show as much.
_FEW = 50
# The usual course (Belkina et al. 2019): early exaggeration brings groups together, then they spread out.
_EARLY, _LATE, _EXAGGERATION = 250, 500, 12.0
_REPORT_EVERY = 10
# From here on interpolation by FFT is faster than Barnes and Hut's tree.
_MANY = 3000
# openTSNE's threads wait for each other in every step: on a busy machine two take up to eleven times as long as one.
_THREADS = 1
# The spread that t-SNE starts from, and the noise in it that separates equal vectors.
_START, _NOISE = 1e-4, 1e-6
_QUERIES = 1024
_NEIGHBOURS = 10


def method_of(n: int) -> str:
    """How so many images are arranged."""
    return PCA if n < _FEW else TSNE


def arranged(vectors: Vectors, seed: int, on_stage: OnStage) -> Places:
    """Places of vectors in the unit square, float32 of shape (n, 2); the same for the same vectors and seed.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
        In memory, together with some hundred numbers for each of them.
    """
    components = _components(vectors)
    if method_of(len(vectors)) == PCA:
        return _in_square(components)
    # Slow to import.
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    k = min(3 * _PERPLEXITY, len(vectors) - 1)
    rows, distances = _neighbours(vectors, k, on_stage)
    affinities = PerplexityBasedNN(
        knn_index=PrecomputedNeighbors(rows, distances), perplexity=min(_PERPLEXITY, k / 3), n_jobs=_THREADS
    )
    spread = components[:, 0].std()
    start = components * (_START / spread if spread > _NOISE else 0.0)
    start += np.random.default_rng(seed).normal(0, _NOISE, start.shape)
    method = "fft" if len(vectors) >= _MANY else "bh"
    embedding = TSNEEmbedding(start, affinities, negative_gradient_method=method, n_jobs=_THREADS, random_state=seed)
    for first, steps, settings in (
        (0, _EARLY, {"exaggeration": _EXAGGERATION, "momentum": 0.5}),
        (_EARLY, _LATE, {"momentum": 0.8}),
    ):

        def report(step: int, _error: float, _embedding: object, first: int = first) -> None:
            on_stage("arranging the map", first + step, _EARLY + _LATE)

        embedding.optimize(steps, inplace=True, callbacks=report, callbacks_every_iters=_REPORT_EVERY, **settings)
    return _in_square(np.asarray(embedding))


def placed(queries: Vectors, vectors: Vectors, xy: Places) -> Places:
    """Places for other vectors among those that have one, float32 of shape (m, 2), inside their hull.

    Each goes to the mean of its nearest neighbours that are together on the map, weighted by their nearness.

    Parameters
    ----------
    queries : float32 of shape (m, dim), unit rows
    vectors : float32 of shape (n, dim), unit rows
    xy : float32 of shape (n, 2)
        Of ``vectors``.
    """
    scores, rows = products.best(queries, [vectors], min(_NEIGHBOURS, len(vectors)))
    return _among(scores, xy[rows])


def _among(scores: NDArray[np.float32], near: Places) -> Places:
    distances = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * scores.astype(np.float64)))
    # As near as the nearest counts fully, twice as far exp(-3) of it.
    least = np.maximum(distances[:, :1], 1e-3)
    weights = np.exp(-3.0 * (distances / least - 1.0))
    apart = np.linalg.norm(near[:, :, None, :] - near[:, None, :, :], axis=3)
    total = np.einsum("nj,nij->ni", weights, apart)
    middle = total.argmin(axis=1)
    from_middle = np.take_along_axis(apart, middle[:, None, None], axis=1)[:, 0, :]
    weights *= from_middle <= np.median(from_middle, axis=1, keepdims=True)
    places = np.einsum("nj,njc->nc", weights, near) / weights.sum(axis=1, keepdims=True)
    return np.asarray(places, dtype=np.float32)


def _neighbours(vectors: Vectors, k: int, on_stage: OnStage) -> tuple[Rows, NDArray[np.float64]]:
    """The k nearest others of each vector, and their Euclidean distances, both of shape (n, k)."""
    n = len(vectors)
    rows, distances = np.empty((n, k), np.int64), np.empty((n, k), np.float64)
    for start in range(0, n, _QUERIES):
        own = np.arange(start, min(start + _QUERIES, n))
        scores, found = products.best(vectors[own], [vectors], k + 1)
        # Itself first, if more than k equal vectors do not hide it; then it is as well one of them that is left out.
        order = np.argsort(found != own[:, None], axis=1, kind="stable")[:, 1:]
        rows[own] = np.take_along_axis(found, order, axis=1)
        nearest = np.take_along_axis(scores, order, axis=1).astype(np.float64)
        distances[own] = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * nearest))
        on_stage("comparing images", int(own[-1]) + 1, n)
    return rows, distances


def _components(vectors: Vectors) -> NDArray[np.float64]:
    """The first two principal components, float64 of shape (n, 2); of each axis the largest part is positive."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    axes = axes[:, :-3:-1]
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0))
    return np.asarray(centred @ axes, dtype=np.float64)


def _in_square(xy: NDArray[np.float64]) -> Places:
    """Moved and scaled, alike in both directions, so that they fill the unit square in one of them."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    # Equal vectors differ by rounding, which is nothing to be shown.
    extent = float((high - low).max())
    scale = 1.0 / extent if extent > 1e-6 else 0.0
    return np.asarray(np.clip(0.5 + (xy - (low + high) / 2) * scale, 0, 1), dtype=np.float32)
