"""The vectors of prompts that several sets share: encoded once, pooled in many ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.pooling import pool_prompts
from zsretrieve.ports import Encoder, MakeEncoder, PromptMemory
from zsretrieve.records import PromptSet, Space
from zsretrieve.store.indexes import check_same_space
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.encode import OnProgress, encode_texts_once


@dataclass(frozen=True, eq=False)
class PromptVectors:
    """One vector for each distinct prompt.

    Attributes
    ----------
    vectors : float32 of shape (n_prompts, dim), unit rows
    row_of : dict of str to int
        The row of each prompt.
    n_encoded : int
        Prompts that the model had to see, since no memory held them.
    cut : tuple of str
        Those of them that are longer than the model's context.
    """

    vectors: Vectors
    row_of: dict[str, int]
    n_encoded: int
    cut: tuple[str, ...]

    def prototypes(self, prompts: PromptSet) -> Vectors:
        """The prototypes of a set, float32 of shape (n_classes, dim), with the bits that an index of it would have."""
        return pool_prompts(self.vectors, [[self.row_of[text] for text in group] for group in prompts.prompts])

    def by_template(self, prompts: PromptSet) -> NDArray[np.int64]:
        """The rows of each template's prompts, int64 of shape (n_templates, n_classes)."""
        rows = [[self.row_of[text] for text in group] for group in prompts.prompts]
        return np.array(rows, dtype=np.int64).T


def encode_prompts(
    sets: Sequence[PromptSet],
    space: Space,
    make_encoder: MakeEncoder,
    *,
    memory: PromptMemory | None = None,
    on_progress: OnProgress | None = None,
) -> PromptVectors:
    """The vector of every distinct prompt of some sets; the encoder is asked for only if one has to be encoded.

    What is new of a set is encoded by itself, as it is for an index. So a set that shares nothing with those before it
    is encoded in the same batches as for its index, and has the same bits.

    Parameters
    ----------
    sets : sequence of PromptSet
    space : Space
        That of the pictures.
    make_encoder : callable
    memory : PromptMemory, optional
        Where vectors are looked for first, and kept.
    on_progress : callable, optional
        Called with (prompts encoded, prompts to encode).

    Raises
    ------
    SpaceMismatchError
        If the encoder is of another space.
    """
    row_of: dict[str, int] = {}
    news: list[list[str]] = []
    for prompts in sets:
        before = len(row_of)
        for group in prompts.prompts:
            for text in group:
                row_of.setdefault(text, len(row_of))
        news.append(list(row_of)[before:])
    vectors = np.empty((len(row_of), space.dim), dtype=np.float32)
    known = {} if memory is None else memory.recall(list(row_of))
    for text, vector in known.items():
        vectors[row_of[text]] = vector
    encoder: Encoder | None = None
    cut: list[str] = []
    done, total = 0, len(row_of) - len(known)

    def keep(texts: Sequence[str], made: Vectors) -> None:
        nonlocal done
        if memory is not None and encoder is not None:
            memory.keep(texts, made, encoder.text_encoding)
        done += len(texts)
        if on_progress is not None:
            on_progress(done, total)

    for new in news:
        missing = [text for text in new if text not in known]
        if not missing:
            continue
        if encoder is None:
            encoder = make_encoder()
            check_same_space(space, "the gallery", encoder.space, "the model")
        encoded = encode_texts_once(encoder, [missing], keep=keep)
        vectors[[row_of[text] for text in missing]] = encoded.vectors
        cut += encoded.cut
    return PromptVectors(vectors, row_of, total, tuple(cut))
