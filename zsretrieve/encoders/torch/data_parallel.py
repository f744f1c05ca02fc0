"""Several encoders of one model, one per device, behind one port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.domain.ports import Encoder, Pixels
from zsretrieve.domain.vectors import Vectors


class Replicas:
    """Encoder port over encoders of one embedding space: each batch goes to the one that has been idle longest.

    Parameters
    ----------
    encoders : sequence of Encoder
        At least one. The first decides the batch size and encodes all texts.

    Raises
    ------
    ValueError
        If there is none, or their embedding spaces differ.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        first = next(iter(encoders), None)
        if first is None or any(encoder.space != first.space for encoder in encoders):
            raise ValueError("replicas must have the same embedding space")
        self._first = first
        self.space, self.head = first.space, first.head
        self.encoding = replace(first.encoding, device=",".join(encoder.encoding.device for encoder in encoders))
        self.text_encoding = first.text_encoding
        self.batch_size = first.batch_size
        self.concurrency = sum(encoder.concurrency for encoder in encoders)
        # Each encoder is in the queue as often as calls of it may run at once.
        self._free: SimpleQueue[Encoder] = SimpleQueue()
        for turn in range(max(encoder.concurrency for encoder in encoders)):
            for encoder in encoders:
                if turn < encoder.concurrency:
                    self._free.put(encoder)

    def prepare(self, image: Image.Image) -> Pixels:
        return self._first.prepare(image)

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        encoder = self._free.get()
        try:
            return encoder.encode_prepared(batch)
        finally:
            self._free.put(encoder)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._first.encode_texts(texts)

    @property
    def has_patches(self) -> bool:
        return bool(getattr(self._first, "has_patches", False))

    def encode_patches(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """See ``TorchEncoder.encode_patches``."""
        patches: NDArray[np.float32] = self._first.encode_patches(batch)  # type: ignore[attr-defined]
        return patches

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._first.token_counts(texts)
