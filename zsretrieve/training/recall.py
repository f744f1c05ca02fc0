"""Retrieval among held-out images and their captions, in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from zsretrieve.training.pairs import Pairs

_ROWS = 1024


class Texts(Protocol):
    """The captions that a model encodes, by their numbers."""

    def all_vectors(self, numbers: NDArray[np.int64], /) -> torch.Tensor:
        """float32 of shape (n, dim), unit rows, on the CPU."""
        ...


@dataclass(frozen=True)
class HeldOut:
    """Held-out images: their vectors, float32 of shape (n, dim), unit rows; and ``captions``, the numbers of the
    distinct captions among theirs, ascending. ``belongs`` is bool of shape (n, n_captions).
    """

    vectors: torch.Tensor
    captions: NDArray[np.int64]
    belongs: NDArray[np.bool_]

    @classmethod
    def of(cls, pairs: Pairs, images: NDArray[np.int64], vectors: NDArray[np.float32]) -> HeldOut:
        captions = np.unique(np.concatenate([pairs.of_image[image] for image in images]))
        belongs = np.zeros((len(images), len(captions)), dtype=np.bool_)
        for row, image in enumerate(images):
            belongs[row, np.searchsorted(captions, pairs.of_image[image])] = True
        return cls(torch.from_numpy(vectors), captions, belongs)

    def recall(self, side: Texts) -> tuple[float, float]:
        """Recall@1 of text to image and of image to text: the share of captions whose nearest image has that caption,
        and of images whose nearest caption is one of theirs. Ties go to the first.
        """
        texts = side.all_vectors(self.captions)
        return _first(texts, self.vectors, self.belongs.T), _first(self.vectors, texts, self.belongs)


def _first(queries: torch.Tensor, among: torch.Tensor, belongs: NDArray[np.bool_]) -> float:
    best = torch.cat([(part @ among.T).argmax(dim=1) for part in torch.split(queries, _ROWS)]).numpy()
    return float(belongs[np.arange(len(queries)), best].mean())
