"""An open prototype index, and the scores of vectors with its classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zsretrieve import metrics
from zsretrieve.domain.ports import VectorIndex
from zsretrieve.domain.ranking import check_k, order
from zsretrieve.domain.records import Head, Manifest, PromptSet, Space
from zsretrieve.domain.vectors import Rows, Scores, Vectors, augmented_queries, unit_rows
from zsretrieve.store.key_values import KeyValues
from zsretrieve.store.prototype_files import Digests

_AUGMENTED_AT_ONCE = 1 << 15
# At most this many scores with all classes are in memory at once (32 MiB in float64), or those of one vector.
_SCORES_AT_ONCE = 1 << 22


class ClassScores(Protocol):
    """The scores of n vectors with all classes: what ``Prototypes.head`` turns into logits."""

    def best(self, k: int) -> tuple[Scores, Rows]:
        """The k best classes of each vector, best first, ties to the lowest class id; each of shape (n, k)."""
        ...

    def of(self, classes: Rows) -> NDArray[np.float64]:
        """The score of each vector with a class of its own, float64 of shape (n,)."""
        ...

    def log_normaliser(self, head: Head, best: Scores) -> NDArray[np.float64]:
        """Log of the softmax denominator over all classes, float64 of shape (n,).

        ``best`` is the highest score of each vector, float32 of shape (n,), as ``best`` returns it.
        """
        ...

    def all(self) -> Scores:
        """The exact scores, float32 of shape (n, n_classes)."""
        ...


@dataclass(frozen=True, repr=False)
class Prototypes:
    """An open prototype index.

    ``vectors`` are float32 of shape (n_classes, ``manifest.dim``), unit rows. ``drawn`` are the sha256 of the images
    they were made from, uint8 of shape (n, 32), ascending; None for prototypes made from texts alone. ``keys`` add to
    the scores if there is an adapter.
    """

    folder: Path | None
    manifest: Manifest
    prompts: PromptSet
    vectors: Vectors
    index: VectorIndex
    drawn: Digests | None = None
    keys: KeyValues | None = None

    @property
    def space(self) -> Space:
        return self.manifest.space

    @property
    def head(self) -> Head:
        """What turns scores into logits: the model's own scale and bias, or a fitted scale with the bias that fits."""
        scale = self.manifest.fitted_scale
        return self.manifest.head if scale is None else self.manifest.head.at(scale)

    def at_scale(self, scale: float) -> Prototypes:
        """The same prototypes with another scale for probabilities."""
        return replace(self, manifest=replace(self.manifest, fitted_scale=scale))

    @property
    def class_queries(self) -> Vectors:
        """What ranks images for each class, float32 of shape (n_classes, ``space.dim``), unit rows; without the keys of
        an adapter.

        A bias shifts the scores of a class equally for all images, so it does not change their order.
        """
        return unit_rows(self.vectors[:, :-2]) if self.manifest.lifted else self.vectors

    def queries(self, vectors: Vectors) -> Vectors:
        """Vectors of the embedding space as queries of ``index``, float32 of shape (n, ``manifest.dim``)."""
        return augmented_queries(vectors) if self.manifest.lifted else vectors

    def against(self, vectors: Vectors) -> ClassScores:
        """The scores of vectors of the embedding space, float32 of shape (n, ``space.dim``), with all classes.

        With an adapter they are computed now, so pass no more vectors than so many scores may take memory.
        """
        if not self._has_keys:
            return _Products(self, self.queries(vectors))
        assert self.keys is not None
        scores = vectors.astype(np.float64) @ self.vectors.astype(np.float64).T
        # The keys add to logits, which are the scores times the head's own scale.
        scores += self.keys.added(vectors, len(self.vectors)) / self.manifest.head.scale
        return _Whole(scores.astype(np.float32))

    def search(self, vectors: Vectors, k: int) -> tuple[Scores, Rows]:
        """The k best classes of each vector of the embedding space, best first, ties to the lowest class id.

        Parameters
        ----------
        vectors : float32 of shape (n, ``space.dim``), unit rows
        k : int

        Returns
        -------
        scores : float32 of shape (n, k)
            What ``head`` turns into logits: cosine similarity, unless the prototypes are augmented or have an adapter.
        rows : int64 of shape (n, k)

        Raises
        ------
        RankError
            If k is below 1 or above the number of classes.
        """
        check_k(k, len(self.index), "classes")
        scores, rows = np.empty((len(vectors), k), np.float32), np.empty((len(vectors), k), np.int64)
        for some in self._parts(len(vectors)):
            scores[some], rows[some] = self.against(vectors[some]).best(k)
        return scores, rows

    def log_normaliser(self, vectors: Vectors, best: Scores) -> NDArray[np.float64]:
        """Log of the softmax denominator over all classes for each vector of the space, float64 of shape (n,).

        ``best`` is the highest score of each, float32 of shape (n,), as ``search`` returns it.
        """
        normalisers = np.empty(len(vectors), dtype=np.float64)
        for some in self._parts(len(vectors)):
            normalisers[some] = self.against(vectors[some]).log_normaliser(self.head, best[some])
        return normalisers

    def ranking(self, vectors: Vectors, classes: Rows) -> NDArray[np.floating[Any]]:
        """Scores that order images for each of some classes, of shape (n, len(classes))."""
        if self._has_keys:
            return self.against(vectors).all()[:, classes]
        queries = self.class_queries[classes].astype(np.float64)
        return np.asarray(vectors.astype(np.float64) @ queries.T)

    def _parts(self, n: int) -> Iterator[slice]:
        """The vectors to take together: all that are searched as they are."""
        step = max(1, n)
        if self._has_keys:
            step = max(1, _SCORES_AT_ONCE // len(self.vectors))
        elif self.manifest.lifted:
            step = _AUGMENTED_AT_ONCE
        return (slice(start, start + step) for start in range(0, n, step))

    @property
    def _has_keys(self) -> bool:
        """Whether the keys of an adapter add anything: with an alpha of 0, the scores are those of the text alone."""
        return self.keys is not None and self.keys.alpha != 0

    def __repr__(self) -> str:
        return (
            f"Prototypes({str(self.folder)!r}, {len(self.vectors)} classes, {self.space.model}, dim {self.space.dim})"
        )


@dataclass(frozen=True, eq=False)
class _Products:
    """Inner products, found by the index."""

    prototypes: Prototypes
    queries: Vectors

    def best(self, k: int) -> tuple[Scores, Rows]:
        return self.prototypes.index.search(self.queries, k)

    def of(self, classes: Rows) -> NDArray[np.float64]:
        rows = self.prototypes.vectors[classes]
        return np.asarray(np.einsum("nd,nd->n", self.queries, rows, dtype=np.float64))

    def log_normaliser(self, head: Head, best: Scores) -> NDArray[np.float64]:
        return metrics.log_normaliser(self.queries, self.prototypes.vectors, head, best)

    def all(self) -> Scores:
        wide = self.prototypes.vectors.astype(np.float64)
        return np.asarray(self.queries.astype(np.float64) @ wide.T, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Whole:
    """Scores that are all computed, float32 of shape (n, n_classes)."""

    scores: Scores

    def best(self, k: int) -> tuple[Scores, Rows]:
        rows = np.broadcast_to(np.arange(self.scores.shape[1]), self.scores.shape)
        scores, classes = order(self.scores, rows)
        return scores[:, :k], classes[:, :k]

    def of(self, classes: Rows) -> NDArray[np.float64]:
        return self.scores[np.arange(len(classes)), classes].astype(np.float64)

    def log_normaliser(self, head: Head, best: Scores) -> NDArray[np.float64]:
        behind = head.scale * (self.scores.astype(np.float64) - best[:, None])
        return np.asarray(head.scale * best.astype(np.float64) + head.bias + np.log(np.exp(behind).sum(axis=1)))

    def all(self) -> Scores:
        return self.scores
