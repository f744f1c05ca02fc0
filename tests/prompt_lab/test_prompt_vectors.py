"""Prompts are encoded once over all sets, and pooled to the bits of an index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.prompting import NAMES, TEMPLATES, prompt_set

import zsretrieve as zs
from zsretrieve.domain.errors import SpaceMismatchError
from zsretrieve.domain.ports import Encoder, PromptMemory
from zsretrieve.domain.records import Encoding, Space
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding import batches
from zsretrieve.prompt_lab.prompt_vectors import encode_prompts


class Recording(HashingEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.encoded.extend(texts)
        return super().encode_texts(texts)


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, Vectors] = {}

    def recall(self, texts: Sequence[str]) -> dict[str, Vectors]:
        return {text: self.kept[text] for text in texts if text in self.kept}

    def keep(self, texts: Sequence[str], vectors: Vectors, encoding: Encoding) -> None:
        assert encoding.engine == "numpy"
        self.kept.update(zip(texts, vectors.copy(), strict=True))


class Remembering(Model):
    """A model whose prompts are cached in a memory of the test; without an encoder it must not be loaded."""

    def __init__(self, memory: Memory, encoder: Encoder | None = None) -> None:
        super().__init__()
        self._memory = memory
        self._encoder = encoder

    def load(self, space: Space | None = None) -> Encoder:
        assert self._encoder is not None, "no encoder is needed for this"
        return super().load(space)

    def prompt_memory(self, space: Space) -> PromptMemory:
        return self._memory


SETS = [
    prompt_set(templates=TEMPLATES[:1], source="raw"),
    prompt_set(source="all"),
    prompt_set(templates=TEMPLATES[2:]),
]


def test_each_distinct_prompt_is_encoded_once_and_pooled_as_an_index_is() -> None:
    encoder, steps = Recording(), []
    texts = encode_prompts(SETS, encoder.space, Model.of(encoder), on_progress=lambda *step: steps.append(step))
    distinct = {text for prompts in SETS for group in prompts.prompts for text in group}
    assert sorted(encoder.encoded) == sorted(distinct)
    assert texts.n_encoded == len(distinct) == 4 * len(TEMPLATES)
    assert steps[-1] == (len(distinct), len(distinct))
    for prompts in SETS:
        index = zs.make_prototypes(prompts, HashingEncoder(), device="cpu").prototypes
        assert texts.prototypes(prompts).tobytes() == index.vectors.tobytes()
        assert texts.prototypes(prompts)[0].tobytes() == texts.prototypes(prompts)[3].tobytes(), "twins stay twins"
        rows = texts.by_template(prompts)
        assert rows.shape == (len(prompts.templates), len(NAMES))
        np.testing.assert_array_equal(texts.vectors[rows[0, 1]], texts.vectors[texts.row_of[prompts.prompts[1][0]]])


def test_sets_that_share_nothing_have_the_bits_of_their_indexes_with_a_real_model(demo_encoder: Encoder) -> None:
    sets = [prompt_set(templates=["{}"], source="raw"), prompt_set(templates=["a photo of a {}.", "a {}."])]
    texts = encode_prompts(sets, demo_encoder.space, Model.of(demo_encoder))
    for prompts in sets:
        index = zs.make_prototypes(prompts, demo_encoder, device="cpu").prototypes
        assert texts.prototypes(prompts).tobytes() == index.vectors.tobytes()


def test_cached_prompts_are_not_encoded_and_are_the_same() -> None:
    memory, first, second = Memory(), Recording(), Recording()
    encode_prompts(SETS[:1], first.space, Remembering(memory, first))
    assert len(memory.kept) == 4
    found = encode_prompts(SETS, second.space, Remembering(memory, second))
    assert not set(first.encoded) & set(second.encoded)
    again = encode_prompts(SETS, second.space, Remembering(memory))
    assert again.n_encoded == 0
    assert again.vectors.tobytes() == found.vectors.tobytes()
    assert again.vectors.tobytes() == encode_prompts(SETS, first.space, Model.of(HashingEncoder())).vectors.tobytes()


def test_what_was_encoded_before_a_failure_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_TEXT_CHUNK", 5)
    memory, encoder = Memory(), Recording()
    encode_texts = encoder.encode_texts

    def fails_later(texts: Sequence[str]) -> Vectors:
        if len(encoder.encoded) >= 10:
            raise KeyboardInterrupt
        return encode_texts(texts)

    monkeypatch.setattr(encoder, "encode_texts", fails_later)
    with pytest.raises(KeyboardInterrupt):
        encode_prompts([prompt_set()], encoder.space, Remembering(memory, encoder))
    assert sorted(memory.kept) == sorted(encoder.encoded)
    assert len(memory.kept) == 10


def test_cut_prompts_are_reported_and_another_space_is_refused() -> None:
    long = prompt_set(templates=["{} " + "x " * 70])
    encoder = HashingEncoder()
    assert len(encode_prompts([long], encoder.space, Model.of(encoder)).cut) == 4
    with pytest.raises(SpaceMismatchError):
        encode_prompts([long], encoder.space, Model.of(HashingEncoder(seed=3)))
