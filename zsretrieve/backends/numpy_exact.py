"""The oracle: a full product in float64, a full sort, nothing clever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import IntegrityError
from zsretrieve.ranking import check_k, order
from zsretrieve.vectors import Rows, Scores, Vectors, check_unit_rows

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

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[Scores, Rows]:
        check_k(k, len(self))
        asked = check_unit_rows(queries, self.dim, "queries").astype(np.float64)
        stored = self._vectors.astype(np.float64).T
        scores = np.empty((len(asked), k), dtype=np.float32)
        rows = np.empty((len(asked), k), dtype=np.int64)
        step = max(1, _CHUNK_ELEMENTS // len(self))
        for start in range(0, len(asked), step):
            every = (asked[start : start + step] @ stored).astype(np.float32)
            numbers = np.broadcast_to(np.arange(len(self), dtype=np.int64), every.shape)
            best_scores, best_rows = order(every, numbers)
            scores[start : start + step], rows[start : start + step] = best_scores[:, :k], best_rows[:, :k]
        return scores, rows

    def stored(self, rows: NDArray[np.int64]) -> Vectors:
        return self._vectors[rows]

    def save(self, path: Path) -> None:
        with open(path, "wb") as file:
            np.save(file, self._vectors)


class NumpyBackend:
    """IndexBackend port over numpy."""

    def create(self, dim: int) -> NumpyIndex:
        return NumpyIndex(dim)

    def load(self, path: Path) -> NumpyIndex:
        try:
            vectors = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise IntegrityError(f"'{path}' is not an index: {error}", hint="Build the index again.") from error
        index = NumpyIndex(vectors.shape[1])
        index.add(vectors)
        return index
