"""Galleries of texts: built, resumed, kept, searched, exported; and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from kits.folders import file_named, table
from kits.hashing_encoder import NEVER, HashingEncoder
from kits.pictures import picture, pictures

import zsretrieve as zs
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoding import texts as encoding
from zsretrieve.store import items as item_table
from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import staged

WORDS = ("red star", "blue star", "red", "blue", "green heart", "a red star", "red star")


class Counting(HashingEncoder):
    """Notes the texts that it encodes; stops before the batch that would make them more than ``at_most``."""

    def __init__(self, at_most: int | None = None, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.texts: list[str] = []
        self._at_most = at_most

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        if self._at_most is not None and len(self.texts) + len(texts) > self._at_most:
            raise KeyboardInterrupt
        self.texts += texts
        return super().encode_texts(texts)


def lines(path: Path, texts: Sequence[str] = WORDS) -> Path:
    path.write_text("\n".join(texts))
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    zs.build_gallery(zs.open_texts(lines(tmp_path / "words.txt")), tmp_path / "words", HashingEncoder())
    return tmp_path / "words"


def test_equal_texts_are_encoded_once_and_stay_apart(tmp_path: Path) -> None:
    encoder = Counting()
    (tmp_path / "a.csv").write_text("image,caption\na.jpg,red star\nsub/b.jpg,\nb.jpg,red star\n,blue\n")
    gallery = zs.build_gallery(zs.open_texts(tmp_path / "a.csv"), tmp_path / "out", encoder)
    assert sorted(encoder.texts) == ["blue", "red star"]
    assert [(item.id, item.path, item.text, item.image) for item in gallery.items] == [
        (0, "a.csv!/2", "red star", "a.jpg"), (1, "a.csv!/4", "red star", "b.jpg"), (2, "a.csv!/5", "blue", None),
    ]  # fmt: skip
    assert gallery.vectors[0].tobytes() == gallery.vectors[1].tobytes()
    assert np.array_equal(gallery.vectors, encoder.encode_texts(["red star", "red star", "blue"]))
    assert [one.reason for one in gallery.manifest.skipped] == ["empty"]
    assert repr(gallery).endswith("3 texts, hashing-0, dim 32)")
    assert zs.verify(tmp_path / "out") == []
    source, strict = zs.open_texts(tmp_path / "a.csv"), zs.Reading(strict=True)
    with pytest.raises(zs.SkippedInputError, match="empty"):
        zs.build_gallery(source, tmp_path / "strict", encoder, reading=strict)


def test_an_interrupted_build_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_UNIT", 256)
    source = zs.open_texts(lines(tmp_path / "a.txt", [f"text {number % 700}" for number in range(1000)]))
    whole = zs.build_gallery(source, tmp_path / "whole", HashingEncoder())
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(source, tmp_path / "out", Counting(600))
    with pytest.raises(zs.IndexFormatError, match="not finished") as caught:
        zs.open_gallery(tmp_path / "out")
    assert "zsretrieve index texts" in str(caught.value.hint)
    assert staged(tmp_path / "out").count == 512
    with pytest.raises(zs.OutputExistsError, match="differs in source"):
        zs.build_gallery(pictures(tmp_path / "photos", 3), tmp_path / "out", HashingEncoder())
    encoder = Counting()
    resumed = zs.build_gallery(source, tmp_path / "out", encoder)
    assert len(encoder.texts) == 700 - 512
    assert table(resumed) == table(whole)


def test_texts_that_are_too_long_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    long = " ".join(f"word{number}" for number in range(80))
    zs.build_gallery(
        zs.open_texts(lines(tmp_path / "a.txt", [long, "short", long])), tmp_path / "out", HashingEncoder()
    )
    assert "1 text longer than the model reads" in caplog.text
    assert "word0 word1" in caplog.text


def test_adding_texts(tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(zs.open_gallery(words))
    same = zs.add(words, tmp_path / "words.txt", NEVER)
    assert (same.unchanged, same.added, same.encoded) == (7, 0, 0)
    lines(tmp_path / "words.txt", [*WORDS[:2], "crimson", *WORDS[3:], "yellow", "green heart"])
    encoder = Counting()
    dry = zs.add(words, tmp_path / "words.txt", encoder, dry_run=True)
    done = zs.add(words, tmp_path / "words.txt", encoder)
    for changes in (dry, done):
        assert (changes.unchanged, changes.changed, changes.added, changes.encoded) == (6, 1, 2, 2)
    assert sorted(encoder.texts) == ["crimson", "yellow"]
    after = zs.open_gallery(words)
    assert [after.items[row].text for row in (2, 7, 8)] == ["crimson", "yellow", "green heart"]
    assert {id_: row for id_, row in table(after).items() if id_ < 7 and id_ != 2} == {
        id_: row for id_, row in before.items() if id_ != 2
    }
    piped = zs.open_texts("-", standard_input=["purple", "red"])
    assert zs.add(words, piped, encoder).added == 2
    monkeypatch.chdir(tmp_path.parent)
    assert zs.add(words, zs.open_texts("-", standard_input=["purple", "red"]), NEVER).unchanged == 2
    assert zs.remove(words, where="path like 'stdin!/%'", dry_run=True).removed == 2
    assert zs.verify(words) == []


def test_an_emptied_gallery_stays_one_of_texts(tmp_path: Path, words: Path, small_gallery: Path) -> None:
    zs.remove(words, where="id >= 0")
    for use in (lambda: zs.evaluate_captions(small_gallery, words, NEVER), lambda: zs.open_texts(words)):
        with pytest.raises(zs.SourceError, match="is empty"):
            use()
    zs.rebuild(words, HashingEncoder())
    assert zs.add(words, tmp_path / "words.txt", HashingEncoder()).added == 7


def test_images_keep_their_place_when_texts_come_from_elsewhere(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(f"image,caption\na.jpg,of {name}\n")
    out = tmp_path / "out"
    zs.build_gallery(zs.open_texts(tmp_path / "one" / "a.csv"), out, HashingEncoder())
    zs.add(out, tmp_path / "other" / "a.csv", HashingEncoder())
    gallery = zs.open_gallery(out)
    assert [gallery.image_of(item) for item in gallery.items] == [
        str(tmp_path / name / "a.jpg") for name in ("one", "other")
    ]
    assert [source.images for source in zs.gallery_sources(gallery)] == [1, 1]


def test_a_word_finds_itself_and_an_analogy_leaves_its_terms_out(words: Path) -> None:
    gallery, encoder = zs.open_gallery(words), HashingEncoder()
    hits = zs.search(gallery, "red star", encoder, k=2)
    assert [(hit.text, hit.id, round(hit.score or 0, 5)) for hit in hits] == [
        ("red star", 0, 1.0),
        ("red star", 6, 1.0),
    ]
    found = zs.search(gallery, "Red Star - red + blue", encoder, k=10)
    assert found[0].text == "blue star"
    assert {hit.text for hit in found} == {"blue star", "green heart", "a red star"}
    wanted = encoder.encode_texts(["Red Star", "red", "blue"]) * np.array([[1], [-1], [1]])
    direction = wanted.sum(axis=0) / np.linalg.norm(wanted.sum(axis=0))
    assert found[0].score == pytest.approx(float(gallery.vectors[1] @ direction), abs=1e-6)
    assert zs.search(gallery, "id:1", encoder, k=1)[0].text != "blue star"
    assert found[0].to_dict() == {
        "rank": 1, "id": 1, "path": str(words.parent / "words.txt!/2"), "score": found[0].to_dict()["score"],
        "missing": False, "text": "blue star", "image": None, "box": None,
    }  # fmt: skip
    assert "blue star" in repr(found)
    assert "<p>blue star</p>" in found._repr_html_()


def test_an_image_finds_texts_by_their_vectors(tmp_path: Path, words: Path) -> None:
    gallery, encoder = zs.open_gallery(words), HashingEncoder()
    path = picture(tmp_path / "a.png", 5)
    hits = zs.search(gallery, path, encoder, k=7)
    image = encoder.encode_prepared([encoder.prepare(zs.read_image(path))])[0]
    scores = (gallery.vectors.astype(np.float64) @ image.astype(np.float64)).astype(np.float32)
    assert [hit.id for hit in hits] == np.lexsort((np.arange(7), -scores)).tolist()
    assert not any(hit.missing for hit in hits)


def test_filters_know_texts(tmp_path: Path, words: Path) -> None:
    gallery = zs.open_gallery(words)
    hits = zs.search(gallery, "star", HashingEncoder(), k=9, where="text like '%star' and text not like 'a %'")
    assert {hit.id for hit in hits} == {0, 1, 6}
    assert zs.remove(words, where="text = 'red star'").removed == 2
    assert zs.remove(words, ["words.txt!/2"]).removed == 1
    assert [item.text for item in zs.open_gallery(words).items] == ["red", "blue", "green heart", "a red star"]
    zs.compact(words)
    assert zs.verify(words) == []


def test_duplicates_and_maps_of_texts(tmp_path: Path, words: Path) -> None:
    (group,) = zs.find_duplicates(words, near=None)
    assert [one.id for one in group.items] == [0, 6]
    assert len(zs.make_map(words).ids) == 7


def test_another_model_and_a_deep_check_read_the_texts_of_the_gallery(tmp_path: Path, words: Path) -> None:
    (tmp_path / "words.txt").unlink()
    assert zs.verify_deep(words, HashingEncoder()).n_same == 7
    built = zs.rebuild(words, HashingEncoder(seed=1))
    assert built.changes.changed == 7
    assert [item.text for item in built.gallery.items] == list(WORDS)
    assert np.array_equal(built.gallery.vectors, HashingEncoder(seed=1).encode_texts(WORDS))
    assert zs.verify_deep(words, HashingEncoder(seed=1)).damages == ()


def test_damaged_vectors_are_encoded_again_from_the_texts(words: Path) -> None:
    before = table(zs.open_gallery(words))
    vectors = file_named(words, "vectors.npy")
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"\xff")
    repaired = zs.repair(words, HashingEncoder())
    assert (repaired.recovered, repaired.n_lost) == (7, 0)
    assert table(zs.open_gallery(words)) == before
    assert zs.open_gallery(words).items[1].text == "blue star"


def test_an_export_as_parquet_comes_back(tmp_path: Path, words: Path) -> None:
    assert zs.export_index(words, tmp_path / "words.parquet", "parquet") == 7
    assert pq.read_table(tmp_path / "words.parquet", columns=["text"]).column(0).to_pylist() == list(WORDS)
    built = zs.import_gallery(tmp_path / "words.parquet", tmp_path / "again", HashingEncoder())
    assert built.gallery.items == tuple(zs.open_gallery(words).items)
    assert built.gallery.manifest.holds_texts
    with pytest.raises(zs.UsageError, match="cannot be exported as npy"):
        zs.export_index(words, tmp_path / "npy", "npy")


def test_some_texts_as_a_gallery_of_their_own(tmp_path: Path, words: Path) -> None:
    some = zs.subset(words, [1, 4], tmp_path / "some")
    assert [(item.id, item.text) for item in some.items] == [(1, "blue star"), (4, "green heart")]


def test_an_approximate_index_of_texts(tmp_path: Path) -> None:
    source = zs.open_texts(lines(tmp_path / "a.txt", [f"text {number}" for number in range(1500)]))
    gallery = zs.build_gallery(source, tmp_path / "out", HashingEncoder(), kind="IVF8,SQ8")
    assert gallery.approximate is not None
    assert zs.search(gallery, "text 77", HashingEncoder(), k=1)[0].text == "text 77"
    with pytest.raises(zs.UsageError, match="tuning measures searches for images"):
        zs.tune_index(tmp_path / "out", 0.9)


def test_older_versions_refuse_a_gallery_of_texts(tmp_path: Path, words: Path, small_gallery: Path) -> None:
    content = json.loads((words / manifests.NAME).read_bytes())
    assert (content["format_version"], content["holds_texts"]) == (5, True)
    of_images = json.loads((small_gallery / manifests.NAME).read_bytes())
    assert of_images["format_version"] == 2
    assert "holds_texts" not in of_images
    assert item_table.read(file_named(small_gallery, "items.parquet"))._table.schema == item_table.SCHEMA
    assert item_table.read(file_named(words, "items.parquet"))._table.schema == item_table.TEXT_SCHEMA


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda words, photos: zs.sync(words), "a gallery of texts, which are not synced"),
        (lambda words, photos: zs.add(words, zs.open_source(photos), HashingEncoder()), "is a gallery of texts"),
        (lambda words, photos: zs.relocate(words, words.parent, "/elsewhere"), "no files of their own to follow"),
        (lambda words, photos: zs.open_source(words), "is a gallery of texts, not of images"),
        (
            lambda words, photos: zs.build_gallery(
                zs.open_texts(words), photos / "out", "demo", ray=zs.Cluster("local")
            ),
            "only images are encoded on a cluster",
        ),
        (
            lambda words, photos: zs.build_gallery(
                zs.open_texts(words), photos / "out", HashingEncoder(), regions="pyramid:2"
            ),
            "texts have no regions",
        ),
    ],
)
def test_what_only_images_have_is_refused(
    tmp_path: Path, words: Path, refused: Callable[[Path, Path], object], message: str
) -> None:
    with pytest.raises(zs.ZsRetrieveError, match=message):
        refused(words, pictures(tmp_path / "photos", 3))


def test_texts_are_not_added_to_images(tmp_path: Path, small_gallery: Path) -> None:
    with pytest.raises(zs.UsageError, match="is a gallery of images"):
        zs.add(small_gallery, zs.open_texts(lines(tmp_path / "a.txt")), HashingEncoder())
    with pytest.raises(zs.SourceError, match="is a gallery of images, not of texts"):
        zs.open_texts(small_gallery)
