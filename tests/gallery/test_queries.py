"""What Python callers have in hand as queries and sources: paths, images, arrays, lists."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import IndexFormatError, OptionalDependencyError, QueryError


def test_queries_are_what_people_have_in_hand(small_gallery: Path, hashing_encoder: HashingEncoder) -> None:
    gallery = zs.open_gallery(small_gallery, device="cpu")
    path = Path(gallery.path_of(gallery.items[5]))
    image = Image.open(path)
    vector = gallery.index.stored(np.array([5]))[0]
    by_path = [hit.id for hit in zs.search(gallery, path, hashing_encoder, k=3)]
    assert by_path == [hit.id for hit in zs.search(gallery, str(path), hashing_encoder, k=3)]
    for query in (image, np.asarray(image), vector, vector.astype(np.float64) * 7):
        hits = zs.search(gallery, query, hashing_encoder, k=4)
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert [hit.id for hit in hits if hit.id != 5][:3] == by_path or hits[0].id != 5
    assert len(zs.search_all(gallery, ["a star", path, image, vector], hashing_encoder, k=1)) == 4


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.zeros(3), "the query vector has 3 dimensions, and the gallery's have 32"),
        (np.zeros(32), "the query has no direction"),
        (np.full(32, np.nan), "the query has no direction"),
        (np.zeros((5, 5)), r"an array of shape \(5, 5\) and type float64 is not a query"),
        (np.zeros((0, 0, 3), dtype=np.uint8), "is not a query"),
        (np.zeros((4, 4, 7), dtype=np.uint8), "is not a query"),
        (np.zeros(32, dtype=np.int64), "is not a query"),
        (["a", "b"], "not list"),
        (b"star", "not bytes"),
        (Path("nowhere.png"), "there is no image 'nowhere.png'"),
        (Path("."), "there is no image '.'"),
        ("/usr/lib", "'/usr/lib' is a folder"),
        ("night + /usr/lib", "'/usr/lib' is a folder"),
        ("/etc/passwd at night", "mixes a text and the file '/etc/passwd'"),
        ("night -0.5:red", "'-0.5:red' in the query 'night -0.5:red' needs a space after the -"),
        ("night + day +2:red", "needs a space after the +"),
        ("x" * 1_000_000, "the query has 1,000,000 characters, and the limit is 10,000"),
    ],
)
def test_what_cannot_be_a_query_is_refused_before_a_gallery_is_opened(
    query: object, message: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    gallery: object = tmp_path
    if "vector" in message or "direction" in message:  # only the gallery knows its dimensions
        gallery = request.getfixturevalue("small_gallery")
    with pytest.raises(QueryError, match=message):
        zs.search(gallery, query, HashingEncoder())


def test_a_missing_gallery_is_reported_before_a_missing_image() -> None:
    with pytest.raises(IndexFormatError, match="there is no index '@nowhere'"):
        zs.search("@nowhere", "nowhere/1.jpg", HashingEncoder())


def test_text_that_is_also_the_name_of_a_file_is_noted(
    small_gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README").write_text("no image")
    Path("photos").mkdir()
    with caplog.at_level("INFO", "zsretrieve"):
        zs.search_all(small_gallery, ["README + photos", "a star"], HashingEncoder())
        assert caplog.messages == [
            "'README' is searched for as text; to search with the file, write ./README",
            "'photos' is searched for as text; the folder of that name is not searched",
        ]
        zs.search(small_gallery, "README", HashingEncoder(), literal=True)
        zs.search(small_gallery, "README", HashingEncoder(), zs.Wanted(files=False))
    assert len(caplog.messages) == 2
    with pytest.raises(QueryError, match=r"'\./README' cannot be used as a query: not a readable image"):
        zs.search(small_gallery, "./README", HashingEncoder())


def test_an_image_query_is_turned_as_the_gallery_was(small_gallery: Path, hashing_encoder: HashingEncoder) -> None:
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, :10] = 255
    upright, stored = Image.fromarray(pixels), Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    stored.getexif()[0x0112] = 6
    for exif, same in ((True, upright), (False, Image.fromarray(np.asarray(stored)))):
        one, other = (zs.search(small_gallery, q, hashing_encoder, k=3, exif=exif) for q in (stored, same))
        assert one == other


def test_a_url_without_its_extra_names_the_extra(
    small_gallery: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(OptionalDependencyError, match="reading https:// needs a package") as caught:
        zs.search(small_gallery, "https://example.org/a.jpg", hashing_encoder)
    assert "fsspec[http]" in str(caught.value.hint)


def test_galleries_and_answers_of_a_few_paths(
    tmp_path: Path, scene_folder: Path, hashing_encoder: HashingEncoder
) -> None:
    paths = sorted(scene_folder.rglob("*.png"))[:3]
    gallery = zs.build_gallery([paths[0], str(paths[1])], tmp_path / "g", hashing_encoder)
    assert zs.add(tmp_path / "g", [paths[2]], hashing_encoder).added == 1
    assert len(gallery.items) == 2
    assert len(zs.open_source(paths[0]).files) == 1
    (one,) = zs.classify(paths[0], ["red star", "blue circle"], hashing_encoder, k=1).results
    assert one == zs.classify([paths[0]], classes=["red star", "blue circle"], model=hashing_encoder, k=1).results[0]
