"""Encoding texts of similar length together, so that little is spent on padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.text.tokenizer import Ids, TextTokenizer


@dataclass(frozen=True)
class BatchLimits:
    """What a text tower takes.

    Attributes
    ----------
    dim : int
        Of its vectors.
    causal : bool
        Whether rows may be cut to the longest of their batch; otherwise they have the full context.
    most_tokens, most_rows : int
        The tokens, padding included, and the texts per batch; at least one text is encoded.
    """

    dim: int
    causal: bool
    most_tokens: int
    most_rows: int


def in_batches(
    tokenizer: TextTokenizer, ids: Sequence[Ids], encode: Callable[[Ids], Vectors], limits: BatchLimits
) -> Vectors:
    """Encode texts, longest first, in batches bounded by tokens.

    Parameters
    ----------
    tokenizer : TextTokenizer
        Pads the rows and knows the context.
    ids : sequence of int64 of shape (tokens,)
        What ``tokenizer.ids`` returned.
    encode : callable
        Vectors, float32 of shape (n, dim), of int64 tokens of shape (n, width).
    limits : BatchLimits

    Returns
    -------
    float32 of shape (len(ids), dim), in the order of the texts
    """
    vectors = np.empty((len(ids), limits.dim), dtype=np.float32)
    lengths = np.array([len(one) for one in ids], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        width = tokenizer.context_length
        if limits.causal:
            width = min(width, int(lengths[order[start]]))
        rows = order[start : start + max(1, min(limits.most_rows, limits.most_tokens // width))]
        vectors[rows] = encode(tokenizer.padded([ids[row] for row in rows], width))
        start += len(rows)
    return vectors
