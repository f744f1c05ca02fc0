"""Images that were classified or evaluated before are read again, and not encoded again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import zsretrieve as zs
from zsretrieve.demo import scenes
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.ports import Encoder, Known, Pixels
from zsretrieve.domain.records import Encoding
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders import loading
from zsretrieve.encoders.cache.image_embeddings import CachedImages
from zsretrieve.encoders.openvino.encoder import OpenVinoEncoder

CLASSES = ["red circle", "blue star", "green heart"]


def model() -> zs.Model:
    return zs.Model("demo", zs.Compute(device="cpu", precision="fp32"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six scenes that no other test encodes."""
    rng = random.Random(str(tmp_path))
    for number, name in enumerate(CLASSES * 2):
        place = tmp_path / "photos" / name / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        scenes.draw(scenes.single(name, rng)).save(place)
    return tmp_path / "photos"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch, demo_encoder: Encoder) -> list[int]:
    """How many images the model has encoded, a number for each call."""
    counts: list[int] = []
    encode = OpenVinoEncoder.encode_prepared

    def counted(self: OpenVinoEncoder, batch: Sequence[Pixels]) -> Vectors:
        counts.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(OpenVinoEncoder, "encode_prepared", counted)
    return counts


def test_a_second_run_encodes_nothing(folder: Path, encoded: list[int]) -> None:
    first = zs.evaluate(folder, model=model(), classes=CLASSES)
    assert (sum(encoded), first.n_scored) == (6, 6)
    assert zs.evaluate(folder, model=model(), classes=CLASSES).to_dict() == first.to_dict()
    (folder / CLASSES[0] / "0.png").rename(folder / CLASSES[0] / "renamed.png")
    assert len(zs.classify(folder, model=model(), classes="blue star,red circle").results) == 6
    assert sum(encoded) == 6
    scenes.draw(scenes.single(CLASSES[0], random.Random(str(folder)))).save(folder / CLASSES[0] / "new.png")
    assert zs.evaluate(folder, model=model(), classes=CLASSES).n_scored == 7
    assert sum(encoded) == 7
    zs.classify(folder, model=model(), classes=CLASSES, reading=zs.Reading(exif=False))
    assert sum(encoded) == 14  # they may be turned otherwise


def test_known_images_and_an_index_need_no_model(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zs.build_prototypes(tmp_path / "p", CLASSES, model())
    first = zs.evaluate(folder, tmp_path / "p", model())
    monkeypatch.setattr(loading, "load_encoder", lambda *_: pytest.fail("the model is loaded"))
    assert zs.evaluate(folder, tmp_path / "p", model()).to_dict() == first.to_dict()
    assert zs.classify(folder, tmp_path / "p", model()).results[0].predictions[0].class_name in CLASSES


def test_what_is_encoded_before_an_interruption_is_kept(folder: Path, encoded: list[int]) -> None:
    small = zs.Compute(device="cpu", precision="fp32", batch_size=2)

    def interrupt(stage: str, done: int, _total: int) -> None:
        if stage == "encoding images" and done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zs.classify(folder, model=zs.Model("demo", small), classes=CLASSES, on_stage=interrupt)
    before = sum(encoded)
    zs.classify(folder, model=zs.Model("demo", small), classes=CLASSES)
    assert 4 <= sum(encoded) - before + 2 <= 6


def test_a_known_image_that_is_too_large_now_is_skipped(folder: Path) -> None:
    assert not zs.classify(folder, model=model(), classes=CLASSES).skipped
    with pytest.raises(zs.ZsRetrieveError, match=r"none of the 6 images can be read.*pixels"):
        zs.classify(folder, model=model(), classes=CLASSES, reading=zs.Reading(max_pixels=100))


def test_a_vector_is_only_that_of_its_file_space_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_encoder: Encoder
) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path))
    space = demo_encoder.space
    own = Encoding("openvino", "fp32", "cpu")
    image = Known(4000, 3000, np.linspace(-1, 1, space.dim, dtype=np.float32))
    cache = CachedImages(space, "fp32", zs.Reading())
    cache.keep({"aa": image}, own)
    known = CachedImages(space, "fp32", zs.Reading(strict=True, workers=1)).recall("aa")
    assert known is not None
    assert (known.width, known.height) == (4000, 3000)
    np.testing.assert_array_equal(known.vector, image.vector)
    for other in (
        CachedImages(space, "bf16", zs.Reading()),
        CachedImages(space, "fp32", zs.Reading(exif=False)),
        CachedImages(space, "fp32", zs.Reading(fast=True)),
    ):
        assert other.recall("aa") is None
    assert cache.recall("ab") is None
    CachedImages(space, "fp32", zs.Reading(), lambda _: False).keep({"cc": image}, own)
    assert cache.recall("cc") is None
    assert zs.cached_images()[0] == 1
    zs.clear_cache()
    assert zs.cached_images() == (0, 0)


def test_classes_are_those_of_an_index_or_names(folder: Path, tmp_path: Path) -> None:
    zs.build_gallery(folder, tmp_path / "gallery", model())
    zs.build_prototypes(tmp_path / "p", CLASSES, model())
    of_index = zs.evaluate(tmp_path / "gallery", tmp_path / "p")
    of_names = zs.evaluate(tmp_path / "gallery", model=model(), classes=CLASSES)
    assert of_names.run.ranked.tolist() == of_index.run.ranked.tolist()
    np.testing.assert_allclose(of_names.run.scores, of_index.run.scores, atol=1e-6)
    for wrong in (
        {},
        {"prototypes": tmp_path / "p", "classes": CLASSES},
        {"prototypes": tmp_path / "p", "templates": "raw"},
    ):
        for verb in (zs.evaluate, zs.classify):
            with pytest.raises(UsageError):
                verb(tmp_path / "gallery", **wrong)  # type: ignore[operator]


def test_a_report_proposes_commands_with_the_same_classes(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    zs.evaluate(
        folder, model=model(), classes="red circle,blue star,green heart,red star", templates="raw",
        outputs=zs.Outputs(page=page),
    )  # fmt: skip
    assert (
        "zsretrieve evaluate MORE-LABELLED-IMAGES --classes &#39;red circle,blue star,green heart,red star&#39; "
        "--templates raw --model demo"
    ) in page.read_text()
