from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.text.batching import BatchLimits, in_batches
from zsretrieve.encoders.text.tokenizer import Ids, TextTokenizer

CONTEXT = 24
WORDS = ["cat", "dog", "antidisestablishmentarianism", "1", "red circle", "hippopotamus ox"]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.from_openclip(SimpleTokenizer(context_length=CONTEXT))


class Seen:
    """Stands for a model: the sums of tokens and of their squares, and notes what it was shown."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []

    def __call__(self, tokens: Ids) -> Vectors:
        self.shapes.append((tokens.shape[0], tokens.shape[1]))
        return np.stack([tokens.sum(axis=1), (tokens % 97).sum(axis=1)], axis=1).astype(np.float32)


@settings(deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join), max_size=40),
    most_tokens=st.integers(1, 200),
    most_rows=st.integers(1, 12),
    causal=st.booleans(),
)
def test_every_text_once_in_its_place_within_bounds(
    tokenizer: TextTokenizer, texts: list[str], most_tokens: int, most_rows: int, causal: bool
) -> None:
    seen, ids = Seen(), tokenizer.ids(texts)
    vectors = in_batches(tokenizer, ids, seen, BatchLimits(2, causal, most_tokens, most_rows))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, Seen()(tokenizer.padded(ids, CONTEXT)).reshape(-1, 2))
    assert sum(rows for rows, _ in seen.shapes) == len(texts)
    for rows, width in seen.shapes:
        assert rows == 1 or (rows <= most_rows and rows * width <= most_tokens)
        assert width == CONTEXT or (causal and width in {len(one) for one in ids})


def test_rows_are_cut_to_the_longest_of_their_batch(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.ids(["a", "a b", "a b c", "a b c d", "a", "a"])
    seen = Seen()
    in_batches(tokenizer, ids, seen, BatchLimits(2, True, 100, 2))
    assert seen.shapes == [(2, 6), (2, 4), (2, 3)]
    seen = Seen()
    in_batches(tokenizer, ids, seen, BatchLimits(2, False, 100, 100))
    assert seen.shapes == [(4, CONTEXT), (2, CONTEXT)]
