"""Searching images by their regions: the score of an image is the greatest of its own and those of its regions."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zsretrieve.backends import products
from zsretrieve.domain.boxes import Box
from zsretrieve.domain.ranking import (
    check_held,
    check_k,
    check_rows,
    check_threshold,
    exact_scores,
    float32_score_error,
    settle,
    settle_range,
)
from zsretrieve.domain.regions import best_boxes
from zsretrieve.domain.vectors import Limits, Rows, Scores, Vectors, check_unit_rows
from zsretrieve.store.rows import LiveVectors

# Scores in memory at once, 64 MB, and numbers of vectors that are copied at once, 16 MB.
_SCORES, _COPIED = 1 << 24, 1 << 22
# A selection of a smaller share of the rows is copied; otherwise all of them are compared.
_SHARE = 1 / 5


class RegionIndex:
    """SearchIndex port over images of several vectors each, mapped from the files of their segments.

    Parameters
    ----------
    vectors, regions : LiveVectors
        As in ``Live``.
    boxes : tuple of Box
        Of the regions.
    """

    factory, device = "Flat", "cpu"

    def __init__(self, vectors: LiveVectors, regions: LiveVectors, boxes: tuple[Box, ...]) -> None:
        self.dim = vectors.dim
        self._vectors = vectors
        self.regions = regions
        self._boxes = boxes

    def __len__(self) -> int:
        return len(self._vectors)

    def search(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None = None
    ) -> tuple[Scores, Rows]:
        among = None if rows is None else check_rows(rows, len(self))
        size = len(self) if among is None else len(among)
        check_k(k, size)
        return settle(
            check_unit_rows(queries, self.dim, "queries"),
            k,
            size,
            search=functools.partial(self._search, among),
            fetch=self.bundles,
            score_error=float32_score_error(self.dim),
        )

    def range_search(
        self, queries: NDArray[np.float32], threshold: float, rows: NDArray[np.int64] | None = None
    ) -> tuple[Limits, Scores, Rows]:
        among = None if rows is None else check_rows(rows, len(self))
        least, error = check_threshold(threshold), float32_score_error(self.dim)
        queries = check_unit_rows(queries, self.dim, "queries")
        # Rounding must not lose a score at the threshold.
        radius = np.nextafter(np.float32(float(least) - error), np.float32(-np.inf))
        owners, scores, found = [np.empty(0, np.int64)], [np.empty(0, np.float32)], [np.empty(0, np.int64)]
        for first, block in self._blocks(queries, among):
            owner, column = np.nonzero(block >= radius)
            owners.append(owner + first)
            scores.append(block[owner, column])
            found.append(column if among is None else among[column])
        pairs = np.concatenate(owners), np.concatenate(scores), np.concatenate(found)
        return settle_range(queries, least, pairs, fetch=self.bundles, score_error=error)

    def stored(self, rows: NDArray[np.int64]) -> Vectors:
        """The vectors of the whole images."""
        check_held(rows, len(self))
        return self._vectors.take(rows.ravel()).reshape(*rows.shape, self.dim)

    def bundles(self, rows: NDArray[np.int64]) -> Vectors:
        """The vectors of images and of their regions, float32 of shape (rows.shape..., 1 + r, dim)."""
        check_held(rows, len(self))
        flat = rows.ravel()
        bundles = np.hstack([self._vectors.take(flat), self.regions.take(flat)])
        return bundles.reshape(*rows.shape, 1 + len(self._boxes), self.dim)

    def best_places(self, query: Vectors, rows: Rows, scale: float) -> tuple[list[Box | None], Vectors]:
        """Where a query fits each image, see ``best_boxes``, and the vector of what fits best.

        Parameters
        ----------
        query : float32 of shape (1, dim)
        rows : int64 of shape (n,)
        scale : float

        Returns
        -------
        boxes : list of Box or None
        vectors : float32 of shape (n, dim)
        """
        boxes: list[Box | None] = []
        vectors = np.empty((len(rows), self.dim), np.float32)
        step = self._at_once
        for first in range(0, len(rows), step):
            bundles = self.bundles(rows[first : first + step])
            scores = exact_scores(query, bundles.reshape(1, -1, self.dim)).reshape(bundles.shape[:2])
            places = scores.argmax(axis=1)
            boxes += best_boxes(scores, self._boxes, scale)
            vectors[first : first + step] = bundles[np.arange(len(bundles)), places]
        return boxes, vectors

    def _search(self, among: Rows | None, queries: Vectors, k: int) -> tuple[Scores, Rows]:
        found = [products.best_scores(block, k) for _, block in self._blocks(queries, among)]
        scores, rows = np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])
        return scores, rows if among is None else among[rows]

    def _blocks(self, queries: Vectors, among: Rows | None) -> Iterator[tuple[int, Scores]]:
        """The number of the first of some queries, and their scores with the images, float32 of shape (m, images)."""
        compared = len(self) if among is None else max(len(among), min(len(self), int(len(among) / _SHARE)))
        step = max(1, _SCORES // compared)
        for first in range(0, len(queries), step):
            some = queries[first : first + step]
            if among is None or len(among) > _SHARE * len(self):
                scores = self._all(some)
                yield first, scores if among is None else scores[:, among]
            else:
                yield first, self._copied(some, among)

    def _all(self, queries: Vectors) -> Scores:
        scores = np.empty((len(queries), len(self)), np.float32)
        for vectors, regions, rows in zip(self._vectors.parts, self.regions.parts, self._rows_of_parts, strict=True):
            for start, maxima in products.maxima(queries, vectors, regions):
                here = rows[start : start + maxima.shape[1]]
                live = here >= 0
                scores[:, here[live]] = maxima[:, live]
        return scores

    def _copied(self, queries: Vectors, among: Rows) -> Scores:
        scores = np.empty((len(queries), len(among)), np.float32)
        step = self._at_once
        for first in range(0, len(among), step):
            some = among[first : first + step]
            for start, maxima in products.maxima(queries, self._vectors.take(some), self.regions.take(some)):
                scores[:, first + start : first + start + maxima.shape[1]] = maxima
        return scores

    @property
    def _at_once(self) -> int:
        """How many bundles are copied at once."""
        return max(1, _COPIED // (self.dim * (1 + len(self._boxes))))

    @cached_property
    def _rows_of_parts(self) -> list[Rows]:
        return self._vectors.rows_of_parts()
