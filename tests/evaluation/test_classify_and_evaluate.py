"""Classifying and evaluating galleries and folders of images."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kits.archives import write_tar
from kits.hashing_encoder import HashingEncoder
from kits.images import picture, png

import zsretrieve as zs
from zsretrieve.backends import loading as backend_loading
from zsretrieve.domain.errors import (
    ClassMappingError,
    RankError,
    SourceError,
    SpaceMismatchError,
    UsageError,
)
from zsretrieve.domain.records import Item
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.rows import LiveVectors


@pytest.fixture
def gallery(small_gallery: Path) -> Gallery:
    return zs.open_gallery(small_gallery, device="cpu")


@pytest.fixture(scope="module")
def prototypes() -> Prototypes:
    return zs.make_prototypes("scenes", HashingEncoder()).prototypes


def test_duplicate_names_tie_and_go_to_the_lowest(hashing_encoder: HashingEncoder) -> None:
    made = zs.make_prototypes("missile,dog,missile,cat,missile", hashing_encoder, templates="openai80")
    assert made.duplicate_names == ("missile",)
    vectors = made.prototypes.vectors
    np.testing.assert_array_equal(vectors[0], vectors[2])
    found = zs.classify(_gallery_of(vectors, made.prototypes), made.prototypes, k=5)
    for row in (0, 2, 4):
        assert [p.class_id for p in found.results[row].predictions][:3] == [0, 2, 4]


def _gallery_of(vectors: np.ndarray, prototypes: Prototypes) -> Gallery:
    index = backend_loading.index_backend("cpu").create(prototypes.space.dim)
    index.add(vectors)
    items = tuple(Item(i, f"{i}.png", None, 1, 1, 1, 1, "") for i in range(len(vectors)))
    return Gallery(None, prototypes.manifest, items, LiveVectors.of(vectors), index)


def test_classifying_a_gallery_equals_classifying_its_folder(
    gallery: Gallery, prototypes: Prototypes, scene_folder: Path, hashing_encoder: HashingEncoder
) -> None:
    from_gallery = zs.classify(gallery, prototypes)
    from_folder = zs.classify(scene_folder, prototypes, hashing_encoder)
    assert from_gallery.results == from_folder.results
    assert len(from_gallery.results[0].predictions) == 5
    total = sum(p.probability for p in zs.classify(gallery, prototypes, k=120).results[0].predictions)
    assert total == pytest.approx(1.0)


def test_k_is_checked_and_defaults_to_what_there_is(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    two = zs.make_prototypes("cat,dog", hashing_encoder).prototypes
    assert len(zs.classify(gallery, two).results[0].predictions) == 2
    for k in (0, -1, 3):
        with pytest.raises(RankError):
            zs.classify(gallery, two, k=k)


def test_spaces_must_be_the_same(gallery: Gallery, prototypes: Prototypes, scene_folder: Path) -> None:
    other = HashingEncoder(seed=1)
    foreign = zs.make_prototypes("scenes", other).prototypes
    for meet in (
        lambda: zs.classify(gallery, foreign),
        lambda: zs.evaluate(gallery, foreign),
        lambda: zs.classify(scene_folder, prototypes, other),
        lambda: zs.evaluate(scene_folder, prototypes, other),
    ):
        with pytest.raises(SpaceMismatchError, match=r"hashing-0.*hashing-1|hashing-1.*hashing-0") as caught:
            meet()
        assert "weights" in caught.value.message
        assert "`model`" in str(caught.value.hint)


def test_evaluation_equals_a_count_by_hand(gallery: Gallery, prototypes: Prototypes) -> None:
    report = zs.evaluate(gallery, prototypes)
    names = prototypes.prompts.class_names
    right, right5, per_class, wrong = 0, 0, {}, {}
    for vector, item in zip(gallery.vectors, gallery.items, strict=True):
        scores = [
            float(np.float32(np.dot(vector.astype(np.float64), p.astype(np.float64)))) for p in prototypes.vectors
        ]
        order = sorted(range(120), key=lambda c: (-scores[c], c))
        truth = names.index(str(item.label))
        right += order[0] == truth
        right5 += truth in order[:5]
        per_class.setdefault(truth, []).append(order[0] == truth)
        if order[0] != truth:
            wrong[names[truth], names[order[0]]] = wrong.get((names[truth], names[order[0]]), 0) + 1
    assert (report.n_correct, report.n_scored) == (right, 360)
    assert report.prec_at == {1: right / 360, 5: right5 / 360}
    recalls = [sum(r) / len(r) for r in per_class.values()]
    assert report.mean_per_class_recall == pytest.approx(sum(recalls) / len(recalls))
    assert {(c.true_class, c.predicted_class): c.count for c in report.confusions} == wrong
    assert [c.count for c in report.confusions] == sorted(wrong.values(), reverse=True)
    assert sum(c.n_scored for c in report.per_class) == 360


def test_evaluation_of_a_folder_of_some_classes_with_skips(
    scene_folder: Path, prototypes: Prototypes, hashing_encoder: HashingEncoder, tmp_path: Path
) -> None:
    for name in ("red circle", "blue star"):
        shutil.copytree(scene_folder / name, tmp_path / "in" / name.replace(" ", "_"))
    (tmp_path / "in" / "red_circle" / "broken.png").touch()
    shutil.copy(sorted((scene_folder / "red circle").iterdir())[0], tmp_path / "in" / "unlabelled.png")
    report = zs.evaluate(tmp_path / "in", prototypes, hashing_encoder)
    assert (report.n_scored, len(report.skipped), report.unlabelled) == (6, 1, 1)
    assert [c.class_name for c in report.per_class] == ["red circle", "blue star"]
    assert report.n_classes == 120


def test_labels_that_do_not_map_are_told_before_anything_is_encoded(
    scene_folder: Path, prototypes: Prototypes, tmp_path: Path
) -> None:
    class NeverEncodes(HashingEncoder):
        def encode_prepared(self, batch: object) -> np.ndarray:
            raise AssertionError("too late")

    shutil.copytree(scene_folder / "red circle", tmp_path / "in" / "red circus")
    with pytest.raises(ClassMappingError, match="'red circus'"):
        zs.evaluate(tmp_path / "in", prototypes, NeverEncodes())
    with pytest.raises(SourceError, match="none of the images has a label"):
        zs.evaluate(scene_folder / "red circle", prototypes, NeverEncodes())


def test_ground_truth_for_a_flat_folder(
    scene_folder: Path, prototypes: Prototypes, hashing_encoder: HashingEncoder, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, name in enumerate(["red circle", "blue star"]):
        shutil.copy(sorted((scene_folder / name).iterdir())[0], flat / f"{number}.png")
    number_of = prototypes.prompts.class_names.index("blue star")
    (tmp_path / "truth.txt").write_text(f"0.png red circle\n1.png {number_of}\n")
    report = zs.evaluate(flat, prototypes, hashing_encoder, ground_truth=tmp_path / "truth.txt")
    assert [c.class_name for c in report.per_class] == ["red circle", "blue star"]


def test_probabilities_never_pass_1(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    alone = zs.make_prototypes("one,", hashing_encoder).prototypes
    assert all(row.predictions[0].probability <= 1.0 for row in zs.classify(gallery, alone).results)


def test_paths_are_taken_for_indexes(small_gallery: Path, tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    zs.build_prototypes(tmp_path / "p", "scenes", hashing_encoder)
    assert zs.classify(small_gallery, tmp_path / "p").results
    assert zs.evaluate(small_gallery, tmp_path / "p").n_scored == 360
    with pytest.raises(UsageError, match="takes its labels when it is built"):
        zs.evaluate(small_gallery, tmp_path / "p", ground_truth=tmp_path / "x")
    assert len(repr(zs.open_prototypes(tmp_path / "p"))) < 200


@pytest.mark.parametrize(
    ("names", "numbers"),
    [(("001", "002"), 0), (("1", "0"), 0), (("red", "blue"), 2)],
)
def test_labels_that_look_like_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, str], numbers: int
) -> None:
    """However the labels come: from folders, a ground truth, a tar or a table."""
    caplog.set_level(logging.INFO, "zsretrieve")
    texts = names if not numbers else ("0", "1")
    for text in texts:
        picture(tmp_path / "photos" / text / f"{text}.png")
    (tmp_path / "truth").write_text("".join(f"{text}.png {text}\n" for text in texts))
    made = zs.make_prototypes(names, HashingEncoder(), device="cpu").prototypes
    tar = {
        f"{n}.{form}": data for n, text in enumerate(texts) for form, data in (("png", png(n)), ("cls", text.encode()))
    }
    pq.write_table(pa.table({"image": [png(0), png(1)], "label": list(texts)}), tmp_path / "x.parquet")
    sources = (
        zs.open_source([tmp_path / "photos"]),
        zs.open_source([tmp_path / "photos"], ground_truth=tmp_path / "truth"),
        zs.open_source([write_tar(tmp_path / "x.tar", tar)]),
        zs.open_source([tmp_path / "x.parquet"]),
    )
    for source in sources:
        caplog.clear()
        report = zs.evaluate(source, made, HashingEncoder())
        truth = dict(zip(report.run.paths, report.run.truth.tolist(), strict=True))
        for file in source.files:
            assert truth[source.address(file)] == (int(str(file.label)) if numbers else names.index(str(file.label)))
        assert report.n_by_number == report.to_dict()["n_labels_as_numbers"] == numbers
        notes = [note for note in caplog.messages if "class numbers" in note]
        assert notes == (["labels are read as class numbers, from 0: 0 is 'red'"] if numbers else [])


def test_a_folder_of_the_other_unicode_form_is_its_class(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "cafe\u0301" / "1.png")
    picture(tmp_path / "photos" / "the\u0301" / "1.png")
    made = zs.make_prototypes(["th\u00e9", "caf\u00e9"], HashingEncoder(), device="cpu").prototypes
    built = zs.build_gallery(tmp_path / "photos", tmp_path / "g", HashingEncoder())
    assert zs.evaluate(built, made).run.truth.tolist() == [1, 0]
    assert zs.search(built, "x", HashingEncoder(), where="label = 'caf\u00e9'")[0].path.endswith("cafe\u0301/1.png")
    assert zs.remove(tmp_path / "g", ["caf\u00e9/1.png"]).removed == 1
    assert zs.remove(tmp_path / "g", [str(tmp_path / "photos" / "th\u00e9")]).removed == 1
