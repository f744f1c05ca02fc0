"""Prompts are encoded once over all sets, and pooled to the bits of an index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from kits.prompting import NAMES, TEMPLATES, prompt_set

from zsretrieve import api
from zsretrieve.encoders.hashing import HashingEncoder
from zsretrieve.errors import SpaceMismatchError
from zsretrieve.ports import Encoder
from zsretrieve.records import Encoding
from zsretrieve.vectors import Vectors
from zsretrieve.verbs import encode
from zsretrieve.verbs.prompt_vectors import encode_prompts


class Noting(HashingEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.asked.extend(texts)
        return super().encode_texts(texts)


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, Vectors] = {}

    def recall(self, texts: Sequence[str]) -> dict[str, Vectors]:
        return {text: self.kept[text] for text in texts if text in self.kept}

    def keep(self, texts: Sequence[str], vectors: Vectors, encoding: Encoding) -> None:
        assert encoding.engine == "numpy"
        self.kept.update(zip(texts, vectors.copy(), strict=True))


def never() -> Encoder:
    raise AssertionError("no encoder is needed for this")


SETS = [
    prompt_set(templates=TEMPLATES[:1], source="raw"),
    prompt_set(source="all"),
    prompt_set(templates=TEMPLATES[2:]),
]


def test_each_distinct_prompt_is_encoded_once_and_pooled_as_an_index_is() -> None:
    encoder, steps = Noting(), []
    texts = encode_prompts(SETS, encoder.space, lambda: encoder, on_progress=lambda *step: steps.append(step))
    distinct = {text for prompts in SETS for group in prompts.prompts for text in group}
    assert sorted(encoder.asked) == sorted(distinct)
    assert texts.n_encoded == len(distinct) == 4 * len(TEMPLATES)
    assert steps[-1] == (len(distinct), len(distinct))
    for prompts in SETS:
        index = api.make_prototypes(prompts, HashingEncoder(), device="cpu").prototypes
        assert texts.prototypes(prompts).tobytes() == index.vectors.tobytes()
        assert texts.prototypes(prompts)[0].tobytes() == texts.prototypes(prompts)[3].tobytes(), "twins stay twins"
        rows = texts.by_template(prompts)
        assert rows.shape == (len(prompts.templates), len(NAMES))
        np.testing.assert_array_equal(texts.vectors[rows[0, 1]], texts.vectors[texts.row_of[prompts.prompts[1][0]]])


def test_sets_that_share_nothing_have_the_bits_of_their_indexes_with_a_real_model(demo_encoder: Encoder) -> None:
    sets = [prompt_set(templates=["{}"], source="raw"), prompt_set(templates=["a photo of a {}.", "a {}."])]
    texts = encode_prompts(sets, demo_encoder.space, lambda: demo_encoder)
    for prompts in sets:
        index = api.make_prototypes(prompts, demo_encoder, device="cpu").prototypes
        assert texts.prototypes(prompts).tobytes() == index.vectors.tobytes()


def test_what_is_remembered_is_not_encoded_and_is_the_same() -> None:
    memory, first, second = Memory(), Noting(), Noting()
    encode_prompts(SETS[:1], first.space, lambda: first, memory=memory)
    assert len(memory.kept) == 4
    found = encode_prompts(SETS, second.space, lambda: second, memory=memory)
    assert not set(first.asked) & set(second.asked)
    again = encode_prompts(SETS, second.space, never, memory=memory)
    assert again.n_encoded == 0
    assert again.vectors.tobytes() == found.vectors.tobytes()
    assert again.vectors.tobytes() == encode_prompts(SETS, first.space, HashingEncoder).vectors.tobytes()


def test_what_was_encoded_before_a_failure_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_TEXT_CHUNK", 5)
    memory, encoder = Memory(), Noting()
    encode_texts = encoder.encode_texts

    def fails_later(texts: Sequence[str]) -> Vectors:
        if len(encoder.asked) >= 10:
            raise KeyboardInterrupt
        return encode_texts(texts)

    monkeypatch.setattr(encoder, "encode_texts", fails_later)
    with pytest.raises(KeyboardInterrupt):
        encode_prompts([prompt_set()], encoder.space, lambda: encoder, memory=memory)
    assert sorted(memory.kept) == sorted(encoder.asked)
    assert len(memory.kept) == 10


def test_prompts_that_are_cut_are_told_and_another_space_is_refused() -> None:
    long = prompt_set(templates=["{} " + "x " * 70])
    encoder = HashingEncoder()
    assert len(encode_prompts([long], encoder.space, lambda: encoder).cut) == 4
    with pytest.raises(SpaceMismatchError):
        encode_prompts([long], encoder.space, lambda: HashingEncoder(seed=3))
