"""Galleries with regions: whatever happens to them, each image keeps the vectors of its tiles, and searches use all."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import NEVER, HashingEncoder
from kits.pictures import Counting
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.regions import boxes_of
from zsretrieve.encoding.regions import TiledEncoder
from zsretrieve.gallery.ingest import CHECKPOINT_IMAGES
from zsretrieve.store import rows
from zsretrieve.store.folder import SEGMENTS

SPEC = "pyramid:2"
BOXES = boxes_of(SPEC)
ENCODER = HashingEncoder()


def photo(path: Path, number: int) -> Path:
    """An image of its own in a size of its own, some of them thin."""
    rng = np.random.default_rng(number)
    width, height = [(40, 30), (21, 64), (90, 20), (1, 5), (300, 2)][number % 5]
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("regions") / "photos"
    for number in range(24):
        photo(root / f"class {number % 3}" / f"{number:02}.png", number)
    (root / "broken.png").write_bytes(b"no")
    return root


@pytest.fixture(scope="module")
def built(photos: Path) -> Path:
    out = photos.parent / "gallery"
    zs.build_gallery(photos, out, ENCODER, regions=SPEC)
    return out


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    """A gallery of photos that may be changed."""
    shutil.copytree(photos, tmp_path / "photos")
    zs.build_gallery(tmp_path / "photos", tmp_path / "gallery", ENCODER, regions=SPEC)
    return tmp_path / "gallery"


def tiles(path: str) -> np.ndarray:
    """What the regions of an image should be, float32 of shape (10, dim), by Pillow and the encoder alone."""
    image = Image.open(path)
    parts = [image]
    for left, top, right, bottom in BOXES:
        x0, x1 = round(left * image.width), round(right * image.width)
        y0, y1 = round(top * image.height), round(bottom * image.height)
        x0, y0 = min(x0, image.width - 1), min(y0, image.height - 1)
        parts.append(image.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))))
    return ENCODER.encode_prepared([ENCODER.prepare(part) for part in parts])


def check(folder: Path, images: int) -> zs.Gallery:
    """A sound gallery whose every vector is that of its image and tile."""
    assert zs.verify(folder) == []
    opened = zs.open_gallery(folder, device="cpu")
    assert (len(opened.items), opened.manifest.regions) == (images, SPEC)
    assert opened.regions is not None
    for row, item in enumerate(opened.items):
        stored = opened.regions.bundles(np.array([row]))[0]
        np.testing.assert_array_equal(stored, tiles(opened.path_of(item)), err_msg=item.path)
        np.testing.assert_array_equal(opened.vectors[row], stored[0])
    return opened


def by_hand(opened: zs.Gallery, query: str) -> tuple[np.ndarray, list[tuple[float, ...] | None]]:
    """The score of every image by brute force over all its tiles, and where the query fits each."""
    bundles = np.stack([tiles(opened.path_of(item)) for item in opened.items]).astype(np.float64)
    scores = (bundles @ ENCODER.encode_texts([query])[0].astype(np.float64)).astype(np.float32)
    boxes: list[tuple[float, ...] | None] = []
    for whole, *parts in scores.astype(np.float64):
        left, top, *_ = BOXES[int(np.argmax(parts))]
        near = [abs(box[0] - left) < 0.49 and abs(box[1] - top) < 0.49 for box in BOXES]
        weights = np.exp(opened.manifest.head.scale * np.array(parts)) * near
        x, y = (np.average([(box[axis] + box[axis + 2]) / 2 for box in BOXES], weights=weights) for axis in (0, 1))
        boxes.append(None if whole >= max(parts) else (x - 0.25, y - 0.25, x + 0.25, y + 0.25))
    return scores.max(axis=1), boxes


def test_every_tile_has_the_vector_of_the_model(built: Path) -> None:
    opened = check(built, 24)
    (segment,) = opened.manifest.segments
    stored = np.load(built / SEGMENTS / segment.name / rows.REGIONS)
    assert (stored.shape, stored.dtype) == ((24, 9, 32), np.float32)
    assert [one.path for one in opened.manifest.skipped] == ["broken.png"]


@pytest.mark.parametrize("query", ["a red star", "snow"])
def test_searches_are_those_of_brute_force_over_all_tiles(built: Path, query: str) -> None:
    opened = zs.open_gallery(built, device="cpu")
    scores, boxes = by_hand(opened, query)
    order = np.lexsort((np.arange(24), -scores))
    for k in (1, 5, 24):
        hits = zs.search(opened, query, ENCODER, k=k)
        assert [hit.id for hit in hits] == opened.ids[order[:k]].tolist()
        assert [hit.score for hit in hits] == scores[order[:k]].tolist()
        for hit, row in zip(hits, order[:k].tolist(), strict=True):
            assert hit.box == (None if boxes[row] is None else pytest.approx(boxes[row], abs=1e-5))
        assert hits.is_exact
    among = [row for row, item in enumerate(opened.items) if item.label == "class 1"]
    filtered = zs.search(opened, query, ENCODER, k=3, where="label = 'class 1'")
    assert [hit.id for hit in filtered] == [opened.items[row].id for row in order.tolist() if row in among][:3]
    page = zs.search(opened, query, ENCODER, zs.Wanted(k=4, offset=5, explain=True))
    assert [hit.id for hit in page] == opened.ids[order[5:9]].tolist()
    assert page.explanation is not None
    for hit, terms in zip(page, page.explanation.terms, strict=True):
        assert terms[0].score == pytest.approx(hit.score, abs=1e-6)
    least = float(scores[order[6]])
    assert [hit.id for hit in zs.search(opened, query, ENCODER, zs.Wanted(k=24, min_score=least))] == (
        opened.ids[order[:7]].tolist()
    )
    newest = zs.search(opened, query, ENCODER, zs.Wanted(k=24, min_score=least, order="date"))
    assert {hit.id for hit in newest} == {*opened.ids[order[:7]].tolist()}
    assert {hit.id: hit.box for hit in newest} == {hit.id: hit.box for hit in zs.search(opened, query, ENCODER, k=7)}
    # Images and mixed queries are compared with regions, too; the query's own image is left out.
    mixed = zs.search(opened, f"id:3 + {query}", ENCODER, k=24)
    assert len(mixed) == 23


def test_whole_images_alone_are_searched_on_request(built: Path, photos: Path, tmp_path: Path) -> None:
    plain = zs.build_gallery(photos, tmp_path / "plain", ENCODER)
    hits = zs.search(built, "a red star", ENCODER, zs.Wanted(k=24, whole=True))
    expected = zs.search(plain, "a red star", ENCODER, k=24)
    assert [(hit.id, hit.score, hit.box) for hit in hits] == [(hit.id, hit.score, None) for hit in expected]
    assert hits.matching is not None
    assert expected.matching is not None
    assert hits.matching.threshold == expected.matching.threshold
    with_regions = zs.search(built, "a red star", ENCODER).matching
    assert with_regions is not None
    # The best of ten vectors is better than the best of one, also for texts that have nothing to do with it.
    assert with_regions.threshold > expected.matching.threshold
    assert zs.search(plain, "a red star", ENCODER, zs.Wanted(k=3, whole=True)) == expected[:3]


def test_near_duplicates_are_those_of_whole_images(gallery: Path) -> None:
    photos = gallery.parent / "photos"
    shutil.copy(photos / "class 0" / "00.png", photos / "class 0" / "copy.png")
    assert zs.add(gallery, photos, NEVER).added == 1
    hits = zs.search(gallery, "a red star", ENCODER, k=25, dedup=True)
    assert len(hits) == 24
    check(gallery, 25)


def test_changes_keep_images_and_their_regions_together(gallery: Path) -> None:
    photos, rng = gallery.parent / "photos", random.Random(1)
    for number in range(100, 106):
        photo(photos / "new" / f"{number}.png", number)
    encoder = Counting()
    assert zs.add(gallery, photos, encoder).added == 6
    assert encoder.count == 60
    check(gallery, 30)
    photo(photos / "class 0" / "00.png", 77)
    (photos / "class 1" / "01.png").rename(photos / "class 2" / "moved.png")
    for path in rng.sample(sorted((photos / "class 2").glob("1*.png")), 2):
        path.unlink()
    changes = zs.sync(gallery, Counting())
    assert (changes.changed, changes.moved, changes.removed, changes.encoded) == (1, 1, 2, 1)
    check(gallery, 28)
    assert zs.remove(gallery, ["new/10[0-2]*"]).removed == 3
    zs.label_images(gallery, {3: "another"})
    opened = check(gallery, 25)
    assert len(opened.manifest.segments) > 1
    before = [(item.id, item.path) for item in opened.items]
    expected = zs.search(opened, "snow", ENCODER, k=25)
    zs.compact(gallery)
    after = check(gallery, 25)
    assert len(after.manifest.segments) == 1
    assert [(item.id, item.path) for item in after.items] == before
    assert zs.search(after, "snow", ENCODER, k=25) == expected
    assert zs.rebuild(gallery, ENCODER).changes.encoded == 25
    check(gallery, 25)
    some = zs.subset(gallery, [3, 5], gallery.parent / "some")
    check(gallery.parent / "some", 2)
    assert [hit.box for hit in zs.search(some, "snow", ENCODER)] == [hit.box for hit in expected if hit.id in (3, 5)]


def test_a_build_picks_up_where_it_was_interrupted(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "gallery"
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(photos, out, Counting(at_most=120), regions=SPEC, checkpoint=4)
    for other in ({}, {"regions": "pyramid:3"}):
        with pytest.raises(zs.OutputExistsError, match="differs in regions"):
            zs.build_gallery(photos, out, ENCODER, **other)
    encoder = Counting()
    zs.build_gallery(photos, out, encoder, regions=SPEC, checkpoint=CHECKPOINT_IMAGES)
    assert 0 < encoder.count < 240
    check(out, 24)


@pytest.mark.parametrize("name", [rows.REGIONS, rows.VECTORS])
@pytest.mark.parametrize("how", ["flipped", "missing", "cut"])
def test_damaged_regions_are_found_and_encoded_again(gallery: Path, name: str, how: str) -> None:
    (segment,) = zs.read_manifest(gallery).segments
    path = gallery / SEGMENTS / segment.name / name
    content = bytearray(path.read_bytes())
    match how:
        case "flipped":
            content[300] ^= 1
            path.write_bytes(content)
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(content[:-4])
    assert any(name in problem for problem in zs.verify(gallery))
    with pytest.raises(zs.IntegrityError):
        zs.open_gallery(gallery)
    done = zs.repair(gallery, ENCODER)
    assert (done.recovered, done.n_lost) == (24, 0)
    check(gallery, 24)


def test_a_deep_check_compares_regions(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = zs.verify_deep(gallery, ENCODER, sample=24)
    assert (checked.n_same, checked.damages) == (24, ())
    whole = HashingEncoder.encode_prepared

    def worse(self: HashingEncoder, batch: list[np.ndarray]) -> np.ndarray:
        vectors = whole(self, batch)
        vectors[3::10] = np.roll(vectors[3::10], 1, axis=1)
        return vectors

    monkeypatch.setattr(HashingEncoder, "encode_prepared", worse)
    assert zs.verify_deep(gallery, HashingEncoder(), sample=24).n_same == 0


def test_what_does_not_go_with_regions_is_refused_before_any_work(built: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "refused"
    for wrong, words in [
        ({"regions": "pyramid:7"}, "does not name regions"),
        ({"regions": SPEC, "kind": "auto"}, "regions need the index kind Flat"),
        ({"regions": SPEC, "kind": "HNSW32"}, "regions need the index kind Flat"),
        ({"regions": SPEC, "ray": zs.Cluster("local")}, "not encoded on a cluster"),
        ({"regions": SPEC, "reading": zs.Reading(fast=True)}, "fast decoding"),
    ]:
        with pytest.raises(zs.UsageError, match=words):
            zs.build_gallery(photos, out, NEVER, **wrong)
        assert not out.exists()
    with pytest.raises(zs.UsageError, match="has regions"):
        zs.set_index_kind(built, "auto")
    assert zs.set_index_kind(built, "Flat").factory == "Flat"
    with pytest.raises(zs.UsageError, match="has regions"):
        zs.open_gallery(built, ray=zs.Shards(zs.Cluster("local")))


def test_a_note_counts_images_of_which_parts_are_not_seen(
    photos: Path, demo_encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = sorted(photos.glob("class */0*.png"))[:6]
    sizes = [zs.read_image(file).size for file in files]
    wide = sum(2 * max(size) > 3 * min(size) for size in sizes)
    zs.build_gallery(files, tmp_path / "demo", demo_encoder, regions=SPEC)
    assert wide
    assert f"{wide} images are longer than 3:2" in caplog.text
    caplog.clear()
    zs.build_gallery(files, tmp_path / "squashed", ENCODER, regions=SPEC)
    zs.build_gallery(files, tmp_path / "plain", demo_encoder)
    assert "longer than" not in caplog.text


def test_the_edges_of_an_image_are_seen_also_by_models_that_crop(demo_encoder: Encoder) -> None:
    tiled = TiledEncoder(demo_encoder, BOXES)
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    before = tiled.prepare(image)
    for band in ((0, 0, 6, 200), (294, 0, 300, 200), (0, 0, 300, 4), (0, 196, 300, 200)):
        other = image.copy()
        other.paste((0, 0, 0), band)
        assert not np.array_equal(tiled.prepare(other)[1:], before[1:]), band


def test_an_export_has_the_regions_beside_the_vectors(built: Path, tmp_path: Path) -> None:
    zs.export_index(built, tmp_path / "npy", "npy")
    opened = zs.open_gallery(built, device="cpu")
    assert opened.regions is not None
    exported = np.load(tmp_path / "npy" / "regions.npy")
    np.testing.assert_array_equal(exported, opened.regions.bundles(np.arange(24))[:, 1:])
