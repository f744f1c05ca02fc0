import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zsretrieve import api, sources, wiring
from zsretrieve.encoders.hashing import HashingEncoder
from zsretrieve.errors import (
    ClassMappingError,
    QueryError,
    RankError,
    SkippedInputError,
    SourceError,
    SpaceMismatchError,
)
from zsretrieve.ports import Encoder
from zsretrieve.records import Skipped
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.rows import LiveVectors
from zsretrieve.verbs.encode import encode_source, encode_texts_once


@pytest.fixture
def gallery(small_gallery: Path) -> Gallery:
    return api.open_gallery(small_gallery, device="cpu")


@pytest.fixture(scope="module")
def prototypes() -> Prototypes:
    return api.make_prototypes("scenes", HashingEncoder()).prototypes


def never() -> Encoder:
    raise AssertionError("no encoder is needed for this")


def test_encoding_keeps_order_and_counts(scene_folder: Path, hashing_encoder: HashingEncoder) -> None:
    source = sources.folder(scene_folder)
    steps: list[tuple[int, int]] = []
    encoded = encode_source(source, hashing_encoder, on_progress=lambda *step: steps.append(step), workers=3)
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
    sound = encode_source(sources.folder(root), hashing_encoder)
    (root / "a.png").write_bytes(b"broken")
    (root / "zz.png").touch()
    encoded = encode_source(sources.folder(root), hashing_encoder)
    assert encoded.skipped == (Skipped("a.png", "not a readable image"), Skipped("zz.png", "empty file"))
    kept = {item.path: item.id for item in sound.items if item.path != "a.png"}
    assert {item.path: item.id for item in encoded.items} == kept
    with pytest.raises(SkippedInputError, match=r"a\.png"):
        encode_source(sources.folder(root), hashing_encoder, strict=True)


def test_nothing_readable_is_an_error(tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(SourceError, match="none of the 1 images can be read"):
        api.build_gallery(tmp_path, tmp_path / "out", hashing_encoder)
    assert not (tmp_path / "out").exists()


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


def test_duplicate_names_tie_and_go_to_the_lowest(hashing_encoder: HashingEncoder) -> None:
    made = api.make_prototypes("missile,dog,missile,cat,missile", hashing_encoder, templates="openai80")
    assert made.duplicate_names == ("missile",)
    vectors = made.prototypes.vectors
    np.testing.assert_array_equal(vectors[0], vectors[2])
    found = api.classify(_gallery_of(vectors, made.prototypes), made.prototypes, k=5)
    for row in (0, 2, 4):
        assert [p.class_id for p in found.results[row].predictions][:3] == [0, 2, 4]


def _gallery_of(vectors: np.ndarray, prototypes: Prototypes) -> Gallery:
    from zsretrieve.records import Item

    index = wiring.index_backend("cpu").create(prototypes.space.dim)
    index.add(vectors)
    items = tuple(Item(i, f"{i}.png", None, 1, 1, 1, 1, "") for i in range(len(vectors)))
    return Gallery(None, prototypes.manifest, items, LiveVectors.of(vectors), index)


def test_classifying_a_gallery_equals_classifying_its_folder(
    gallery: Gallery, prototypes: Prototypes, scene_folder: Path, hashing_encoder: HashingEncoder
) -> None:
    from_gallery = api.classify(gallery, prototypes)
    from_folder = api.classify(scene_folder, prototypes, hashing_encoder)
    assert from_gallery.results == from_folder.results
    assert len(from_gallery.results[0].predictions) == 5
    total = sum(p.probability for p in api.classify(gallery, prototypes, k=120).results[0].predictions)
    assert total == pytest.approx(1.0)


def test_k_is_checked_and_defaults_to_what_there_is(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    two = api.make_prototypes("cat,dog", hashing_encoder).prototypes
    assert len(api.classify(gallery, two).results[0].predictions) == 2
    for k in (0, -1, 3):
        with pytest.raises(RankError):
            api.classify(gallery, two, k=k)
    with pytest.raises(RankError, match="holds 360 images"):
        api.search(gallery, "red", hashing_encoder, k=361)
    with pytest.raises(RankError):
        api.search(gallery, "red", hashing_encoder, k=0)
    assert len(api.search(gallery, "red", hashing_encoder, k=360)) == 360


def test_a_text_search_is_a_full_sort(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    query = hashing_encoder.encode_texts(["a red circle"])[0].astype(np.float64)
    scores = (gallery.vectors.astype(np.float64) @ query).astype(np.float32)
    expected = np.lexsort((np.arange(360), -scores))[:10]
    hits = api.search(gallery, "a red circle", hashing_encoder)
    assert [hit.id for hit in hits] == expected.tolist()
    assert [hit.rank for hit in hits] == list(range(1, 11))
    np.testing.assert_allclose([hit.score for hit in hits], scores[expected], atol=1e-6)
    assert all(Path(hit.path).is_file() for hit in hits)


def test_a_picture_of_the_gallery_is_left_out_and_needs_no_model(gallery: Gallery, scene_folder: Path) -> None:
    own = scene_folder / "red circle"
    path = sorted(own.iterdir())[0]
    hits = api.search(gallery, str(path), never, k=359)
    assert str(path) not in {hit.path for hit in hits}
    assert len(hits) == 359
    assert hits[0].score == max(hit.score for hit in hits)


def test_a_link_to_a_picture_is_that_picture(gallery: Gallery, scene_folder: Path, tmp_path: Path) -> None:
    path = sorted((scene_folder / "red circle").iterdir())[0]
    (tmp_path / "link.png").symlink_to(path)
    hits = api.search(gallery, str(tmp_path / "link.png"), never)
    assert str(path) not in {hit.path for hit in hits}


def test_a_copy_finds_the_original(
    gallery: Gallery, scene_folder: Path, tmp_path: Path, hashing_encoder: HashingEncoder
) -> None:
    path = sorted((scene_folder / "red circle").iterdir())[0]
    copy = tmp_path / "copy of it.png"
    shutil.copy(path, copy)
    assert api.search(gallery, str(copy), hashing_encoder)[0].path == str(path)
    with pytest.raises(QueryError, match="weight 0"):
        api.search(gallery, "0:five + x", hashing_encoder)


def test_mixes_are_weighted_sums(
    gallery: Gallery, scene_folder: Path, tmp_path: Path, hashing_encoder: HashingEncoder
) -> None:
    copy = tmp_path / "copy.png"
    shutil.copy(sorted((scene_folder / "red circle").iterdir())[0], copy)
    image = hashing_encoder.encode_prepared([hashing_encoder.prepare(Image.open(copy))])[0]
    texts = hashing_encoder.encode_texts(["blue square", "green"])
    total = image - 0.5 * texts[0] + 2 * texts[1]
    scores = gallery.vectors.astype(np.float64) @ (total / np.linalg.norm(total)).astype(np.float64)
    hits = api.search(gallery, f"{copy} - 0.5:blue square + 2:green", hashing_encoder)
    assert [hit.id for hit in hits] == np.argsort(-scores, kind="stable")[:10].tolist()


def test_bad_queries(gallery: Gallery, tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    (tmp_path / "broken.png").write_bytes(b"no")
    for query, message in {
        "": "empty",
        "nowhere.jpg": "no picture",
        str(tmp_path / "broken.png"): "not a readable image",
        "red - red": "cancel",
    }.items():
        with pytest.raises(QueryError, match=message):
            api.search(gallery, query, hashing_encoder)
    assert api.search(gallery, "nowhere.jpg", hashing_encoder, literal=True)


def test_spaces_must_be_the_same(gallery: Gallery, prototypes: Prototypes, scene_folder: Path) -> None:
    other = HashingEncoder(seed=1)
    foreign = api.make_prototypes("scenes", other).prototypes
    for meet in (
        lambda: api.classify(gallery, foreign),
        lambda: api.evaluate(gallery, foreign),
        lambda: api.classify(scene_folder, prototypes, other),
        lambda: api.evaluate(scene_folder, prototypes, other),
        lambda: api.search(gallery, "red", other),
    ):
        with pytest.raises(SpaceMismatchError, match=r"hashing-0.*hashing-1|hashing-1.*hashing-0") as caught:
            meet()
        assert "weights" in caught.value.message
        assert "--model" in str(caught.value.hint)


def test_evaluation_equals_a_count_by_hand(gallery: Gallery, prototypes: Prototypes) -> None:
    report = api.evaluate(gallery, prototypes)
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
    report = api.evaluate(tmp_path / "in", prototypes, hashing_encoder)
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
        api.evaluate(tmp_path / "in", prototypes, NeverEncodes())
    with pytest.raises(SourceError, match="none of the images has a label"):
        api.evaluate(scene_folder / "red circle", prototypes, NeverEncodes())


def test_ground_truth_for_a_flat_folder(
    scene_folder: Path, prototypes: Prototypes, hashing_encoder: HashingEncoder, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, name in enumerate(["red circle", "blue star"]):
        shutil.copy(sorted((scene_folder / name).iterdir())[0], flat / f"{number}.png")
    number_of = prototypes.prompts.class_names.index("blue star")
    (tmp_path / "truth.txt").write_text(f"0.png red circle\n1.png {number_of}\n")
    report = api.evaluate(flat, prototypes, hashing_encoder, ground_truth=tmp_path / "truth.txt")
    assert [c.class_name for c in report.per_class] == ["red circle", "blue star"]


def test_the_gallery_s_exif_policy_holds_for_queries(tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (20, 60, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "turned.png", exif=exif)
    Image.fromarray(pixels[::-1]).save(tmp_path / "in" / "other.png")
    shutil.copy(tmp_path / "in" / "turned.png", tmp_path / "copy.png")
    for policy in (True, False):
        gallery = api.build_gallery(tmp_path / "in", tmp_path / f"g{policy}", hashing_encoder, exif=policy)
        best = api.search(gallery, str(tmp_path / "copy.png"), hashing_encoder)[0]
        assert best.path.endswith("turned.png")
        assert best.score == pytest.approx(1.0, abs=1e-6)


def test_a_picture_listed_twice_is_left_out_twice(
    scene_folder: Path, hashing_encoder: HashingEncoder, tmp_path: Path
) -> None:
    one, other = sorted((scene_folder / "red circle").iterdir())[:2]
    gallery = api.build_gallery(api.open_source([one, other, one]), tmp_path / "g", hashing_encoder)
    assert [hit.path for hit in api.search(gallery, str(one), hashing_encoder, k=3)] == [str(other)]


def test_a_word_that_names_a_file_is_a_word(
    gallery: Gallery, tmp_path: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dog").write_text("not a picture")
    monkeypatch.chdir(tmp_path)
    assert api.search(gallery, "dog", hashing_encoder)
    with pytest.raises(QueryError, match=r"no picture 'red hart/1.jpg'"):
        api.search(gallery, "red hart/1.jpg", hashing_encoder)


def test_paths_are_taken_for_indexes(small_gallery: Path, tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    api.build_prototypes(tmp_path / "p", "scenes", hashing_encoder)
    assert api.search(small_gallery, "red", hashing_encoder, k=1)
    assert api.classify(small_gallery, tmp_path / "p").results
    assert api.evaluate(small_gallery, tmp_path / "p").n_scored == 360
    with pytest.raises(SourceError, match="takes its labels when it is built"):
        api.evaluate(small_gallery, tmp_path / "p", ground_truth=tmp_path / "x")
    assert repr(api.open_gallery(small_gallery)).endswith("360 images, hashing-0, dim 32)")
    assert len(repr(api.open_prototypes(tmp_path / "p"))) < 200


def test_probabilities_never_pass_1(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    alone = api.make_prototypes("one,", hashing_encoder).prototypes
    assert all(row.predictions[0].probability <= 1.0 for row in api.classify(gallery, alone).results)
