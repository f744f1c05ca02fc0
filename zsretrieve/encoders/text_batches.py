"""Texts of like length encoded together, so that little is spent on padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from zsretrieve.encoders.tokenizing import Ids, TextTokenizer
from zsretrieve.vectors import Vectors


def in_batches(
    tokenizer: TextTokenizer,
    ids: Sequence[Ids],
    encode: Callable[[Ids], Vectors],
    *,
    dim: int,
    causal: bool,
    most_tokens: int,
    most_rows: int,
) -> Vectors:
    """Encode texts, longest first, in batches bounded by tokens, and give their vectors in the order of the texts.

    Parameters
    ----------
    tokenizer : TextTokenizer
        Pads the rows and knows the context.
    ids : sequence of int64 of shape (tokens,)
        What ``tokenizer.ids`` gave.
    encode : callable
        Vectors, float32 of shape (n, dim), of int64 tokens of shape (n, width).
    dim : int
    causal : bool
        Whether rows may be cut to the longest of their batch; they have the full context otherwise.
    most_tokens, most_rows : int
        A batch has at most that many tokens, padding included, and texts; one text is always encoded.

    Returns
    -------
    float32 of shape (len(ids), dim)
    """
    vectors = np.empty((len(ids), dim), dtype=np.float32)
    lengths = np.array([len(one) for one in ids], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        width = tokenizer.context_length
        if causal:
            width = min(width, int(lengths[order[start]]))
        rows = order[start : start + max(1, min(most_rows, most_tokens // width))]
        vectors[rows] = encode(tokenizer.padded([ids[row] for row in rows], width))
        start += len(rows)
    return vectors
