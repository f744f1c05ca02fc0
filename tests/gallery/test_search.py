"""Searching a gallery with text, images and both."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import NEVER, HashingEncoder
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import (
    QueryError,
    RankError,
    SpaceMismatchError,
)
from zsretrieve.store.indexes import Gallery


@pytest.fixture
def gallery(small_gallery: Path) -> Gallery:
    return zs.open_gallery(small_gallery, device="cpu")


def test_a_text_search_is_a_full_sort(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    query = hashing_encoder.encode_texts(["a red circle"])[0].astype(np.float64)
    scores = (gallery.vectors.astype(np.float64) @ query).astype(np.float32)
    expected = np.lexsort((np.arange(360), -scores))[:10]
    hits = zs.search(gallery, "a red circle", hashing_encoder)
    assert [hit.id for hit in hits] == expected.tolist()
    assert [hit.rank for hit in hits] == list(range(1, 11))
    np.testing.assert_allclose([hit.score for hit in hits], scores[expected], atol=1e-6)
    assert all(Path(hit.path).is_file() for hit in hits)


def test_k_is_checked(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    with pytest.raises(RankError):
        zs.search(gallery, "red", hashing_encoder, k=0)
    for k in (360, 361, 10**9):
        assert len(zs.search(gallery, "red", hashing_encoder, k=k)) == 360


@pytest.mark.parametrize("dedup", [False, True])
def test_many_queries_are_one_product_and_answered_as_each_alone(
    gallery: Gallery, scene_folder: Path, hashing_encoder: HashingEncoder, dedup: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = str(next((scene_folder / "blue star").iterdir()))
    queries = [f"{colour} {shape}" for colour in ("red", "blue", "green") for shape in ("star", "heart", "circle")]
    queries += [image, f"{image} + red circle - 0.5:star", queries[0]]
    alone = [zs.search(gallery, query, hashing_encoder, k=7, dedup=dedup) for query in queries]
    asked, searched = [], []
    encode, search = hashing_encoder.encode_texts, gallery.index.search
    monkeypatch.setattr(hashing_encoder, "encode_texts", lambda texts: asked.append(texts) or encode(texts))
    monkeypatch.setattr(gallery.index, "search", lambda *given: searched.append(len(given[0])) or search(*given))
    for at_once in (1 << 24, 40):
        monkeypatch.setattr("zsretrieve.gallery.search._HITS_AT_ONCE", at_once)
        together = zs.search_all(gallery, queries, hashing_encoder, k=7, dedup=dedup)
        assert [[hit.id for hit in hits] for hits in together] == [[hit.id for hit in hits] for hits in alone]
        for hits, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in expected], atol=1e-6)
    assert zs.search_all(gallery, [], hashing_encoder) == []
    assert len(asked) == 2
    assert len(set(asked[0])) == len(asked[0])
    assert searched[0] == len(queries)
    assert dedup or len(searched) == 1 + math.ceil(len(queries) / (40 // 8))


def test_a_picture_of_the_gallery_is_left_out_and_needs_no_model(gallery: Gallery, scene_folder: Path) -> None:
    own = scene_folder / "red circle"
    path = sorted(own.iterdir())[0]
    hits = zs.search(gallery, str(path), NEVER, k=359)
    assert str(path) not in {hit.path for hit in hits}
    assert len(hits) == 359
    assert hits[0].score == max(hit.score for hit in hits)


def test_a_link_to_a_picture_is_that_picture(gallery: Gallery, scene_folder: Path, tmp_path: Path) -> None:
    path = sorted((scene_folder / "red circle").iterdir())[0]
    (tmp_path / "link.png").symlink_to(path)
    hits = zs.search(gallery, str(tmp_path / "link.png"), NEVER)
    assert str(path) not in {hit.path for hit in hits}


def test_a_copy_finds_the_original(
    gallery: Gallery, scene_folder: Path, tmp_path: Path, hashing_encoder: HashingEncoder
) -> None:
    path = sorted((scene_folder / "red circle").iterdir())[0]
    copy = tmp_path / "copy of it.png"
    shutil.copy(path, copy)
    assert zs.search(gallery, str(copy), hashing_encoder)[0].path == str(path)
    with pytest.raises(QueryError, match="weight 0"):
        zs.search(gallery, "0:five + x", hashing_encoder)


def test_mixes_are_weighted_sums(
    gallery: Gallery, scene_folder: Path, tmp_path: Path, hashing_encoder: HashingEncoder
) -> None:
    copy = tmp_path / "copy.png"
    shutil.copy(sorted((scene_folder / "red circle").iterdir())[0], copy)
    image = hashing_encoder.encode_prepared([hashing_encoder.prepare(Image.open(copy))])[0]
    texts = hashing_encoder.encode_texts(["blue square", "green"])
    total = image - 0.5 * texts[0] + 2 * texts[1]
    scores = gallery.vectors.astype(np.float64) @ (total / np.linalg.norm(total)).astype(np.float64)
    hits = zs.search(gallery, f"{copy} - 0.5:blue square + 2:green", hashing_encoder)
    assert [hit.id for hit in hits] == np.argsort(-scores, kind="stable")[:10].tolist()


def test_bad_queries(gallery: Gallery, tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    (tmp_path / "broken.png").write_bytes(b"no")
    for query, message in {
        "": "empty",
        "nowhere.jpg": "no image",
        str(tmp_path / "broken.png"): "not a readable image",
        "red - red": "cancel",
    }.items():
        with pytest.raises(QueryError, match=message):
            zs.search(gallery, query, hashing_encoder)
    assert zs.search(gallery, "nowhere.jpg", hashing_encoder, literal=True)


def test_the_gallery_s_exif_policy_holds_for_queries(tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (20, 60, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "turned.png", exif=exif)
    Image.fromarray(pixels[::-1]).save(tmp_path / "in" / "other.png")
    shutil.copy(tmp_path / "in" / "turned.png", tmp_path / "copy.png")
    for policy in (True, False):
        gallery = zs.build_gallery(
            tmp_path / "in", tmp_path / f"g{policy}", hashing_encoder, reading=zs.Reading(exif=policy)
        )
        best = zs.search(gallery, str(tmp_path / "copy.png"), hashing_encoder)[0]
        assert best.path.endswith("turned.png")
        assert best.score == pytest.approx(1.0, abs=1e-6)


def test_a_picture_listed_twice_is_left_out_twice(
    scene_folder: Path, hashing_encoder: HashingEncoder, tmp_path: Path
) -> None:
    one, other = sorted((scene_folder / "red circle").iterdir())[:2]
    gallery = zs.build_gallery(zs.open_source([one, other, one]), tmp_path / "g", hashing_encoder)
    assert [hit.path for hit in zs.search(gallery, str(one), hashing_encoder, k=3)] == [str(other)]


def test_a_word_that_names_a_file_is_a_word(
    gallery: Gallery, tmp_path: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dog").write_text("not a picture")
    monkeypatch.chdir(tmp_path)
    assert zs.search(gallery, "dog", hashing_encoder)
    with pytest.raises(QueryError, match=r"no image 'red hart/1.jpg'"):
        zs.search(gallery, "red hart/1.jpg", hashing_encoder)


def test_the_model_must_be_the_gallery_s(gallery: Gallery) -> None:
    with pytest.raises(SpaceMismatchError, match=r"hashing-0.*hashing-1") as caught:
        zs.search(gallery, "red", HashingEncoder(seed=1))
    assert "weights" in caught.value.message
    assert "`model`" in str(caught.value.hint)


def test_a_path_is_taken_for_a_gallery(small_gallery: Path, hashing_encoder: HashingEncoder) -> None:
    assert zs.search(small_gallery, "red", hashing_encoder, k=1)
    assert repr(zs.open_gallery(small_gallery)).endswith("360 images, hashing-0, dim 32)")
