"""Searches of a gallery of which a part is on machines that do not answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kits.calibrated import calibrated
from kits.candidates import index_in_parts
from kits.hashing_encoder import HashingEncoder
from kits.shards import sharded_here
from kits.vector_gallery import vector_gallery

import zsretrieve as zs
from zsretrieve.cli.views import hits as views
from zsretrieve.domain.errors import MissingRowsError
from zsretrieve.domain.kinds import Effort

COUNT, SHARDS = 400, 4


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vector_gallery(tmp_path_factory.mktemp("missing") / "gallery", calibrated(COUNT, 32, 5).images)


WANTED = [
    zs.Wanted(k=30),
    zs.Wanted(k=COUNT),
    zs.Wanted(k=10, where="label in ('1', '2')"),
    zs.Wanted(k=10, min_score=0.1),
    zs.Wanted(k=10, order=zs.Order.DATE),
    zs.Wanted(k=10, dedup=True, near=0.5),
    zs.Wanted(k=10, more=(3, 150)),
    zs.Wanted(k=10, explain=True),
]


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_all_shards_give_the_answers_of_one_index(out: Path, wanted: zs.Wanted) -> None:
    gallery, _ = sharded_here(out, SHARDS)
    queries = ["a cat", "a dog on a beach", "red"]
    found = zs.search_all(gallery, queries, HashingEncoder(), wanted)
    expected = zs.search_all(zs.open_gallery(out, device="cpu"), queries, HashingEncoder(), wanted)
    assert [hits._found for hits in found] == [hits._found for hits in expected]
    assert all(hits.n_missing == 0 for hits in found)


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_a_part_is_searched_as_if_it_were_all(out: Path, wanted: zs.Wanted) -> None:
    gallery, holders = sharded_here(out, SHARDS)
    holders.gone = {1, 3}
    there = f"id < {COUNT // SHARDS} or id >= {COUNT // 2} and id < {3 * COUNT // SHARDS}"
    where = there if wanted.where is None else f"({wanted.where}) and ({there})"
    queries = ["a cat", "a dog on a beach"]
    plain = zs.open_gallery(out, device="cpu")
    found = zs.search_all(gallery, queries, HashingEncoder(), wanted)
    expected = zs.search_all(plain, queries, HashingEncoder(), _with(wanted, where))
    for hits, others in zip(found, expected, strict=True):
        assert (list(hits), hits.total, hits.next, hits.explanation) == (
            list(others), others.total, others.next, others.explanation,
        )  # fmt: skip
        assert hits.n_missing == len(zs.search(plain, wanted=_with(zs.Wanted(k=COUNT), wanted.where))) - len(
            zs.search(plain, wanted=_with(zs.Wanted(k=COUNT), where))
        )
        assert not hits.is_exact
        assert hits.matching is None, "what is missing may match"
        assert f"{hits.n_missing} images not compared" in repr(hits)
        assert f"{hits.n_missing} images not compared" in hits._repr_html_()
        line = views.approximate(hits)
        assert line is not None
        assert line.startswith(f"{hits.n_missing} images could not be compared")


def test_what_tuning_measured_is_not_said_of_a_part(tmp_path: Path) -> None:
    data = calibrated(3 * COUNT, 32, 200)
    out = vector_gallery(tmp_path / "gallery", data.images)
    index_in_parts(out, "IVF8,Flat", COUNT, Effort(40, 2, exact_below=0))
    zs.tune_index(out, 0.5, texts=data.texts, n_queries=200)
    gallery, holders = sharded_here(out, 3)
    wanted = zs.Wanted(k=10, more=(3,))
    assert zs.search(gallery, wanted=wanted).expected is not None
    holders.gone = {2}
    hits = zs.search(gallery, wanted=wanted)
    assert (hits.n_missing, hits.expected) == (COUNT, None)


def _with(wanted: zs.Wanted, where: str | None) -> zs.Wanted:
    return replace(wanted, where=where)


def test_a_shard_that_is_lost_meanwhile_is_left_out_too(out: Path) -> None:
    gallery, holders = sharded_here(out, SHARDS)
    asked = holders.ask

    def ask(method: str, key: str, wanted: dict) -> dict:
        answers = asked(method, key, wanted)
        holders.gone.add(1)
        return answers

    holders.gone, holders.ask = {0}, ask
    hits = zs.search(gallery, gallery.vectors[7], wanted=zs.Wanted(k=COUNT))
    assert (hits.n_missing, hits.total) == (200, 200)
    assert min(hit.id for hit in hits) == 200


def test_nothing_left_and_no_part_wanted_are_errors(out: Path) -> None:
    for partial, gone in ((True, {0, 1, 2, 3}), (False, {2})):
        gallery, holders = sharded_here(out, SHARDS, partial=partial)
        holders.gone = gone
        with pytest.raises(MissingRowsError, match="of 400 images cannot be compared"):
            zs.search(gallery, "a cat", HashingEncoder())
    gallery, holders = sharded_here(out, SHARDS)
    holders.gone = {2}
    with pytest.raises(MissingRowsError):  # other work is of the whole gallery
        zs.find_duplicates(gallery, near=0.9)


def test_a_filter_beside_what_is_missing_needs_nothing_of_it(out: Path) -> None:
    gallery, holders = sharded_here(out, SHARDS)
    holders.gone = {3}
    hits = zs.search(gallery, gallery.vectors[7], wanted=zs.Wanted(k=5, where="id < 200"))
    assert (hits.n_missing, hits.is_exact, hits[0].id) == (0, True, 7)
    hits = zs.search(gallery, "a cat", HashingEncoder(), zs.Wanted(k=5, where="id < 200"), cached=False)
    assert (hits.n_missing, hits.is_exact, hits.matching) == (0, True, None)
    holders.gone = set()
    assert zs.search(gallery, "a cat", HashingEncoder(), zs.Wanted(k=5), cached=False).matching is not None


def test_images_in_order_need_no_shard(out: Path) -> None:
    gallery, holders = sharded_here(out, SHARDS)
    holders.gone = {0, 1, 2, 3}
    hits = zs.search(gallery, wanted=zs.Wanted(k=3))
    assert ([hit.id for hit in hits], hits.n_missing) == ([0, 1, 2], 0)
    np.testing.assert_array_equal(gallery.index.stored(np.array([5])), gallery.vectors[5:6])
