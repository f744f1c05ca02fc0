"""What is said of images: all classes with scores and probabilities, by prototypes or by propagation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.ranking import check_k, order
from zsretrieve.domain.records import Prediction, ScoreHead
from zsretrieve.domain.vectors import Rows, Scores, Vectors
from zsretrieve.metrics import probabilities
from zsretrieve.store.indexes import Prototypes

# At most this many scores are in memory at once, or those of one image.
CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class Ranked:
    """The k best classes of n images, best first, ties to the lowest class id.

    Attributes
    ----------
    scores : float32 of shape (n, k)
    classes : int64 of shape (n, k)
    chances : float64 of shape (n, k)
    """

    scores: Scores
    classes: Rows
    chances: NDArray[np.float64]

    def first(self, k: int) -> Ranked:
        """The k best of them."""
        return Ranked(self.scores[:, :k], self.classes[:, :k], self.chances[:, :k])

    def predictions(self, names: tuple[str, ...]) -> list[tuple[Prediction, ...]]:
        """The same as records; ``names`` are those of all classes."""
        return [
            tuple(
                Prediction(rank, class_id, names[class_id], score, probability)
                for rank, (class_id, score, probability) in enumerate(zip(*row, strict=True), start=1)
            )
            for row in zip(self.classes.tolist(), self.scores.tolist(), self.chances.tolist(), strict=True)
        ]


class Answers(Protocol):
    """What is said of n images."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those of all classes."""
        ...

    def ranked(self, rows: slice | Rows, k: int) -> Ranked:
        """The k best classes of some of the images. Raises RankError if k does not fit the number of classes."""
        ...

    def scores(self, rows: slice | Rows) -> Scores:
        """The scores of some of the images with all classes, float32 of shape (n, n_classes)."""
        ...


@dataclass(frozen=True, eq=False)
class OfPrototypes:
    """The answers of prototypes for ``vectors``, float32 of shape (n, dim), unit rows."""

    vectors: Vectors
    prototypes: Prototypes

    @property
    def names(self) -> tuple[str, ...]:
        return self.prototypes.prompts.class_names

    def ranked(self, rows: slice | Rows, k: int) -> Ranked:
        vectors, prototypes = self.vectors[rows], self.prototypes
        scores, classes = prototypes.search(vectors, k)
        head = prototypes.head
        softmax = head.kind is ScoreHead.SOFTMAX
        total = prototypes.log_normaliser(vectors, scores[:, 0]) if softmax else None
        return Ranked(scores, classes, probabilities(scores, head, total))

    def scores(self, rows: slice | Rows) -> Scores:
        return self.prototypes.against(self.vectors[rows]).all()


@dataclass(frozen=True, eq=False)
class OfShares:
    """Answers that are shares: of each image and class a fraction, float64 of shape (n, n_classes).

    The score is the share in float32, and the probability the share itself.
    """

    shares: NDArray[np.float64]
    names: tuple[str, ...]

    def ranked(self, rows: slice | Rows, k: int) -> Ranked:
        check_k(k, len(self.names), "classes")
        shares = self.shares[rows]
        scores, classes = order(shares.astype(np.float32), np.broadcast_to(np.arange(shares.shape[1]), shares.shape))
        return Ranked(scores[:, :k], classes[:, :k], np.take_along_axis(shares, classes[:, :k], axis=1))

    def scores(self, rows: slice | Rows) -> Scores:
        return self.shares[rows].astype(np.float32)


def ranked_all(answers: Answers, n: int, k: int) -> Ranked:
    """The k best classes of all n images."""
    some = [answers.ranked(part, k) for part in parts(n, len(answers.names))]
    return Ranked(*(np.concatenate(one) for one in zip(*((s.scores, s.classes, s.chances) for s in some), strict=True)))


def parts(n: int, wide: int) -> Iterator[slice]:
    """Parts of n images, of each of which ``wide`` numbers are in memory."""
    step = max(1, CHUNK_ELEMENTS // max(1, wide))
    return (slice(start, start + step) for start in range(0, n, step))
