"""Prototypes made from images, alone and mixed with text, and what their index stores about them."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.exact_index import NumpyBackend
from kits.folders import file_named
from kits.hashing_encoder import HashingEncoder
from kits.labelled import clusters, labelled

import zsretrieve as zs
from zsretrieve.domain.errors import (
    ClassMappingError,
    IntegrityError,
    OutputExistsError,
    ShapeError,
    SourceError,
    SpaceMismatchError,
)
from zsretrieve.domain.pooling import mix, pool_images
from zsretrieve.domain.records import Encoding, Head, ScoreHead
from zsretrieve.domain.training import TrainingMethod
from zsretrieve.domain.vectors import check_unit_rows, unit_rows
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.splits import draw
from zsretrieve.gallery.repair import deep_check
from zsretrieve.prototypes.images import TrainedPrototypes, TrainingImages, classes_of_labels, image_prototypes
from zsretrieve.prototypes.text import make_prototypes
from zsretrieve.store import manifest as manifests

HEAD, ENCODING = Head(ScoreHead.SOFTMAX, 10.0), Encoding("numpy", "fp64", "cpu")


def means(some: Labelled, shots: int | None = None, seed: int = 0, **mixed: Any) -> TrainedPrototypes:
    images = TrainingImages(some, HEAD, ENCODING, "here")
    return image_prototypes(images, zs.Shots(shots, seed), NumpyBackend(), **mixed)


def test_a_prototype_is_the_mean_of_its_images() -> None:
    some = labelled(*clusters(4, 9))
    made = means(some, 5, 3)
    drawn = draw(some, 5, 3).rows
    for c in range(4):
        own = some.vectors[[row for row in drawn if some.truth[row] == c]].astype(np.float64)
        mean = own.mean(axis=0)
        assert np.allclose(made.prototypes.vectors[c], mean / np.linalg.norm(mean), atol=1e-7)
    assert made.training.n_images == 20
    assert made.prototypes.manifest.templates_source == "mean of 5 images per class, seed 3"
    assert made.prototypes.prompts.prompts == ((),) * 4, "prompts had no part in it"
    assert made.prototypes.class_queries is made.prototypes.vectors


def test_the_images_are_not_copied_all_at_once() -> None:
    vectors, truth = clusters(100, 100, 64)
    rows = np.random.default_rng(0).permutation(len(truth))
    tracemalloc.start()
    pooled = pool_images(vectors, truth[rows], 101, rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < vectors.nbytes / 2
    assert np.allclose(
        pooled[:100], unit_rows(vectors.astype(np.float64).reshape(100, 100, 64).mean(axis=1)), atol=1e-7
    )
    assert not pooled[100].any()


def test_images_that_were_not_drawn_change_nothing() -> None:
    vectors, truth = clusters(4, 9)
    drawn = draw(labelled(vectors, truth), 5, 3).rows
    poisoned = -np.roll(vectors, 5, axis=0)
    poisoned[drawn] = vectors[drawn]
    one, other = (means(labelled(rows, truth), 5, 3) for rows in (vectors, poisoned))
    assert one.prototypes.vectors.tobytes() == other.prototypes.vectors.tobytes()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_mixing(weight: float) -> None:
    some = labelled(*clusters(4, 6, dim=32))
    text = make_prototypes(some.prompts, HashingEncoder(), NumpyBackend()).prototypes
    without_c2 = some.at(np.flatnonzero(some.truth != 2))
    made = means(without_c2, 2, text=text, text_weight=weight)
    images = means(some, 2).prototypes.vectors
    expected = unit_rows(weight * text.vectors.astype(np.float64) + (1 - weight) * images)
    expected[2] = text.vectors[2]
    assert np.allclose(made.prototypes.vectors, expected, atol=1e-7)
    assert made.empty == ("c2",)
    assert made.prototypes.prompts.prompts == some.prompts.prompts
    assert made.training.text_weight == weight


def test_mixing_by_hand() -> None:
    text = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    images = np.array([[0.0, 1.0], [0.0, 0.0]], dtype=np.float32)
    assert np.allclose(mix(text, images, 0.5), [[np.sqrt(0.5)] * 2, [0.0, 1.0]])
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ShapeError, match="the weight of text must be"):
            mix(text, images, wrong)
    assert np.array_equal(pool_images(text[:1], np.array([1]), 2, np.array([0])), [[0.0, 0.0], [1.0, 0.0]])


def test_text_that_is_not_text_is_refused() -> None:
    some = labelled(*clusters(4, 6, dim=32))
    images = means(some).prototypes
    with pytest.raises(SourceError, match="text prototypes are needed"):
        means(some, text=images, text_weight=0.5)
    other = make_prototypes(some.prompts, HashingEncoder(seed=1), NumpyBackend()).prototypes
    with pytest.raises(SpaceMismatchError, match="the embedding spaces of the images"):
        means(some, text=other, text_weight=0.5)


def test_classes_are_the_labels_that_occur() -> None:
    made = classes_of_labels(["dog", None, "n01440764", "cat", "dog"])
    assert made.class_names == ("cat", "dog", "n01440764")
    assert made.class_keys == (None, None, "n01440764")
    assert classes_of_labels(["001", "cafe\u0301", "caf\u00e9", "7"]).class_names == ("001", "7", "caf\u00e9")
    with pytest.raises(ClassMappingError, match="class numbers, such as 7"):
        classes_of_labels(["#7"])
    with pytest.raises(SourceError, match="none of the images has a label"):
        classes_of_labels([None])


def test_a_gallery_becomes_prototypes(tmp_path: Path, small_gallery: Path) -> None:
    made = zs.build_image_prototypes(tmp_path / "p", small_gallery, shots=zs.Shots(2, 1))
    assert zs.verify(tmp_path / "p") == []
    opened = zs.open_prototypes(tmp_path / "p")
    training = opened.manifest.training
    assert training is not None
    assert training == made.training
    assert (training.method, training.shots, training.seed, training.n_images) == (TrainingMethod.MEAN, 2, 1, 240)
    assert training.source == str(small_gallery)
    assert opened.drawn is not None
    assert opened.drawn.shape == (240, 32)
    check_unit_rows(opened.vectors, 32)
    report = zs.evaluate(small_gallery, opened)
    assert (report.n_scored, report.n_drawn) == (120, 240)
    whole = zs.evaluate(small_gallery, opened, include_shots=True)
    assert (whole.n_scored, whole.n_drawn, whole.shots_included) == (360, 240, True)
    assert whole.n_correct > report.n_correct
    classified = zs.classify(small_gallery, opened)
    right = sum(row.label == row.predictions[0].class_name for row in classified.results)
    assert right == whole.n_correct, "classify leaves nothing out"


def test_a_folder_is_encoded_and_its_images_are_known_in_a_gallery(
    tmp_path: Path, small_gallery: Path, scene_folder: Path
) -> None:
    for name in ("red circle", "blue star"):
        shutil.copytree(scene_folder / name, tmp_path / "photos" / name)
    made = zs.build_image_prototypes(tmp_path / "p", tmp_path / "photos", HashingEncoder(), shots=zs.Shots(2))
    assert made.prototypes.prompts.class_names == ("blue star", "red circle")
    assert made.prototypes.manifest.encoding == HashingEncoder().encoding
    where = "label in ('red circle', 'blue star')"
    report = zs.evaluate(small_gallery, made.prototypes, where=where)
    assert (report.n_scored, report.n_drawn) == (2, 4)
    again = zs.evaluate(tmp_path / "photos", made.prototypes, HashingEncoder())
    assert (again.n_scored, again.n_correct, again.n_drawn) == (2, report.n_correct, 4)


@pytest.mark.parametrize("link", [False, True])
def test_the_gallery_of_the_images_is_not_replaced(tmp_path: Path, small_gallery: Path, link: bool) -> None:
    out = tmp_path / "link" if link else small_gallery
    if link:
        out.symlink_to(small_gallery)
    for make in (
        lambda: zs.train_probe(small_gallery, out, regularisation=zs.Regularisation(1.0), force=True),
        lambda: zs.build_image_prototypes(out, small_gallery, force=True),
    ):
        with pytest.raises(OutputExistsError, match="the gallery of the labelled images itself"):
            make()
    assert len(zs.open_gallery(small_gallery).items) == 360


def test_labels_are_put_into_templates_as_names(tmp_path: Path, scene_folder: Path) -> None:
    """A template says "a red circle", not "a red_circle", and no synset id."""
    for label, of in (("red_circle", "red circle"), ("blue_star", "blue star")):
        shutil.copytree(scene_folder / of, tmp_path / "named" / label)
    options = {"text_weight": 0.5, "templates": ["a {}"]}
    made = zs.build_image_prototypes(tmp_path / "p", tmp_path / "named", HashingEncoder(), **options)  # type: ignore[arg-type]
    assert made.prototypes.prompts.prompts == (("a blue star",), ("a red circle",))
    for label, of in (("n01443537", "red circle"), ("n01440764", "blue star")):
        shutil.copytree(scene_folder / of, tmp_path / "ids" / label)
    made = zs.build_image_prototypes(tmp_path / "q", tmp_path / "ids", HashingEncoder(), **options)  # type: ignore[arg-type]
    assert made.prototypes.prompts.prompts == (("a tench",), ("a goldfish",))
    assert made.prototypes.prompts.class_keys == ("n01440764", "n01443537")
    shutil.copytree(scene_folder / "red circle", tmp_path / "ids" / "n99999999")
    with pytest.raises(ClassMappingError, match="is not a name that fits into a template"):
        zs.build_image_prototypes(tmp_path / "r", tmp_path / "ids", HashingEncoder(), **options)  # type: ignore[arg-type]


def test_what_is_similar_is_counted_on_other_images(tmp_path: Path, small_gallery: Path) -> None:
    made = zs.build_image_prototypes(tmp_path / "p", small_gallery, shots=zs.Shots(2))
    found = zs.similar_classes(made.prototypes, gallery=small_gallery, pairs=3)
    assert found.n_drawn == 240
    assert {pair.n_first for pair in found.pairs} == {1}
    probe = zs.train_probe(small_gallery, tmp_path / "probe", shots=zs.Shots(1), regularisation=zs.Regularisation(1.0))
    with pytest.raises(SourceError, match="are a probe"):
        zs.similar_classes(probe.prototypes)


def test_errors_come_before_anything_is_encoded(tmp_path: Path, scene_folder: Path, small_gallery: Path) -> None:
    with pytest.raises(SourceError, match="120 classes have fewer than 4 different images"):
        zs.build_image_prototypes(tmp_path / "p", scene_folder, None, shots=zs.Shots(4))
    with pytest.raises(SourceError, match="1 class has no image to train on: 'a cat'"):
        zs.train_probe(
            scene_folder, tmp_path / "p", None, classes=[*sorted(p.name for p in scene_folder.iterdir()), "a cat"]
        )
    with pytest.raises(ClassMappingError, match="119 of 120 labels are not classes"):
        zs.build_image_prototypes(tmp_path / "p", small_gallery, classes=["red circle"])
    with pytest.raises(OutputExistsError):
        zs.build_image_prototypes(small_gallery, small_gallery, shots=zs.Shots(1))
    assert not (tmp_path / "p").exists()


def test_damage_is_refused_or_repaired(tmp_path: Path, small_gallery: Path) -> None:
    zs.build_image_prototypes(tmp_path / "p", small_gallery, shots=zs.Shots(1))
    before = zs.open_prototypes(tmp_path / "p")
    for name, repairable in (("index.faiss", True), ("drawn.npy", False), ("vectors.npy", False)):
        copy = Path(shutil.copytree(tmp_path / "p", tmp_path / name))
        path = file_named(copy, name)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert any("has changed" in problem for problem in zs.verify(copy))
        with pytest.raises(IntegrityError):
            zs.open_prototypes(copy)
        if repairable:
            zs.repair(copy)
            after = zs.open_prototypes(copy)
            assert np.array_equal(after.vectors, before.vectors)
            assert np.array_equal(after.drawn, before.drawn)
            assert after.manifest.training == before.manifest.training
        else:
            with pytest.raises(IntegrityError, match="images"):
                zs.repair(copy, HashingEncoder())
    with pytest.raises(SourceError, match="were made from images"):
        deep_check(before, HashingEncoder(), sample=3)


def test_a_manifest_mentions_training_only_if_there_was_some(tmp_path: Path, small_gallery: Path) -> None:
    """So indexes without it are as they were before, and open in a version that does not know it."""
    zs.build_prototypes(tmp_path / "text", "cat,dog", HashingEncoder())
    zs.build_image_prototypes(tmp_path / "images", small_gallery)
    for folder, expected in ((tmp_path / "text", set()), (small_gallery, set()), (tmp_path / "images", {"training"})):
        assert {"training", "lifted"} & set(json.loads((folder / manifests.NAME).read_bytes())) == expected
    opened = zs.open_prototypes(tmp_path / "text")
    assert (opened.manifest.training, opened.manifest.lifted, opened.drawn) == (None, False, None)
