"""Search, classification and evaluation of the pictures of a gallery that pass a filter."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import NEVER, HashingEncoder

import zsretrieve as zs
from zsretrieve.domain.errors import FilterError, SourceError, UsageError
from zsretrieve.store.indexes import Gallery, Prototypes

RED = "label like 'red %'"


@pytest.fixture
def gallery(small_gallery: Path) -> Gallery:
    return zs.open_gallery(small_gallery, device="cpu")


@pytest.fixture(scope="module")
def prototypes() -> Prototypes:
    return zs.make_prototypes("scenes", HashingEncoder(), device="cpu").prototypes


def test_search_is_the_whole_search_without_the_others(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    everything = zs.search(gallery, "a red circle", hashing_encoder, k=360)
    red = {item.id for item in gallery.items if str(item.label).startswith("red ")}
    assert 0 < len(red) < 360
    expected = [(hit.id, hit.path) for hit in everything if hit.id in red]
    hits = zs.search(gallery, "a red circle", hashing_encoder, k=len(red), where=RED)
    assert [(hit.id, hit.path) for hit in hits] == expected
    assert [hit.id for hit in zs.search(gallery, "a red circle", hashing_encoder, where=RED)] == [
        number for number, _ in expected[:10]
    ]
    three = zs.search(gallery, "x", hashing_encoder, where="label = 'red circle'")
    assert len(three) == 3
    assert zs.search(gallery, "x", hashing_encoder, k=4, where="label = 'red circle'") == three


def test_a_picture_s_own_row_is_left_out_whether_it_passes_or_not(gallery: Gallery, scene_folder: Path) -> None:
    path = sorted((scene_folder / "red circle").iterdir())[0]
    passing = zs.search(gallery, str(path), NEVER, k=3, where="label = 'red circle'")
    assert len(passing) == 2
    assert str(path) not in {hit.path for hit in passing}
    assert len(zs.search(gallery, str(path), NEVER, k=3, where="label = 'blue star'")) == 3
    deduped = zs.search(gallery, str(path), NEVER, k=5, where=RED, dedup=True)
    assert str(path) not in {hit.path for hit in deduped}
    assert len(deduped) == 5


def test_classification_and_evaluation_keep_to_what_passes(gallery: Gallery, prototypes: Prototypes) -> None:
    everything = zs.classify(gallery, prototypes)
    red = zs.classify(gallery, prototypes, where=RED)
    expected = [row for row in everything.results if str(row.label).startswith("red ")]
    assert [row.path for row in red.results] == [row.path for row in expected]
    for one, other in zip(red.results, expected, strict=True):
        assert [p.class_id for p in one.predictions] == [p.class_id for p in other.predictions]
        # Products of fewer rows may round otherwise.
        assert [p.score for p in one.predictions] == pytest.approx([p.score for p in other.predictions], abs=1e-6)
    report = zs.evaluate(gallery, prototypes, where=RED)
    correct = sum(row.label == row.predictions[0].class_name for row in red.results)
    assert (report.n_scored, report.n_correct, report.where) == (len(red.results), correct, RED)
    assert {score.class_name.split()[0] for score in report.per_class} == {"red"}
    assert zs.evaluate(gallery, prototypes).where is None


def test_what_was_skipped_stays_the_gallery_s(
    scene_folder: Path, tmp_path: Path, hashing_encoder: HashingEncoder, prototypes: Prototypes
) -> None:
    for name in ("red circle", "blue star"):
        shutil.copytree(scene_folder / name, tmp_path / "in" / name)
    (tmp_path / "in" / "blue star" / "broken.png").write_bytes(b"no")
    gallery = zs.build_gallery(tmp_path / "in", tmp_path / "gallery", hashing_encoder)
    assert len(zs.evaluate(gallery, prototypes, where=RED).skipped) == 1
    assert len(zs.classify(gallery, prototypes, where=RED).skipped) == 1


def test_filters_that_cannot_be_used(
    gallery: Gallery, prototypes: Prototypes, scene_folder: Path, hashing_encoder: HashingEncoder, tmp_path: Path
) -> None:
    for where, message in {"widht > 1": "no column 'widht'", "width > 99999": "no image of 360 matches"}.items():
        with pytest.raises(FilterError, match=message):
            zs.search(gallery, "red", hashing_encoder, where=where)
        with pytest.raises(FilterError, match=message):
            zs.classify(gallery, prototypes, where=where)
        with pytest.raises(FilterError, match=message):
            zs.evaluate(gallery, prototypes, where=where)
    with pytest.raises(UsageError, match="`where` works only on a gallery"):
        zs.classify(scene_folder, prototypes, hashing_encoder, where="true")
    with pytest.raises(UsageError, match="`where` works only on a gallery"):
        zs.evaluate(scene_folder, prototypes, hashing_encoder, where="true")
    picture = sorted((scene_folder / "red circle").iterdir())[0]
    flat = tmp_path / "flat"
    (flat / "red circle").mkdir(parents=True)
    shutil.copy(picture, flat / "unlabelled.png")
    shutil.copy(picture, flat / "red circle")
    partly = zs.build_gallery(flat, tmp_path / "partly", hashing_encoder)
    with pytest.raises(SourceError, match="none of the images that pass the filter has a label"):
        zs.evaluate(partly, prototypes, where="folder = ''")


def test_odd_names_in_a_real_gallery(scene_folder: Path, tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    folder = tmp_path / "in"
    odd = folder / "caf\udce9"
    odd.mkdir(parents=True)
    pictures = sorted((scene_folder / "red circle").iterdir())
    shutil.copy(pictures[0], odd / "a'b \udcff.png")
    shutil.copy(pictures[1], folder / "plain.png")
    gallery = zs.build_gallery(folder, tmp_path / "gallery", hashing_encoder)
    hits = zs.search(gallery, "x", hashing_encoder, where="label = 'caf\udce9' and name like 'a''b %'")
    assert [hit.path for hit in hits] == [str(odd / "a'b \udcff.png")]
    assert len(zs.search(gallery, "x", hashing_encoder, where="mtime > '2000-01-01'")) == 2
    assert np.isfinite(hits[0].score)
