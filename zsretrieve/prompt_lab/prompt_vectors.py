"""The vectors of prompts that several sets share: encoded once, pooled in many ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.pooling import pool_prompts
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.records import PromptSet, Space
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_texts_once


@dataclass(frozen=True, eq=False)
class PromptVectors:
    """One vector for each distinct prompt.

    Attributes
    ----------
    vectors : float32 of shape (n_prompts, dim), unit rows
    row_of : dict of str to int
        The row of each prompt.
    n_encoded : int
        Prompts that were not cached, so that the model had to encode them.
    cut : tuple of str
        Those of them that are longer than the model's context.
    """

    vectors: Vectors
    row_of: dict[str, int]
    n_encoded: int
    cut: tuple[str, ...]

    def prototypes(self, prompts: PromptSet) -> Vectors:
        """The prototypes of a set, float32 of shape (n_classes, dim), bit-identical to those of its index."""
        return pool_prompts(self.vectors, self.by_class(prompts))

    def by_class(self, prompts: PromptSet) -> list[list[int]]:
        """The rows of each class's prompts."""
        return [[self.row_of[text] for text in group] for group in prompts.prompts]

    def by_template(self, prompts: PromptSet) -> NDArray[np.int64]:
        """The rows of each template's prompts, int64 of shape (n_templates, n_classes)."""
        return np.array(self.by_class(prompts), dtype=np.int64).T


def encode_prompts(
    sets: Sequence[PromptSet],
    space: Space,
    model: Model,
    *,
    cached: bool = True,
    on_progress: OnProgress | None = None,
) -> PromptVectors:
    """The vector of every distinct prompt of some sets; the model is loaded only if one has to be encoded.

    The new prompts of each set are encoded by themselves, as for its index. So a set that shares no prompt with those
    before it is encoded in the same batches as for its index, and its vectors are bit-identical.

    Parameters
    ----------
    sets : sequence of PromptSet
    space : Space
        That of the images.
    model : Model
    cached : bool
        Use the cache of prompts, and keep these there.
    on_progress : callable, optional
        Called with (prompts encoded, prompts to encode).

    Raises
    ------
    SpaceMismatchError
        If the model has another embedding space.
    """
    row_of: dict[str, int] = {}
    new_of_sets: list[list[str]] = []
    for prompts in sets:
        before = len(row_of)
        for group in prompts.prompts:
            for text in group:
                row_of.setdefault(text, len(row_of))
        new_of_sets.append(list(row_of)[before:])
    memory = model.prompt_memory(space) if cached else None
    known = {} if memory is None else memory.recall(list(row_of))
    vectors = np.empty((len(row_of), space.dim), dtype=np.float32)
    for text, vector in known.items():
        vectors[row_of[text]] = vector
    cut: list[str] = []
    done, total = 0, len(row_of) - len(known)

    def keep(texts: Sequence[str], encoded: Vectors) -> None:
        nonlocal done
        if memory is not None:
            memory.keep(texts, encoded, model.load().text_encoding)
        done += len(texts)
        if on_progress is not None:
            on_progress(done, total)

    for new in new_of_sets:
        missing = [text for text in new if text not in known]
        if missing:
            encoded = encode_texts_once(model.load(space), [missing], keep=keep)
            vectors[[row_of[text] for text in missing]] = encoded.vectors
            cut += encoded.cut
    return PromptVectors(vectors, row_of, total, tuple(cut))
