"""The usual causes of a differing figure, on the bundled model and scenes, and on an encoder changed by hand."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures
from PIL import Image

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.errors import (
    ClassMappingError,
    DoesNotApplyError,
    ModelNameError,
    PromptError,
    SourceError,
    UsageError,
)
from zsretrieve.domain.ports import Pixels
from zsretrieve.images import sources
from zsretrieve.reproduction.ablation import CHANGES, Experiment, Explanation, explain, stratified

CLASSES = ["class 0", "class 1", "class 2"]
CPU = zs.Compute("cpu", zs.Precision.FP32)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40), st.integers(1, 50), st.integers(0, 3))
def test_a_sample_is_as_equal_as_the_labels_allow(labels: list[str | None], count: int, seed: int) -> None:
    places = stratified(labels, count, seed)
    there = Counter(label for label in labels if label is not None)
    taken = Counter(labels[place] for place in places)
    assert places == sorted(set(places)) == stratified(labels, count, seed)
    assert len(places) == min(count, there.total())
    for label, n in taken.items():
        # A label has fewer than another only if there are no more of it.
        assert n >= max(taken.values()) - 1 or n == there[label]
    assert None not in taken


def test_other_seeds_take_other_samples() -> None:
    assert stratified(["a"] * 50, 5, 0) != stratified(["a"] * 50, 5, 1)


class Turned(HashingEncoder):
    """Knows one change of images, which mirrors them, and one of texts, which reads none."""

    def __init__(self) -> None:
        super().__init__()
        self._mirrored = self._blind = self._raw = False

    @contextlib.contextmanager
    def ablate(self, change: str) -> Iterator[str]:
        if change not in ("resizing", "case", "interpolation", "normalisation"):
            raise DoesNotApplyError(f"no {change}")
        self._mirrored, self._blind, self._raw = (change == one for one in ("resizing", "case", "normalisation"))
        yield f"other {change}"
        self._mirrored = self._blind = self._raw = False

    def prepare(self, image: Image.Image) -> Pixels:
        return super().prepare(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self._mirrored else image)

    def encode_texts(self, texts: object) -> np.ndarray:
        if self._raw:
            return np.stack([self._counts(text) @ self._text for text in texts])  # type: ignore[attr-defined]
        return super().encode_texts(["nothing"] * len(texts) if self._blind else texts)  # type: ignore[arg-type]


def explained(root: Path, classes: list[str], sample: int = 1000) -> Explanation:
    sets = {name: zs.read_prompts(classes, name) for name in ("standard", "raw")}
    return explain(Turned(), Experiment(sources.folder(root), sets, "standard", sample), FaissBackend("cpu"))


def test_effects_are_those_of_two_plain_runs(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 45)
    found = explained(root, CLASSES)
    encoder = Turned()
    standard = zs.make_prototypes(CLASSES, encoder, templates="standard").prototypes

    def best(prototypes: object = standard) -> np.ndarray:
        done = zs.classify(root, prototypes, encoder, k=1, reading=zs.Reading(exif=False))  # type: ignore[arg-type]
        return np.array([int(one.predictions[0].class_name[-1]) for one in done.results])

    truth = np.arange(45) // 15
    baseline = best()
    expected = {"templates": best(zs.make_prototypes(CLASSES, encoder, templates="raw").prototypes)}
    with encoder.ablate("resizing"):
        expected["resizing"] = best()
    with encoder.ablate("case"):
        expected["case"] = best(zs.make_prototypes(CLASSES, encoder, templates="standard").prototypes)
    assert (found.n_scored, found.n_correct) == (45, int((baseline == truth).sum()))
    assert {effect.cause for effect in found.effects} == {*expected, "normalisation"}
    for effect in (one for one in found.effects if one.cause != "normalisation"):
        other = expected[effect.cause]
        assert effect.n_correct == int((other == truth).sum())
        assert effect.n_changed == int((other != baseline).sum())
        assert effect.difference.n == 45
        assert effect.difference.difference == pytest.approx((effect.n_correct - found.n_correct) / 45)
    sizes = [abs(effect.difference.difference) for effect in found.effects]
    assert sizes == sorted(sizes, reverse=True)
    reasons = {one.cause: one.reason for one in found.untested}
    assert reasons["activation"] == "no activation"
    assert reasons["interpolation"] == "other interpolation: changes no vector of this sample"
    assert reasons["duplicate classes"] == "no two classes have the same name"
    assert set(reasons) == {*CHANGES, "EXIF", "decoding", "duplicate classes", "scale"} - {"resizing", "case"}


def test_class_vectors_and_probabilities_as_tutorials_make_them(tmp_path: Path) -> None:
    """By plain sums: the label vectors of a tutorial are divided along axis=0, those of another not at all."""
    root = pictures(tmp_path / "pictures", 45)
    found = explained(root, CLASSES)
    encoder = Turned()
    encoded = zs.build_gallery(root, tmp_path / "gallery", encoder, reading=zs.Reading(exif=False))
    images = np.array(encoded.vectors, dtype=np.float64)
    truth = np.array([int(item.label[-1]) for item in encoded.items])
    with encoder.ablate("normalisation"):
        labels = np.array(encoder.encode_texts([f"a photo of a {name}." for name in CLASSES]))
    lengths = np.sqrt((labels**2).sum(axis=1))
    assert lengths.max() - lengths.min() > 0.1, "they are not unit rows"
    axis, raw = (
        next(one for one in found.effects if one.cause == "normalisation" and word in one.change)
        for word in ("axis=0", "not normalised")
    )
    for effect, classes in ((axis, labels / np.sqrt((labels**2).sum(axis=0))), (raw, labels)):
        assert effect.n_correct == int(((images @ classes.T).argmax(axis=1) == truth).sum())
    cosines = images @ (labels / lengths[:, None]).T
    chances = [np.exp(s * cosines).max(axis=1) / np.exp(s * cosines).sum(axis=1) for s in (10.0, 100.0)]
    own, other = (f"{100 * one.mean():.1f} %" for one in chances)
    (scale,) = (one.reason for one in found.untested if one.cause == "scale")
    assert scale.startswith("100 instead of the model's 10 changes no answer")
    assert f"a probability of {other} instead of {own}" in scale


def test_classes_of_one_name_count_as_one(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 30)
    (root / "class 2").rename(root / "#3")  # the second class of a name, by its number
    found = explained(root, ["class 0", "class 1", "class 2", "class 0"])
    (effect,) = (one for one in found.effects if one.cause == "duplicate classes")
    assert "class 0" in effect.change
    # Ties go to the first of the two, so that the second is never right before, and as often as it is the first after.
    encoder = Turned()
    prototypes = zs.make_prototypes(CLASSES, encoder, templates="standard").prototypes
    done = zs.classify(root / "#3", prototypes, encoder, k=1)
    assert effect.difference.only_first == 0
    assert effect.difference.only_second == sum(one.predictions[0].class_id == 0 for one in done.results)
    assert effect.n_changed == 0


def test_orientation_and_what_cannot_be_read(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 12)
    (root / "class 1" / "broken.png").write_bytes(b"no")
    exif = Image.Exif()
    exif[0x0112] = 3
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "class 0" / f"turned-{number}.jpg", exif=exif)
    found = explained(root, CLASSES)
    assert (found.n_scored, found.n_skipped) == (18, 1)
    (effect,) = (one for one in found.effects if one.cause == "EXIF")
    assert 0 < effect.n_changed <= 6


def test_what_is_refused(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 3)
    with pytest.raises(UsageError, match="sample must be a whole number from 1"):
        zs.explain("demo", root, classes=CLASSES, sample=0)
    with pytest.raises(ClassMappingError, match="'class 0'"):
        zs.explain("demo", root, classes=["cat", "dog"])
    with pytest.raises(ModelNameError, match="takes no prompts"):
        zs.explain("torchvision:resnet50", root)
    flat = sources.folder(root)
    with pytest.raises(SourceError, match="has a label"):
        zs.explain("demo", replace(flat, files=tuple(replace(f, label=None) for f in flat.files)), classes=CLASSES)


def test_prompts_given_class_by_class_take_no_templates(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 3)
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({name: [f"a {name}", f"the {name}"] for name in CLASSES}))
    found = zs.explain("demo", root, classes=str(file), sample=3, compute=CPU)
    assert found.templates == "class by class"
    assert "templates" not in {effect.cause for effect in found.effects}
    with pytest.raises(PromptError, match="templates do not apply"):
        zs.explain("demo", root, classes=str(file), templates="standard", compute=CPU)


def test_the_bundled_model_on_scenes(scene_folder: Path) -> None:
    names = sorted(folder.name for folder in scene_folder.iterdir())[::10]
    whole = sources.folder(scene_folder)
    some = replace(whole, files=tuple(file for file in whole.files if file.label in names))
    found = zs.explain("demo", some, classes=names, templates="standard", sample=24, compute=CPU)
    assert found.n_scored == 24
    assert found.n_correct > 20
    moved = {effect.cause: effect for effect in found.effects}
    assert {"activation", "interpolation", "templates"} <= set(moved)
    untested = {one.cause: one.reason for one in found.untested}
    # Scenes are square PNG files, so these have nothing to do.
    assert {"resizing", "EXIF", "decoding", "duplicate classes"} <= set(untested)
    assert set(moved) | set(untested) == {
        *CHANGES, "templates", "EXIF", "decoding", "duplicate classes", "normalisation", "scale"
    }  # fmt: skip
