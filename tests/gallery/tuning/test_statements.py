"""Tuning approximate indexes: what is stated holds for fresh queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kits.calibrated import Calibrated, calibrated
from kits.tuning import QUERIES, K, N, fresh_recall, sampling_error, shares
from kits.vector_gallery import vector_gallery

import zsretrieve as zs
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.gallery.captions import captions
from zsretrieve.gallery.tuning import _low
from zsretrieve.store.indexes import Gallery


def test_what_is_stated_of_texts_holds_for_fresh_ones(tuned: tuple[Gallery, zs.Tuned], data: Calibrated) -> None:
    gallery, made = tuned
    for setting in made.tuning.ladder:
        found = fresh_recall(gallery, data.texts[QUERIES:], setting)
        assert abs(found.mean() - setting.texts.mean) <= 0.01 + sampling_error(found, setting.texts.n)
        assert np.mean(found < setting.texts.p5) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / QUERIES)


def test_fresh_images_find_at_least_what_is_stated(tuned: tuple[Gallery, zs.Tuned], data: Calibrated) -> None:
    gallery, made = tuned
    for setting in made.tuning.ladder:
        found = fresh_recall(gallery, data.queries[QUERIES:], setting)
        assert found.mean() >= setting.images.mean - sampling_error(found, setting.images.n)


def test_the_chosen_setting_finds_enough(tuned: tuple[Gallery, zs.Tuned], data: Calibrated) -> None:
    gallery, made = tuned
    assert gallery.approximate is not None
    assert gallery.approximate.made.effort == made.chosen
    assert gallery.approximate.made.tuning == made.tuning
    for queries in (data.texts[QUERIES:], data.queries[QUERIES:]):
        found = shares(gallery.nearest(queries, K)[0], gallery.index.search(queries, K)[1])
        assert found.mean() >= 0.95 - sampling_error(found, QUERIES)


def test_it_is_stated_by_queries_that_nothing_was_chosen_by(tuned: tuple[Gallery, zs.Tuned], data: Calibrated) -> None:
    """The figures are those of real searches for every other query, images without themselves."""
    gallery, made = tuned
    rng = np.random.default_rng(0)
    texts = data.texts[rng.permutation(QUERIES)][1::2]
    own = rng.permutation(N)[:QUERIES][1::2]
    for setting in made.tuning.ladder:
        found = fresh_recall(gallery, texts, setting)
        assert (setting.texts.mean, setting.texts.n) == (pytest.approx(found.mean(), abs=0.002), QUERIES // 2)
        assert setting.texts.p5 == np.quantile(found, 0.05, method="inverted_cdf")
        assert setting.texts.interval.low <= setting.texts.mean <= setting.texts.interval.high
        images = gallery.index.stored(own)
        answers = [gallery.nearest(images, K + 1, effort=setting.effort)[0], gallery.index.search(images, K + 1)[1]]
        without = [np.stack([row[row != one][:K] for row, one in zip(rows, own, strict=True)]) for rows in answers]
        assert setting.images.mean == pytest.approx(shares(*without).mean(), abs=0.003)


def test_it_is_chosen_by_what_the_other_half_finds_at_least(tuned: tuple[Gallery, zs.Tuned], data: Calibrated) -> None:
    """The mean of these, less 1.96 standard errors, reaches the recall."""
    gallery, made = tuned
    texts = data.texts[np.random.default_rng(0).permutation(QUERIES)][::2]
    for setting in made.tuning.ladder:
        found = fresh_recall(gallery, texts, setting)
        low = found.mean() - 1.96 * found.std() / np.sqrt(len(found))
        assert setting.texts.reaches <= low + 0.001
        assert setting.effort != made.chosen or low >= 0.95
        assert setting.texts.reaches <= 1 - 2.9 / len(found), "all may find everything, and others would not"
        assert setting.texts.interval.low <= 1 - 2.9 / len(found)


def test_the_bound_holds_where_few_queries_lose_something() -> None:
    """One query in 500 finds nothing; half of the samples of 300 hold none of these."""
    rng = np.random.default_rng(0)
    bounds = [_low(np.where(rng.random(300) < 0.002, 0.0, 1.0)) for _ in range(1000)]
    assert np.mean(np.array(bounds) > 0.998) < 0.025


def test_copies_that_score_the_same_are_as_good(tmp_path: Path) -> None:
    """Which of 300 copies are found does not matter: any ten of them are all of the best."""
    made = calibrated(2000, 64, QUERIES)
    made.images[::7] = made.images[0]
    out = vector_gallery(tmp_path / "gallery", made.images)
    zs.set_index_kind(out, "SQ8")
    near = unit_rows(made.images[0] + 0.02 * np.random.default_rng(1).standard_normal((QUERIES, 64)))
    tuned = zs.tune_index(out, 0.98, texts=near, n_queries=QUERIES)
    assert tuned.chosen.depth == 256
    assert tuned.tuning.setting(tuned.chosen).texts.mean == 1


def test_the_bundled_captions_are_many_distinct_and_always_the_same() -> None:
    texts = captions()
    assert len(set(texts)) == len(texts) == 3000
    assert all(text == text.strip() and text.isprintable() and "{" not in text for text in texts)
    assert {"dog", "not a cat", "ein Hund am Strand", "富士山と湖"} < set(texts)
    assert texts == captions()
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) == 1
    assert max(lengths) > 20
