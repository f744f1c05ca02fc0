"""Whether anything seems to match: the threshold, what it holds for, and that it is made once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from PIL import Image

import zsretrieve as zs
from zsretrieve.demo import scenes
from zsretrieve.domain.ports import Encoder
from zsretrieve.gallery.matching import FALSE_ALARMS, best_scores, threshold
from zsretrieve.gallery.unrelated import TEXTS
from zsretrieve.store.indexes import Gallery

UNRELATED = (
    "a photo of a tench", "a trombone", "mountain bike", "spaghetti carbonara", "a queue at the airport", "toothbrush",
    "a photo of a school bus", "wolf spider", "an old farmhouse", "ice hockey", "a bottle of wine", "the mayor",
)  # fmt: skip


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, demo_encoder: Encoder) -> Gallery:
    return zs.build_gallery(scene_folder, tmp_path_factory.mktemp("matching") / "gallery", demo_encoder)


def test_the_threshold_is_the_quantile_and_stays_if_some_texts_match() -> None:
    rng = np.random.default_rng(0)
    true = 0.2 - 0.01 * np.log(-np.log(1 - FALSE_ALARMS))
    plain, mixed = [], []
    for _ in range(200):
        best = rng.gumbel(0.2, 0.01, len(TEXTS)).astype(np.float32)
        plain.append(threshold(best))
        best[: len(best) * 2 // 5] += np.float32(0.2)
        mixed.append(threshold(best))
    assert np.mean(plain) == pytest.approx(true, abs=0.003)
    assert np.mean(plain) < np.mean(mixed) < 0.3, "where the plain quantile is above 0.4"
    assert threshold(np.full(20, 0.25, dtype=np.float32)) == 0.25


def test_what_is_there_matches_and_what_is_not_seldom_does(gallery: Gallery, demo_encoder: Encoder) -> None:
    there = zs.search_all(gallery, [f"a {name}" for name in scenes.class_names()], demo_encoder, k=5)
    assert sum(hits.matching is None or hits.matching.nothing for hits in there) == 0
    absent = zs.search_all(gallery, UNRELATED, demo_encoder, k=5)
    nothing = [hits.matching is not None and hits.matching.nothing for hits in absent]
    assert sum(nothing) >= 0.7 * len(UNRELATED)
    best = (gallery.vectors.astype(np.float64) @ demo_encoder.encode_texts(TEXTS).astype(np.float64).T).max(axis=0)
    for hits in (*there, *absent):
        assert hits.matching is not None
        assert len(hits) == 5, "nothing is cut"
        assert hits.matching.threshold == pytest.approx(threshold(best.astype(np.float32)), abs=1e-6)
        assert hits.matching.best == hits[0].score
        if hits.matching.nothing:
            assert hits.matching.n == 0
    some = zs.search(gallery, "a red circle", demo_encoder, k=300)
    assert some.matching is not None
    assert some.matching.n == sum((hit.score or 0) >= some.matching.threshold for hit in some)


def test_many_texts_are_searched_and_counted_in_one_pass(
    gallery: Gallery, demo_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"a {name}" for name in scenes.class_names()]
    alone = [zs.search(gallery, text, demo_encoder, k=200) for text in texts]
    zs.search(gallery, "a star", demo_encoder)  # calibrates
    passes: list[int] = []
    for name in ("search", "range_search"):
        search = getattr(gallery.index, name)
        monkeypatch.setattr(
            gallery.index, name, lambda *given, _search=search: passes.append(len(given[0])) or _search(*given)
        )
    together = zs.search_all(gallery, texts, demo_encoder, k=200)
    assert passes == [len(texts)]
    assert together == alone
    known = [hits.matching for hits in together]
    assert known == [hits.matching for hits in alone]
    assert sum(one is not None and one.n is not None for one in known) == len(texts)


def test_it_is_known_for_single_texts_alone(gallery: Gallery, demo_encoder: Encoder) -> None:
    picture = Path(gallery.path_of(gallery.items[0]))
    asked: list[tuple[Any, zs.Wanted]] = [
        (picture, zs.Wanted()), (Image.open(picture), zs.Wanted()), (gallery.vectors[0], zs.Wanted()),
        ("id:3", zs.Wanted()), ("a star + a heart", zs.Wanted()), ("- a star", zs.Wanted()),
        ("a star", zs.Wanted(minus=("red",))), ("a star", zs.Wanted(more=(3,))), (None, zs.Wanted()),
    ]  # fmt: skip
    assert [zs.search(gallery, query, demo_encoder, wanted).matching for query, wanted in asked] == [None] * len(asked)
    whole = zs.search(gallery, "a star", demo_encoder).matching
    every = zs.search(gallery, "a star", demo_encoder, k=360)
    some = zs.search(gallery, "a star", demo_encoder, where="label like 'red %'").matching
    second = zs.search(gallery, "a star", demo_encoder, zs.Wanted(offset=50)).matching
    assert whole is not None
    assert some is not None
    assert second is not None
    assert whole.threshold == some.threshold == second.threshold
    assert (second.best, whole.n, second.n) == (whole.best, None, sum(hit.score >= whole.threshold for hit in every))


def test_it_is_made_once_for_each_content_of_a_gallery(
    scene_folder: Path, hashing_encoder: HashingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("zsretrieve.encoders.loading.planned_encoding", lambda compute: hashing_encoder.encoding)
    monkeypatch.setattr("zsretrieve.encoders.loading.Model.load", lambda model, space=None: hashing_encoder)
    shutil.copytree(scene_folder / "red circle", tmp_path / "in" / "red circle")
    shutil.copytree(scene_folder / "blue star", tmp_path / "in" / "blue star")
    zs.build_gallery(tmp_path / "in", tmp_path / "gallery", hashing_encoder)
    searched: list[int] = []

    def matching(cached: bool = True) -> zs.Matching | None:
        gallery = zs.open_gallery(tmp_path / "gallery", device="cpu")
        search = gallery.index.search
        monkeypatch.setattr(gallery.index, "search", lambda *given: searched.append(len(given[0])) or search(*given))
        return zs.search(gallery, "red", cached=cached).matching

    kept = best_scores()
    assert kept is not None
    assert matching(cached=False) == matching()
    assert searched == [len(TEXTS), 1] * 2
    assert kept.size()[0] == 1
    searched.clear()
    before = matching()
    assert searched == [1]
    zs.remove(tmp_path / "gallery", where="label = 'blue star'")
    assert matching() != before
    assert kept.size()[0] == 2
    zs.clear_cache()
    assert kept.size() == (0, 0)
