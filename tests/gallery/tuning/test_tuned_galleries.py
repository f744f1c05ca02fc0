"""Tuned galleries: searches keep to what was measured, as long as it holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kits.calibrated import Calibrated, calibrated
from kits.candidates import asking
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures
from kits.tuning import FEW, MANY, MODEL, QUERIES, K, N, fresh_recall, sampling_error, shares, tuning_of
from kits.vector_gallery import put

import zsretrieve as zs
from zsretrieve.domain.kinds import QueryKind
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.store import making
from zsretrieve.store import manifest as manifests


def test_the_ladder_is_of_growing_cost_and_recall(lists: Path) -> None:
    tuning = tuning_of(lists)
    assert (tuning.recall, tuning.k, tuning.rows, tuning.source) == (0.95, K, N, "vectors")
    assert [one.ms for one in tuning.ladder] == sorted(one.ms for one in tuning.ladder)
    for kind in QueryKind:
        efforts = [tuning.reaching(level, kind) for level in (0.8, 0.9, 0.95, 0.98, 0.99)]
        assert None not in efforts
        places = [[one.effort for one in tuning.ladder].index(effort) for effort in efforts if effort is not None]
        assert places == sorted(places)
        for level, place in zip((0.8, 0.9, 0.95, 0.98, 0.99), places, strict=True):
            assert tuning.ladder[place].of(kind).reaches >= level
    assert len(tuning.ladder) > 3
    assert min(one.effort.depth for one in tuning.ladder) >= 4 * 60, "a page of the web page asks the index"


def test_a_search_takes_the_setting_for_its_kind_of_query(lists: Path, data: Calibrated) -> None:
    """Words and vectors are texts, also beside an image; images alone are images; a batch may hold both."""
    gallery, tuning = asking(zs.open_gallery(lists, device="cpu")), tuning_of(lists)
    vector = data.texts[-1]
    queries = [vector, zs.Term(zs.ItemId(5)), [zs.Term(zs.ItemId(5)), zs.Term(vector)], "a cat"]
    kinds = [QueryKind.TEXTS, QueryKind.IMAGES, QueryKind.TEXTS, QueryKind.TEXTS]
    for level in (0.8, 0.9, 0.98):
        answers = zs.search_all(gallery, queries, MODEL, zs.Wanted(recall=level))
        for answer, kind in zip(answers, kinds, strict=True):
            effort = tuning.reaching(level, kind)
            assert effort is not None
            setting = tuning.setting(effort)
            assert setting is not None
            assert answer.expected == zs.Expected(kind, K, setting.of(kind))
        effort = tuning.reaching(level, QueryKind.TEXTS)
        np.testing.assert_array_equal(
            [hit.id for hit in answers[0]], gallery.nearest(vector[None], K, effort=effort)[0][0]
        )
        effort = tuning.reaching(level, QueryKind.IMAGES)
        rows = gallery.nearest(data.images[5:6], K + 1, effort=effort)[0][0]
        assert [hit.id for hit in answers[1]] == [row for row in rows if row != 5]
    assert tuning.reaching(0.9, QueryKind.TEXTS) != tuning.reaching(0.9, QueryKind.IMAGES)


def test_less_recall_is_less_work(lists: Path, data: Calibrated) -> None:
    gallery = zs.open_gallery(lists, device="cpu")
    found = {}
    for level in (0.8, 0.99):
        answers = zs.search_all(gallery, list(data.texts[QUERIES:]), MODEL, zs.Wanted(recall=level))
        rows = np.array([[hit.id for hit in answer] for answer in answers])
        found[level] = shares(rows, gallery.index.search(data.texts[QUERIES:], K)[1]).mean()
    assert 0.79 < found[0.8] < 0.95
    assert found[0.99] > 0.985


def test_a_recall_that_no_setting_reaches_is_exact(lists: Path, data: Calibrated) -> None:
    gallery = zs.open_gallery(lists, device="cpu")
    for level in (0.99999, 1, 1.0):
        hits = zs.search(gallery, data.texts[-1], MODEL, zs.Wanted(recall=level))
        assert hits.is_exact
        assert hits.expected is None
    hits = zs.search(gallery, data.texts[-1], MODEL)
    assert not hits.is_exact
    assert hits.expected is not None


def test_a_filter_finds_as_much_by_the_tuned_effort(lists: Path, data: Calibrated) -> None:
    gallery, tuning = asking(zs.open_gallery(lists, device="cpu")), tuning_of(lists)
    among = np.flatnonzero(np.random.default_rng(5).random(N) < 0.3)
    for setting in tuning.ladder:
        # Queries whose few lists hold too little that passes are compared with all rows, and find all.
        effort = replace(setting.effort, exact_below=0)
        rows, is_exact = gallery.nearest(data.texts[QUERIES:], K, among, effort=effort)
        assert is_exact.mean() < 0.5
        found = shares(rows, gallery.index.search(data.texts[QUERIES:], K, among)[1])
        assert found.mean() >= setting.texts.mean - 0.01 - sampling_error(found, setting.texts.n)


def test_rows_that_are_removed_or_not_covered_do_not_disturb(ivf: Path, data: Calibrated) -> None:
    zs.remove(ivf, where="label in ('0', '3', '7')")
    put(ivf, unit_rows(np.random.default_rng(9).standard_normal((300, 64))))
    made = zs.tune_index(ivf, 0.9, texts=data.texts[:QUERIES], n_queries=QUERIES)
    gallery = zs.open_gallery(ivf, device="cpu")
    assert gallery.approximate is not None
    assert gallery.approximate.covered < len(gallery.items) == made.tuning.rows == N * 7 // 10 + 300
    for setting in made.tuning.ladder:
        found = fresh_recall(gallery, data.texts[QUERIES:], setting)
        assert abs(found.mean() - setting.texts.mean) <= 0.01 + sampling_error(found, setting.texts.n)


def test_what_is_tuned_stays_while_the_kind_does(ivf: Path) -> None:
    tuning, effort = tuning_of(ivf), zs.read_manifest(ivf).approximate.effort
    assert not tuning.has_outgrown(N)
    put(ivf, unit_rows(np.random.default_rng(9).standard_normal((MANY, 64))))
    manifest = zs.read_manifest(ivf)
    assert manifest.approximate.rows == N + MANY, "it was made again"
    assert (manifest.approximate.tuning, manifest.approximate.effort) == (replace(tuning, changed=MANY), effort)
    tuning = tuning_of(ivf)
    assert tuning.has_outgrown(manifest.count)
    zs.set_index_kind(ivf, manifest.factory)
    assert tuning_of(ivf) == tuning
    zs.set_index_kind(ivf, "IVF64,SQ8")
    made = zs.read_manifest(ivf).approximate
    assert made.tuning is None
    assert made.effort != effort
    assert zs.verify(ivf) == []


@pytest.mark.parametrize("change", ["replaced", "removed and added"])
def test_what_was_measured_of_other_images_is_not_stated(
    ivf: Path, data: Calibrated, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The number of images is the same as before."""
    others = calibrated(MANY, 64, 5, seed=1).images
    query = data.texts[-1]
    assert zs.search(ivf, query, MODEL).expected is not None
    if change == "replaced":
        put(ivf, {number: others[number] for number in range(FEW)})
        assert zs.search(ivf, query, MODEL).expected is not None
        put(ivf, {number: others[number] for number in range(FEW, MANY)})
    else:
        zs.remove(ivf, where=f"id < {FEW}")
        put(ivf, others[:FEW])
    manifest = zs.read_manifest(ivf)
    assert manifest.count == N
    assert tuning_of(ivf).has_outgrown(N)
    hits = zs.search(ivf, query, MODEL)
    assert (hits.is_exact, hits.expected) == (False, None)
    assert not caplog.records
    assert zs.search(ivf, query, MODEL, zs.Wanted(recall=0.9)).is_exact
    assert "index tune" in caplog.text
    zs.tune_index(ivf, 0.9, texts=data.texts, n_queries=200)
    assert not tuning_of(ivf).has_outgrown(N)
    assert zs.search(ivf, query, MODEL, zs.Wanted(recall=0.9)).expected is not None


def test_a_rebuild_is_a_change_of_all_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Vectors of the same model keep the settings, of which nothing is stated; those of another start without."""
    photos, out = pictures(tmp_path / "photos", 1100), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    zs.set_index_kind(out, "SQ8")
    zs.tune_index(out, 0.9, n_queries=200, model=HashingEncoder())
    tuning, effort = tuning_of(out), zs.read_manifest(out).approximate.effort
    assert zs.search(out, "a cat", HashingEncoder()).expected is not None
    zs.rebuild(out, HashingEncoder())
    assert tuning_of(out) == replace(tuning, changed=1100)
    assert tuning_of(out).has_outgrown(1100)
    assert zs.read_manifest(out).approximate.effort == effort
    hits = zs.search(out, "a cat", HashingEncoder())
    assert (hits.is_exact, hits.expected) == (False, None)
    assert zs.search(out, "a cat", HashingEncoder(), zs.Wanted(recall=0.9)).is_exact
    assert "index tune" in caplog.text
    zs.rebuild(out, HashingEncoder(seed=1))
    made = zs.read_manifest(out).approximate
    assert (made.kind, made.tuning) == ("SQ8", None)


def test_nothing_is_stated_of_searches_with_a_filter(lists: Path, data: Calibrated) -> None:
    """A filter may leave images that are harder to find than others."""
    gallery = zs.open_gallery(lists, device="cpu")
    made = gallery.approximate.made
    gallery.approximate.made = replace(made, effort=replace(made.effort, exact_below=0))
    hits = zs.search(gallery, data.texts[-1], MODEL, zs.Wanted(where="label != '3'"))
    assert (hits.is_exact, hits.expected) == (False, None)


def test_manifests_from_before_and_damaged_ones(ivf: Path, flat: Path) -> None:
    made = zs.read_manifest(ivf)
    assert manifests.from_bytes(manifests.to_bytes(made), ivf / manifests.NAME) == made
    untuned = replace(made, approximate=replace(made.approximate, tuning=None))
    assert "tuning" not in json.loads(manifests.to_bytes(untuned))["approximate"]
    assert manifests.from_bytes(manifests.to_bytes(untuned), ivf / manifests.NAME) == untuned
    tuning = tuning_of(ivf)
    wrong = replace(tuning.ladder[0], effort=replace(tuning.ladder[0].effort, probes=0))
    broken = replace(made, approximate=replace(made.approximate, tuning=replace(tuning, ladder=(wrong,))))
    with pytest.raises(zs.IndexFormatError, match="looks at nothing"):
        manifests.from_bytes(manifests.to_bytes(broken), ivf / manifests.NAME)


def test_the_content_of_a_gallery_is_the_same_after_tuning(flat: Path, ivf: Path, data: Calibrated) -> None:
    before = zs.open_gallery(ivf, device="cpu").revision
    zs.tune_index(ivf, 0.9, texts=data.texts[:QUERIES], n_queries=200)
    assert zs.open_gallery(ivf, device="cpu").revision == before
    assert tuning_of(ivf).recall == 0.9


def test_auto_keeps_only_what_was_tuned_for_as_much(ivf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "chosen", lambda *_, **__: "IVF128,PQ32x4fsr")
    before = zs.read_manifest(ivf).approximate
    zs.set_index_kind(ivf, "auto")
    assert zs.read_manifest(ivf).approximate.effort == before.effort
    zs.set_index_kind(ivf, "auto", recall=0.98)
    after = zs.read_manifest(ivf).approximate
    assert (after.tuning, after.effort) == (before.tuning, before.tuning.reaching_all(0.98))
    assert after.effort != before.effort
    zs.set_index_kind(ivf, "auto", recall=0.9999)
    after = zs.read_manifest(ivf).approximate
    assert after.tuning is None
    assert after.effort.depth == 400
