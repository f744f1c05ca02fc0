"""Several encoders of one model, one for each device, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
from PIL import Image

from zsretrieve.ports import Encoder, Pixels
from zsretrieve.vectors import Vectors


class Replicas:
    """Encoder port over encoders of one space: each batch goes to the one that has waited longest.

    Parameters
    ----------
    encoders : sequence of Encoder
        At least one. Batches are of the first one's size, and texts are its work alone.

    Raises
    ------
    ValueError
        If there is none, or their spaces differ.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        first = next(iter(encoders), None)
        if first is None or any(one.space != first.space for one in encoders):
            raise ValueError("replicas are encoders of one space")
        self._first = first
        self.space, self.head = first.space, first.head
        self.encoding = replace(first.encoding, device=",".join(one.encoding.device for one in encoders))
        self.text_encoding = first.text_encoding
        self.batch_size = first.batch_size
        self.concurrency = sum(one.concurrency for one in encoders)
        # One place in the queue for each call that may run at once: taken for a call, and put back at the end.
        self._free: SimpleQueue[Encoder] = SimpleQueue()
        for turn in range(max(one.concurrency for one in encoders)):
            for one in encoders:
                if turn < one.concurrency:
                    self._free.put(one)

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

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._first.token_counts(texts)
