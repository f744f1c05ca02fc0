"""How many images per second a model encodes on this machine."""

from __future__ import annotations

import time

import numpy as np

from zsretrieve.domain.ports import Encoder


def images_per_second(encoder: Encoder, seconds: float) -> float:
    """The rate of the image tower, without reading and decoding files.

    Parameters
    ----------
    encoder : Encoder
    seconds : float
        How long to encode batches of one size again and again, at least one, after one that warms up.
    """
    shape = (encoder.batch_size, *encoder.space.preprocessing.size, 3)
    batch = list(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    encoder.encode_prepared(batch)
    count, start = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - start < seconds:
        encoder.encode_prepared(batch)
        count += len(batch)
    return count / (time.perf_counter() - start)
