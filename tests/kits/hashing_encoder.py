"""A deterministic encoder without a model: random projections of thumbnails and of character trigrams.

It knows nothing of the world. Tests use it wherever a real encoder would only cost time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.domain.ports import Encoder, Pixels
from zsretrieve.domain.records import Encoding, Head, Preprocessing, ScoreHead, Space, TextContext
from zsretrieve.domain.settings import Precision
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.encoders.loading import Model

_SIDE = 8
_BUCKETS = 512


class HashingEncoder:
    """Encoder port over numpy alone.

    Parameters
    ----------
    dim : int
    seed : int
        Another seed is another space.
    """

    def __init__(self, dim: int = 32, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._image = rng.standard_normal((3 * _SIDE * _SIDE + 1, dim))
        self._text = rng.standard_normal((_BUCKETS, dim))
        self.space = Space(
            model=f"hashing-{seed}",
            weights=f"seed:{seed}",
            dim=dim,
            activation="none",
            preprocessing=Preprocessing((_SIDE, _SIDE), (0.5,) * 3, (0.5,) * 3, "bilinear", "squash"),
            text=TextContext("trigrams", 64),
        )
        self.head = Head(ScoreHead.SOFTMAX, 10.0)
        self.encoding = Encoding("numpy", "fp64", "cpu")
        self.batch_size = 16
        self.concurrency = 1

    @property
    def text_encoding(self) -> Encoding:
        return self.encoding

    def prepare(self, image: Image.Image) -> Pixels:
        small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        return np.asarray(small, dtype=np.float64).ravel() / 127.5 - 1.0

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        # The constant gives even a mid-grey picture a direction.
        return unit_rows(np.stack([np.append(pixels, 1.0) @ self._image for pixels in batch]))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, self.space.dim), dtype=np.float32)
        return unit_rows(np.stack([self._counts(text) @ self._text for text in texts]))

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) + 2 for text in texts]

    def _counts(self, text: str) -> NDArray[np.float64]:
        words = text.split()[: self.space.text.context_length - 2]
        padded = f"  {' '.join(words).casefold()}  "
        counts = np.zeros(_BUCKETS)
        for start in range(len(padded) - 2):
            counts[zlib.crc32(padded[start : start + 3].encode("utf-8", "surrogatepass")) % _BUCKETS] += 1.0
        return counts


class LazyModel(Model):
    """A model whose encoder is made by ``make`` when it is first needed."""

    def __init__(self, make: Callable[[], Encoder]) -> None:
        super().__init__()
        self._make = make

    def named(self, _name: str) -> Model:
        return self

    def computed_with(self, _precision: Precision) -> Model:
        return self

    def check(self, space: Space) -> bool:
        return self._encoder is not None and super().check(space)

    def _load(self) -> Encoder:
        return self._make()


def _never() -> Encoder:
    raise AssertionError("no model is needed for this")


NEVER = LazyModel(_never)
