"""A source as items and vectors, and distinct prompts as vectors."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from PIL import Image

from zsretrieve.domain.errors import (
    SkippedInputError,
)
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_source, encode_texts_once
from zsretrieve.images import sources


def test_encoding_keeps_order_and_counts(scene_folder: Path, hashing_encoder: HashingEncoder) -> None:
    source = sources.folder(scene_folder)
    steps: list[tuple[int, int]] = []
    encoded = encode_source(
        source, Model.of(hashing_encoder), Reading(workers=3), on_progress=lambda *step: steps.append(step)
    )
    assert [i.path for i in encoded.items] == [f.path for f in source.files]
    assert [i.id for i in encoded.items] == list(range(360))
    assert steps[-1] == (360, 360)
    assert steps == sorted(steps)
    for row in (0, 17, 359):
        image = Image.open(source.address(source.files[row]))
        alone = hashing_encoder.encode_prepared([hashing_encoder.prepare(image)])
        np.testing.assert_array_equal(encoded.vectors[row], alone[0])


def test_a_broken_image_is_skipped_and_shifts_nothing(
    scene_folder: Path, hashing_encoder: HashingEncoder, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(scene_folder / "red circle", tmp_path / "in"))
    Image.new("RGB", (9, 9)).save(root / "a.png")
    sound = encode_source(sources.folder(root), Model.of(hashing_encoder), Reading())
    (root / "a.png").write_bytes(b"broken")
    (root / "zz.png").touch()
    encoded = encode_source(sources.folder(root), Model.of(hashing_encoder), Reading())
    assert encoded.skipped == (Skipped("a.png", "not a readable image"), Skipped("zz.png", "empty file"))
    kept = {item.path: item.id for item in sound.items if item.path != "a.png"}
    assert {item.path: item.id for item in encoded.items} == kept
    with pytest.raises(SkippedInputError, match=r"a\.png"):
        encode_source(sources.folder(root), Model.of(hashing_encoder), Reading(strict=True))


def test_equal_prompts_are_encoded_once(hashing_encoder: HashingEncoder) -> None:
    asked: list[str] = []

    class Counting(HashingEncoder):
        def encode_texts(self, texts: object) -> np.ndarray:
            asked.extend(texts)  # type: ignore[call-overload]
            return super().encode_texts(texts)  # type: ignore[arg-type]

    texts = encode_texts_once(Counting(), (("a", "b"), ("b", "c"), ("a", "x " * 70)))
    assert asked == ["a", "b", "c", "x " * 70]
    assert texts.rows == [[0, 1], [1, 2], [0, 3]]
    assert texts.cut == ("x " * 70,)


def test_deep_images_are_counted_in_one_note(
    tmp_path: Path, hashing_encoder: HashingEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        Image.fromarray(np.full((4, 4), 4000 + number, dtype=np.uint16)).save(tmp_path / f"{number}.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    encode_source(sources.folder(tmp_path), Model.of(hashing_encoder), Reading())
    (line,) = [line for line in caplog.messages if "8 bits" in line]
    assert line == "3 images of more than 8 bits per channel: scaled by the values used; first: 0.png"
