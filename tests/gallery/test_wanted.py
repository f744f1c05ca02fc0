"""What is wanted of a search, against a plain product in float64 and a full sort."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.hashing_encoder import NEVER, HashingEncoder
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import QueryError, RankError, SpaceMismatchError, UsageError
from zsretrieve.gallery import search as gallery_search
from zsretrieve.store.indexes import Gallery

Parts = Sequence[tuple[Any, float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """A gallery of sixty pictures, each three times the same, whose files have ten different times."""
    root = tmp_path_factory.mktemp("wanted")
    for number, path in enumerate(sorted(scene_folder.rglob("*.png"))[::18]):
        for copy in range(3):
            place = root / "photos" / path.parent.name / f"{number}-{copy}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            os.utime(place, (1_000_000 + (7 * number + copy) % 10,) * 2)
    zs.build_gallery(root / "photos", root / "gallery", HashingEncoder())
    return root / "gallery"


@pytest.fixture
def gallery(folder: Path) -> Gallery:
    return zs.open_gallery(folder, device="cpu")


def ranking(gallery: Gallery, parts: Parts, without: Sequence[int] = ()) -> tuple[list[int], dict[int, float]]:
    """All IDs, best first and ties by ID, and the score of each, by the plainest arithmetic."""
    total = sum(weight * np.asarray(vector, dtype=np.float64) for vector, weight in parts)
    unit = (total / np.linalg.norm(total)).astype(np.float32).astype(np.float64)
    scores = (gallery.vectors.astype(np.float64) @ unit).astype(np.float32)
    order = [row for row in np.lexsort((np.arange(len(scores)), -scores)).tolist() if row not in without]
    return order, dict(enumerate(scores.tolist()))


def check(hits: zs.Hits, expected: Sequence[int], scores: dict[int, float]) -> None:
    assert [hit.id for hit in hits] == list(expected)
    assert [hit.score for hit in hits] == [scores[hit.id] for hit in hits]
    assert [hit.rank for hit in hits] == list(range(hits.offset + 1, hits.offset + 1 + len(hits)))


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def test_terms_and_what_to_stay_away_from_are_a_weighted_sum(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    red, blue, text = hashing_encoder.encode_texts(["red", "blue", "id:3"]).astype(np.float64)
    given, stored = np.arange(1.0, 33.0), gallery.vectors.astype(np.float64)
    parts: Parts
    for query, minus, parts, without in [
        ("id:3 + 2:red - 0.5:id:9", (), [(stored[3], 1), (red, 2), (stored[9], -0.5)], [3, 9]),
        ("red", ("blue", "id:7"), [(red, 1), (blue, -0.5), (stored[7], -0.5)], [7]),
        ("red", ("0.5:blue + red",), [(red, 0.5), (blue, -0.25)], []),
        (None, ("blue",), [(blue, -1)], []),
        ("'id:3'", (), [(text, 1)], []),
        ([zs.Term("red", 2), zs.Term(given, -0.3)], (), [(red, 2), (unit(given).astype(np.float32), -0.3)], []),
        ([zs.Term(zs.ItemId(3)), zs.Term(Path(gallery.path_of(gallery.items[8])), 0.1)], ("red",),
         [(stored[3], 1), (stored[8], 0.1), (red, -0.5)], [3, 8]),
    ]:  # fmt: skip
        hits = zs.search(gallery, query, hashing_encoder, zs.Wanted(k=60, minus=minus))
        order, scores = ranking(gallery, parts, without)
        check(hits, order, scores)
        assert (hits.total, hits.next) == (60 - len(without), None)
        assert (hits.matching is not None) == (query == "'id:3'"), "one text as it is has a threshold"
    literal = zs.search(gallery, "id:3", hashing_encoder, zs.Wanted(k=60, literal=True))
    check(literal, *ranking(gallery, [(text, 1)]))


def test_text_may_be_joined_with_other_terms(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    terms = zs.parse_query("2:red - id:3")
    hits = zs.search(gallery, [*terms, zs.Term(gallery.vectors[8])], hashing_encoder)
    assert hits.query is not None
    assert hits.query.text == "2:red - id:3 + a vector"
    red = hashing_encoder.encode_texts(["red"])[0]
    order, scores = ranking(gallery, [(red, 2), (gallery.vectors[3], -1), (gallery.vectors[8], 1)], [3])
    check(hits, order[:10], scores)
    assert zs.parse_query("a + b.png", zs.Wanted(literal=True)) == (zs.Term("a + b.png"),)
    assert zs.parse_query("a + b.png", zs.Wanted(files=False)) == (zs.Term("a"), zs.Term("b.png"))


def test_the_text_of_strangers_names_no_file(
    gallery: Gallery, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gallery.path_of(gallery.items[0])
    for name in (
        "os.path.isfile",
        "os.path.isdir",
        "zsretrieve.images.opening.read",
        "zsretrieve.images.opening.split",
    ):
        monkeypatch.setattr(name, lambda *_: pytest.fail("a file is looked for"))
    wanted = zs.Wanted(k=60, files=False, minus=("https://example.org/b.jpg", "/usr/lib"))
    texts = [path, "nowhere.png", "https://example.org/b.jpg", "/usr/lib"]
    vectors = hashing_encoder.encode_texts(texts)
    parts = list(zip(vectors, (1, 1, -0.5, -0.5), strict=True))
    check(zs.search(gallery, f"{path} + nowhere.png", hashing_encoder, wanted), *ranking(gallery, parts))


def test_feedback_is_rocchio_s_formula(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    red, star = hashing_encoder.encode_texts(["red", "star"]).astype(np.float64)
    stored = gallery.vectors.astype(np.float64)
    liked, disliked = (stored[4] + stored[9]) / 2, (stored[30] + stored[31] + stored[2]) / 3
    for query, start, wanted, extra, without in [
        ("red - 0.5:star", unit(red - 0.5 * star), zs.Wanted(k=60, more=[4, 9], less=[30, 31, 2]),
         [(liked, 0.75), (disliked, -0.15)], [2, 30, 31]),
        ("red", red, zs.Wanted(k=60, more=[4, 9, 4]), [(liked, 0.75)], []),
        (None, 0 * red, zs.Wanted(k=60, more=[4, 9]), [(liked, 1)], []),
        (None, 0 * red, zs.Wanted(k=60, less=[30, 31, 2]), [(disliked, -1)], [2, 30, 31]),
    ]:  # fmt: skip
        hits = zs.search(gallery, query, hashing_encoder, wanted)
        check(hits, *ranking(gallery, [(start, 1.0), *extra], without))
        assert hits.matching is None
    liked_alone = zs.search(gallery, None, NEVER, zs.Wanted(k=3, more=[4]))
    assert 4 in [hit.id for hit in liked_alone], "what is liked stays"


def test_a_part_of_an_image_is_cut_out_of_what_people_see(
    gallery: Gallery, hashing_encoder: HashingEncoder, tmp_path: Path
) -> None:
    path = gallery.path_of(gallery.items[5])
    box = (0.25, 0.0, 1.0, 0.5)
    picture = Image.open(path)
    part = picture.crop((picture.width // 4, 0, picture.width, picture.height // 2))
    expected = ranking(gallery, [(hashing_encoder.encode_prepared([hashing_encoder.prepare(part)])[0], 1)], [5])
    for value, at in ((zs.ItemId(5), 60), (Path(path), 60)):
        check(zs.search(gallery, zs.Term(value, box=box), hashing_encoder, k=at), *expected)
    whole = ranking(gallery, [(hashing_encoder.encode_prepared([hashing_encoder.prepare(part)])[0], 1)])
    for opened in (picture, np.asarray(picture)):
        check(zs.search(gallery, zs.Term(opened, box=box), hashing_encoder, k=60), *whole)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    for upright in (True, False):
        hits = zs.search(gallery, zs.Term(tmp_path / "turned.png", box=box), hashing_encoder, k=60, exif=upright)
        check(hits, *whole)
    tiny = zs.search(gallery, zs.Term(zs.ItemId(5), box=(0.999, 0.999, 1, 1)), hashing_encoder, k=1)
    assert len(tiny) == 1


@pytest.mark.parametrize("where", [None, "name like '%-0.png'"])
def test_a_lowest_score_cuts_the_ranking(gallery: Gallery, hashing_encoder: HashingEncoder, where: str | None) -> None:
    order, scores = ranking(gallery, [(hashing_encoder.encode_texts(["red"])[0], 1)])
    order = [row for row in order if where is None or gallery.items[row].path.endswith("-0.png")]
    for least in (scores[order[7]], scores[order[0]], 1.0, -1.0):
        expected = [row for row in order if scores[row] >= least]
        for k in (3, 60):
            wanted = zs.Wanted(k=k, min_score=least, where=where, explain=True)
            hits = zs.search(gallery, "red", hashing_encoder, wanted)
            check(hits, expected[:k], scores)
            assert hits.total == len(expected)
            assert hits.next == (k if len(expected) > k else None)
            assert hits.explanation is not None
            assert [hit.id for hit in hits.explanation.below] == order[len(hits) : len(hits) + 3]


def test_the_newest_of_those_that_matter_come_first(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    order, scores = ranking(gallery, [(hashing_encoder.encode_texts(["red"])[0], 1)])

    def newest(rows: Sequence[int]) -> list[int]:
        return sorted(rows, key=lambda row: (-gallery.items[row].mtime_ns, row))

    least = scores[order[20]]
    reaching = [row for row in order if scores[row] >= least]
    dated = zs.search(gallery, "red", hashing_encoder, zs.Wanted(k=60, order="date", min_score=least))
    check(dated, newest(reaching), scores)
    hits = zs.search(gallery, "red", hashing_encoder, zs.Wanted(k=60, order="date"))
    assert hits.matching is not None
    matching = [row for row in order if scores[row] >= hits.matching.threshold]
    check(hits, newest(matching or order[:60]), scores)
    assert hits.matching.n == len(matching)
    # An image query has no threshold, so that the first k matter.
    image = zs.search(gallery, "id:7", NEVER, zs.Wanted(k=9, order="date"))
    order, scores = ranking(gallery, [(gallery.vectors[7], 1)], [7])
    check(image, newest(order[:9]), scores)
    assert (image.total, image.next) == (9, None)
    every = zs.search(gallery, None, NEVER, zs.Wanted(k=60, order="date"))
    assert [hit.id for hit in every] == newest(range(60))
    assert {hit.score for hit in every} == {None}


@pytest.mark.parametrize("query", ["red", None])
def test_of_near_duplicates_the_newest_stays_and_no_more_are_compared_than_shown(
    gallery: Gallery, hashing_encoder: HashingEncoder, query: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    distinct = gallery_search._distinct
    monkeypatch.setattr(gallery_search, "_distinct", lambda *given: compared.append(given[2]) or distinct(*given))
    least = None if query is None else -1.0
    wanted = zs.Wanted(k=4, offset=3, order="date", dedup=True, near=1.0, min_score=least)
    hits = zs.search(gallery, query, hashing_encoder, wanted)
    newest, seen = [], set()
    for item in sorted(gallery.items, key=lambda item: (-item.mtime_ns, item.id)):
        if item.digest not in seen:
            newest.append(item.id)
            seen.add(item.digest)
    assert [hit.id for hit in hits] == newest[3:7]
    assert (hits.total, hits.next) == (60, 7)
    assert max(compared) <= 8


def test_of_the_first_k_the_newest_of_near_duplicates_stays(gallery: Gallery) -> None:
    # Each image is there three times. An image query has no threshold, so that the first k matter.
    order, scores = ranking(gallery, [(gallery.vectors[7], 1)], [7])
    hits = zs.search(gallery, "id:7", NEVER, zs.Wanted(k=9, order="date", dedup=True))
    newest: dict[str, int] = {}
    for row in sorted(order[:9], key=lambda row: (-gallery.items[row].mtime_ns, row)):
        newest.setdefault(gallery.items[row].digest, row)
    check(hits, list(newest.values()), scores)
    assert (hits.total, hits.next) == (9, None)


@pytest.mark.parametrize(
    "wanted",
    [
        zs.Wanted(),
        zs.Wanted(dedup=True),
        zs.Wanted(where="mtime < '1970-01-12 13:46:45'"),
        zs.Wanted(dedup=True, where="name not like '%-1.png'", less=(3,)),
        zs.Wanted(min_score=0.0),
        zs.Wanted(min_score=0.0, order="date"),
        zs.Wanted(min_score=0.0, order="date", dedup=True),
    ],
)
@pytest.mark.parametrize("query", ["red", "id:7 - 0.2:red", None])
def test_pages_are_the_whole_ranking_in_pieces(
    gallery: Gallery, hashing_encoder: HashingEncoder, query: str | None, wanted: zs.Wanted
) -> None:
    from dataclasses import replace

    if query is None:
        wanted = replace(wanted, min_score=None, less=())
    whole = zs.search(gallery, query, hashing_encoder, replace(wanted, k=500))
    assert whole.next is None
    assert len({gallery.items[hit.id].digest for hit in whole}) == len(whole) or not wanted.dedup
    assert wanted.dedup or whole.total == len(whole)
    pages: list[zs.Hit] = []
    offset: int | None = 0
    while offset is not None:
        page = zs.search(gallery, query, hashing_encoder, replace(wanted, k=7, offset=offset))
        assert (page.offset, page.total, page.revision) == (offset, whole.total, whole.revision)
        pages += page
        offset = page.next
    assert [(hit.rank, hit.id, hit.score) for hit in pages] == [(hit.rank, hit.id, hit.score) for hit in whole]
    beyond = zs.search(gallery, query, hashing_encoder, replace(wanted, offset=10_000))
    assert (tuple(beyond), beyond.next, beyond.total) == ((), None, whole.total)


def test_reasons_add_up(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    red, star = hashing_encoder.encode_texts(["red", "star"]).astype(np.float64)
    classes = zs.make_prototypes(["star", "heart"], HashingEncoder(), device="cpu").prototypes
    wanted = zs.Wanted(k=4, offset=2, more=(9,), less=(30,), explain=True)
    hits = zs.search(gallery, "2:red - star", hashing_encoder, wanted, prototypes=classes)
    reasons = hits.explanation
    assert reasons is not None
    for hit, terms, nearest in zip(hits, reasons.terms, reasons.classes, strict=True):
        assert [(one.label, one.weight) for one in terms] == [
            ("red", 2.0), ("star", -1.0), ("id:9", 0.75), ("id:30", -0.15)
        ]  # fmt: skip
        own = gallery.vectors[hit.id].astype(np.float64)
        expected = [own @ red, own @ star, own @ gallery.vectors[9], own @ gallery.vectors[30]]
        assert [one.score for one in terms] == pytest.approx(expected, abs=1e-6)
        assert sum(one.part for one in terms) == pytest.approx(hit.score, abs=1e-6)
        scores = classes.vectors.astype(np.float64) @ own
        assert [one.class_id for one in nearest] == np.argsort(-scores, kind="stable").tolist()
    whole = zs.search(gallery, "2:red - star", hashing_encoder, zs.Wanted(k=9, more=(9,), less=(30,)))
    assert reasons.below == whole[6:9]
    assert whole.explanation is None
    browsed = zs.search(gallery, None, NEVER, zs.Wanted(k=2, explain=True), prototypes=classes)
    assert browsed.explanation is not None
    assert len(browsed.explanation.classes) == 2


def test_hits_know_the_ranking_and_travel(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    hits = zs.search(gallery, "red - 0.5:id:3", hashing_encoder, k=3)
    assert hits.query is not None
    assert [(term.label, term.weight) for term in hits.query.terms] == [("red", 1.0), ("id:3", -0.5)]
    assert (hits.total, hits.offset, hits.next) == (59, 0, 3)
    again = pickle.loads(pickle.dumps(hits))
    assert again == hits
    assert (again.total, again.revision) == (hits.total, gallery.revision)
    browsed = zs.search(gallery, model=NEVER, k=2)
    assert [hit.id for hit in browsed] == [0, 1]
    assert repr(browsed).startswith("Hits(- /")
    assert browsed[0].to_dict()["score"] is None


def test_a_revision_is_a_content(folder: Path, hashing_encoder: HashingEncoder, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "gallery")
    before = zs.open_gallery(tmp_path / "gallery")
    assert before.revision == zs.open_gallery(tmp_path / "gallery").revision
    zs.verify(tmp_path / "gallery")
    assert before.revision == zs.open_gallery(tmp_path / "gallery").revision
    zs.remove(tmp_path / "gallery", where="name like '%-2.png'")
    after = zs.open_gallery(tmp_path / "gallery")
    assert after.revision != before.revision
    assert after.row_of(after.items[3].id) == 3
    removed = sorted({item.id for item in before.items} - {item.id for item in after.items})
    assert all(after.row_of(number) is None for number in (*removed, -1, 10**12))
    # What was opened before goes on with its own content.
    assert len(zs.search(before, "red", hashing_encoder, k=60)) == 60
    with pytest.raises(QueryError, match=f"no image with the ID {removed[0]}"):
        zs.search(after, wanted=zs.Wanted(more=(removed[0],)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: zs.Wanted(k=0), RankError, "k is 0"),
        (lambda: zs.Wanted(offset=-1), RankError, "the offset is -1"),
        (lambda: zs.Wanted(near=0.9), UsageError, "`near` has no effect without `dedup`"),
        (lambda: zs.Wanted(near=1.5, dedup=True), RankError, "near is 1.5"),
        (lambda: zs.Wanted(min_score=float("nan")), RankError, "scores are from -1 to 1"),
        (lambda: zs.Wanted(order="name"), UsageError, "order must be one of 'score', 'date', got 'name'"),
        (lambda: zs.Wanted(more="12"), UsageError, "more must be a list"),
        (lambda: zs.Wanted(more=[1.5]), UsageError, "more must be a list"),
        (lambda: zs.Wanted(more=[1, 2], less=[2]), UsageError, "the image 2 is both among"),
        (lambda: zs.Term("a", 0), QueryError, "'a' has weight 0"),
        (lambda: zs.Term("a", float("inf")), QueryError, "must be a number"),
        (lambda: zs.Term("a", box=(0, 0, 1, 1)), QueryError, "is not an image"),
        (lambda: zs.Term(zs.ItemId(1), box=(0.5, 0, 0.5, 1)), QueryError, "not a part"),
        (lambda: zs.Term(zs.ItemId(1), box=(0, 0, 1.1, 1)), QueryError, "not a part"),
        (lambda: zs.Term(zs.ItemId(1), box=(0, 0, 1)), QueryError, "not a part"),
        (lambda: zs.search(".", [zs.Term(" ")]), QueryError, "is empty"),
        (lambda: zs.search(".", [zs.Term(b"x")]), QueryError, "not bytes"),
        (lambda: zs.search(".", []), QueryError, "not list"),
        (lambda: zs.search("none", "red", wanted=zs.Wanted(), k=3), UsageError, "k is given beside wanted"),
        (lambda: zs.search("none", "red", prototypes="p"), UsageError, "without `explain`"),
    ],
)  # fmt: skip
def test_what_cannot_be_wanted_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        make()
    assert caught.value.hint  # type: ignore[attr-defined]


def test_what_only_the_gallery_can_refuse(gallery: Gallery, hashing_encoder: HashingEncoder) -> None:
    with pytest.raises(QueryError, match="no image with the ID 999"):
        zs.search(gallery, "id:999", NEVER)
    with pytest.raises(QueryError, match="cancel out"):
        zs.search(gallery, "red - red", hashing_encoder, zs.Wanted(more=(1,)))
    with pytest.raises(UsageError, match="without a query there are no scores"):
        zs.search(gallery, None, NEVER, zs.Wanted(min_score=0.1))
    other = zs.make_prototypes(["star"], HashingEncoder(seed=3), device="cpu").prototypes
    with pytest.raises(SpaceMismatchError):
        zs.search(gallery, "red", hashing_encoder, zs.Wanted(explain=True), prototypes=other)
