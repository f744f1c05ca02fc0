"""What every Encoder must do. Call ``check_encoder`` with a fresh one and a way to make another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.records import ScoreHead

TEXTS = ["a red circle", "a photo of a dog.", "a photo of a dog.", "", "Ünïcode, 日本語 and 🙂!", "x"]


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    made = []
    for number, mode in enumerate(["RGB", "L", "CMYK", "P", "RGBA", "LA", "1"]):
        pixels = rng.integers(0, 256, (30 + 7 * number, 90 - 9 * number, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        if mode in ("RGBA", "LA"):
            image.putalpha(200)
        made.append(image.convert(mode))
    return [*made, Image.new("RGB", (1, 1)), Image.new("RGB", (1, 60), "white")]


def check_encoder(make: Callable[[], Encoder], *, tolerance: float = 1e-5) -> None:
    encoder = make()
    _vectors_are_unit_rows(encoder)
    _order_and_batching_do_not_matter(encoder, tolerance)
    _calls_at_once_agree(encoder, tolerance)
    _nothing_in_nothing_out(encoder)
    _equal_texts_are_equal_vectors(encoder, tolerance)
    _long_prompts_are_cut_and_counted(encoder)
    _the_head_is_usable(encoder)
    _another_one_agrees(encoder, make(), tolerance)


def _unit(vectors: np.ndarray, n: int, encoder: Encoder) -> None:
    assert vectors.shape == (n, encoder.space.dim)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def _vectors_are_unit_rows(encoder: Encoder) -> None:
    prepared = [encoder.prepare(image) for image in pictures()]
    _unit(encoder.encode_prepared(prepared), len(prepared), encoder)
    _unit(encoder.encode_texts(TEXTS), len(TEXTS), encoder)
    assert encoder.batch_size >= 1


def _order_and_batching_do_not_matter(encoder: Encoder, tolerance: float) -> None:
    prepared = [encoder.prepare(image) for image in pictures()]
    together = encoder.encode_prepared(prepared)
    alone = np.concatenate([encoder.encode_prepared([pixels]) for pixels in prepared])
    np.testing.assert_allclose(together, alone, atol=tolerance)
    np.testing.assert_allclose(together[::-1], encoder.encode_prepared(prepared[::-1]), atol=tolerance)
    texts = encoder.encode_texts(TEXTS)
    np.testing.assert_allclose(texts, np.concatenate([encoder.encode_texts([t]) for t in TEXTS]), atol=tolerance)
    np.testing.assert_allclose(texts[::-1], encoder.encode_texts(TEXTS[::-1]), atol=tolerance)


def _calls_at_once_agree(encoder: Encoder, tolerance: float) -> None:
    assert encoder.concurrency >= 1
    prepared = [encoder.prepare(image) for image in pictures()[:3]]
    together = encoder.encode_prepared(prepared)
    with ThreadPoolExecutor(encoder.concurrency) as pool:
        for vectors in pool.map(encoder.encode_prepared, [prepared] * 2 * encoder.concurrency):
            np.testing.assert_allclose(vectors, together, atol=tolerance)


def _nothing_in_nothing_out(encoder: Encoder) -> None:
    assert encoder.encode_prepared([]).shape == (0, encoder.space.dim)
    assert encoder.encode_texts([]).shape == (0, encoder.space.dim)
    assert encoder.token_counts([]) == []


def _equal_texts_are_equal_vectors(encoder: Encoder, tolerance: float) -> None:
    vectors = encoder.encode_texts(TEXTS)
    np.testing.assert_allclose(vectors[1], vectors[2], atol=tolerance)
    assert np.abs(vectors[0] - vectors[1]).max() > 10 * tolerance, "different texts must differ"


def _long_prompts_are_cut_and_counted(encoder: Encoder) -> None:
    room = encoder.space.text.context_length
    long = "red circle " * room
    short, count = encoder.token_counts(["a red circle", long])
    assert 1 < short <= room < count
    _unit(encoder.encode_texts([long]), 1, encoder)
    longer = encoder.encode_texts([long, f"{long} and a blue square"])
    np.testing.assert_allclose(longer[0], longer[1], atol=1e-6)


def _the_head_is_usable(encoder: Encoder) -> None:
    assert encoder.head.scale > 0
    if encoder.head.kind is ScoreHead.SOFTMAX:
        assert encoder.head.bias == 0.0


def _another_one_agrees(encoder: Encoder, other: Encoder, tolerance: float) -> None:
    assert encoder.space == other.space
    assert not encoder.space.differences(other.space)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), other.encode_texts(TEXTS), atol=tolerance)
    image = pictures()[0]
    np.testing.assert_array_equal(encoder.prepare(image), other.prepare(image))
