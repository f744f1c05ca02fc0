"""The oracle: a full product in float64, a full sort, nothing clever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.ranking import check_held, check_k, check_rows, check_threshold, order
from zsretrieve.domain.vectors import Limits, Rows, Scores, Vectors, check_unit_rows

_CHUNK_ELEMENTS = 1 << 24


class NumpyIndex:
    """VectorIndex port over numpy: exact, and slow on purpose."""

    factory = "Flat"
    device = "cpu"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._vectors: Vectors = np.empty((0, dim), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = np.concatenate([self._vectors, check_unit_rows(vectors, self.dim)])

    def search(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None = None
    ) -> tuple[Scores, Rows]:
        among = self._among(rows)
        check_k(k, len(among))
        scores = np.empty((len(queries), k), dtype=np.float32)
        found = np.empty((len(queries), k), dtype=np.int64)
        for start, every in self._products(queries, among):
            best_scores, best_rows = order(every, np.broadcast_to(among, every.shape))
            part = slice(start, start + len(every))
            scores[part], found[part] = best_scores[:, :k], best_rows[:, :k]
        return scores, found

    def range_search(
        self, queries: NDArray[np.float32], threshold: float, rows: NDArray[np.int64] | None = None
    ) -> tuple[Limits, Scores, Rows]:
        among = self._among(rows)
        least = check_threshold(threshold)
        counts: list[Limits] = [np.zeros(1, dtype=np.int64)]
        scores: list[Scores] = [np.empty(0, dtype=np.float32)]
        found: list[Rows] = [np.empty(0, dtype=np.int64)]
        for _, every in self._products(queries, among):
            reached = every >= least
            counts.append(reached.sum(axis=1))
            scores.append(every[reached])
            found.append(np.broadcast_to(among, every.shape)[reached])
        return np.cumsum(np.concatenate(counts)), np.concatenate(scores), np.concatenate(found)

    def stored(self, rows: NDArray[np.int64]) -> Vectors:
        check_held(rows, len(self))
        return self._vectors[rows]

    def _among(self, rows: NDArray[np.int64] | None) -> Rows:
        return np.arange(len(self), dtype=np.int64) if rows is None else check_rows(rows, len(self))

    def _products(self, queries: NDArray[np.float32], among: Rows) -> Iterator[tuple[int, Scores]]:
        asked = check_unit_rows(queries, self.dim, "queries").astype(np.float64)
        stored = self._vectors[among].astype(np.float64).T
        step = max(1, _CHUNK_ELEMENTS // max(1, len(among)))
        for start in range(0, len(asked), step):
            yield start, (asked[start : start + step] @ stored).astype(np.float32)

    def save(self, path: Path) -> None:
        with open(path, "wb") as file:
            np.save(file, self._vectors)


class NumpyBackend:
    """IndexBackend port over numpy."""

    def create(self, dim: int) -> NumpyIndex:
        return NumpyIndex(dim)

    def load(self, path: Path, aligned: Sequence[Vectors] = ()) -> NumpyIndex:
        try:
            vectors = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise IntegrityError(f"'{path}' is not an index: {error}", hint="Build the index again.") from error
        index = NumpyIndex(vectors.shape[1])
        index.add(vectors)
        return index
