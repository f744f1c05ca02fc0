"""Tuning approximate indexes: what is stated holds for fresh queries, and searches keep to it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kits.calibrated import Calibrated, calibrated
from kits.candidates import asking
from kits.hashing_encoder import HashingEncoder
from kits.vector_gallery import put, vector_gallery

import zsretrieve as zs
from zsretrieve.domain.errors import IndexBusyError
from zsretrieve.domain.kinds import QueryKind, Setting, Tuning
from zsretrieve.domain.vectors import Rows, Vectors, unit_rows
from zsretrieve.gallery.captions import captions
from zsretrieve.gallery.tuning import _low
from zsretrieve.store import making
from zsretrieve.store import manifest as manifests
from zsretrieve.store.indexes import Gallery
from zsretrieve.system import extras

N, K, QUERIES = 20_000, 10, 1000
COPIES = np.arange(19_000, 19_005)
MODEL = HashingEncoder(64)


@pytest.fixture(scope="module")
def data() -> Calibrated:
    """The first queries of each kind are for tuning, and as many others are fresh."""
    made = calibrated(N, 64, n_queries=2 * QUERIES)
    made.images[COPIES] = made.images[7]
    return made


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory, data: Calibrated) -> Path:
    return vector_gallery(tmp_path_factory.mktemp("tuning") / "gallery", data.images)


@pytest.fixture(scope="module", params=["IVF128,PQ32x4fsr", "HNSW32", "RR64,IVF128,RaBitQfs", "SQ4"])
def tuned(
    request: pytest.FixtureRequest, flat: Path, data: Calibrated, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Gallery, zs.Tuned]:
    out = Path(shutil.copytree(flat, tmp_path_factory.mktemp("tuned") / "gallery"))
    zs.set_index_kind(out, request.param)
    made = zs.tune_index(out, 0.95, texts=data.texts[:QUERIES], n_queries=QUERIES)
    return zs.open_gallery(out, device="cpu"), made


@pytest.fixture(scope="module")
def lists(flat: Path, data: Calibrated) -> Path:
    out = Path(shutil.copytree(flat, flat.with_name("lists")))
    zs.set_index_kind(out, "IVF128,PQ32x4fsr")
    zs.tune_index(out, 0.95, texts=data.texts[:QUERIES], n_queries=QUERIES)
    return out


@pytest.fixture
def ivf(lists: Path, tmp_path: Path) -> Path:
    """A tuned gallery, to be changed."""
    return Path(shutil.copytree(lists, tmp_path / "gallery"))


def tuning_of(gallery: Path) -> Tuning:
    made = zs.read_manifest(gallery).approximate
    assert made is not None
    assert made.tuning is not None
    return made.tuning


def shares(found: Rows, expected: Rows) -> np.ndarray:
    return np.array([np.isin(want, have).mean() for have, want in zip(found, expected, strict=True)])


def fresh_recall(gallery: Gallery, queries: Vectors, setting: Setting) -> np.ndarray:
    """What each of some queries finds by an effort, of which none is answered by comparing all."""
    rows, is_exact = gallery.nearest(queries, K, effort=setting.effort)
    assert not is_exact.any()
    return shares(rows, gallery.index.search(queries, K)[1])


def sampling_error(found: np.ndarray, n: int) -> float:
    """Three standard errors of the difference between the mean over these queries and that over ``n`` others."""
    return 3 * float(found.std()) * np.sqrt(1 / len(found) + 1 / n)


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
    assert gallery.approximate.covered < len(gallery.items) == made.tuning.rows == 14_300
    for setting in made.tuning.ladder:
        found = fresh_recall(gallery, data.texts[QUERIES:], setting)
        assert abs(found.mean() - setting.texts.mean) <= 0.01 + sampling_error(found, setting.texts.n)


def test_what_is_tuned_stays_while_the_kind_does(ivf: Path) -> None:
    tuning, effort = tuning_of(ivf), zs.read_manifest(ivf).approximate.effort
    assert not tuning.has_outgrown(N)
    put(ivf, unit_rows(np.random.default_rng(9).standard_normal((2300, 64))))
    manifest = zs.read_manifest(ivf)
    assert manifest.approximate.rows == N + 2300, "it was made again"
    assert (manifest.approximate.tuning, manifest.approximate.effort) == (replace(tuning, changed=2300), effort)
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
    others = calibrated(2300, 64, 5, seed=1).images
    query = data.texts[-1]
    assert zs.search(ivf, query, MODEL).expected is not None
    if change == "replaced":
        put(ivf, {number: others[number] for number in range(1500)})
        assert zs.search(ivf, query, MODEL).expected is not None
        put(ivf, {number: others[number] for number in range(1500, 2300)})
    else:
        zs.remove(ivf, where="id < 1200")
        put(ivf, others[:1200])
    manifest = zs.read_manifest(ivf)
    assert manifest.count == N
    assert tuning_of(ivf).has_outgrown(N)
    hits = zs.search(ivf, query, MODEL)
    assert (hits.is_exact, hits.expected) == (False, None)
    assert not caplog.records
    assert zs.search(ivf, query, MODEL, zs.Wanted(recall=0.9)).is_exact
    assert "index tune" in caplog.text
    zs.tune_index(ivf, 0.9, texts=data.texts[:QUERIES], n_queries=QUERIES)
    assert not tuning_of(ivf).has_outgrown(N)
    assert zs.search(ivf, query, MODEL, zs.Wanted(recall=0.9)).expected is not None


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


def test_what_cannot_be_reached_changes_nothing(flat: Path, tmp_path: Path, data: Calibrated) -> None:
    out = Path(shutil.copytree(flat, tmp_path / "gallery"))
    zs.set_index_kind(out, "IVF64,PQ2x4fsr")
    before = (out / manifests.NAME).read_bytes()
    with pytest.raises(zs.UsageError, match=r"has a recall of 0\.99 for texts; the best has 0") as error:
        zs.tune_index(out, 0.99, texts=data.texts[:QUERIES], n_queries=QUERIES)
    assert "IVF64,PQ32x4fsr or IVF64,SQ8" in error.value.hint
    assert (out / manifests.NAME).read_bytes() == before


def test_an_index_that_is_replaced_meanwhile_is_not_changed(ivf: Path, data: Calibrated) -> None:
    before = tuning_of(ivf)
    stages = []

    def on_stage(name: str, done: int, total: int) -> None:
        if name == "measuring time" and name not in stages:
            zs.set_index_kind(ivf, "IVF128,PQ32x4fsr")
        stages.append(name)

    with pytest.raises(IndexBusyError, match="was replaced"):
        zs.tune_index(ivf, 0.9, texts=data.texts[:QUERIES], n_queries=200, on_stage=on_stage)
    assert list(dict.fromkeys(stages)) == ["finding exact neighbours", "measuring recall", "measuring time"]
    assert tuning_of(ivf) == before


def test_texts_of_every_form(ivf: Path, data: Calibrated, tmp_path: Path) -> None:
    lines = tmp_path / "queries.txt"
    lines.write_text("\n".join(f"a {word} thing \n" for word in range(300)), encoding="utf-16")
    np.save(tmp_path / "vectors.npy", 3 * data.texts[:QUERIES].astype(np.float16))
    for given, source, n in (
        (lines, "queries.txt", 150),
        (str(tmp_path / "vectors.npy"), "vectors.npy", 300),
        ([f"text {number}" for number in range(240)] * 2, "texts", 120),
        (None, "bundled captions", 300),
    ):
        made = zs.tune_index(ivf, 0.8, texts=given, n_queries=600, model=MODEL)
        assert (made.tuning.source, made.tuning.ladder[0].texts.n) == (source, n)


def test_prompts_of_prototypes_are_texts(ivf: Path, tmp_path: Path) -> None:
    zs.build_prototypes(tmp_path / "classes", [f"thing {number}" for number in range(40)], MODEL, templates="openai7")
    made = zs.tune_index(ivf, 0.8, texts=tmp_path / "classes", model=MODEL)
    assert (made.tuning.source, made.tuning.ladder[0].texts.n) == ("classes", 140)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"recall": 1.0}, zs.UsageError, "between 0 and 1"),
        ({"recall": 0}, zs.UsageError, "between 0 and 1"),
        ({"k": 0}, zs.RankError, "at least 1"),
        ({"n_queries": 100}, zs.UsageError, "too few to measure"),
        ({"recall": 0.999}, zs.UsageError, "2000 queries are too few to measure a recall of 0.999"),
        ({"k": 2000}, zs.UsageError, "too small to tune for the 2000 best"),
        ({"texts": ["one", "two", "one"]}, zs.UsageError, "2 distinct texts are too few"),
        ({"texts": np.random.default_rng(0).standard_normal((300, 5))}, zs.ShapeError, r"\(300, 5\)"),
        ({"texts": np.outer(np.arange(300.0), np.ones(64))}, zs.ShapeError, "zero"),
        ({"texts": np.ones((300, 64), np.float32)}, zs.UsageError, "1 distinct texts"),
        ({"texts": np.ones((300, 64), np.int8)}, zs.SourceError, "rows of floats"),
        ({"texts": np.ones((300, 64), np.complex64)}, zs.SourceError, "rows of floats"),
        ({"texts": "nowhere.txt"}, zs.SourceError, "nowhere.txt"),
        ({"texts": "nowhere.npy"}, zs.SourceError, "nowhere.npy"),
    ],
)
def test_what_cannot_be_is_refused(ivf: Path, given: dict[str, object], error: type, said: str) -> None:
    before = (ivf / manifests.NAME).read_bytes()
    with pytest.raises(error, match=said):
        zs.tune_index(ivf, **{"texts": None, "model": MODEL, **given})
    assert (ivf / manifests.NAME).read_bytes() == before


def test_files_that_are_not_vectors_are_refused(ivf: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.npy").write_bytes(b"junk")
    np.save(tmp_path / "numbers.npy", np.arange(9))
    np.save(tmp_path / "one.npy", np.float32(1))
    for name, said in (("junk", "as vectors"), ("numbers", "rows of floats"), ("one", "rows of floats")):
        with pytest.raises(zs.SourceError, match=said):
            zs.tune_index(ivf, texts=tmp_path / f"{name}.npy")


def test_a_gallery_that_cannot_be_tuned_is_refused_before_any_work(flat: Path, tmp_path: Path) -> None:
    with pytest.raises(zs.UsageError, match="nothing to tune") as error:
        zs.tune_index(flat)
    assert "index kind GALLERY auto" in error.value.hint
    small = vector_gallery(tmp_path / "small", calibrated(700, 32, 5).images)
    zs.set_index_kind(small, "SQ8")
    with pytest.raises(
        zs.UsageError, match="an index of 700 images is too small to tune for the 10 best: it takes 1,024"
    ):
        zs.tune_index(small)


def test_without_faiss_it_is_refused(ivf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "has_faiss", lambda: False)
    with pytest.raises(zs.OptionalDependencyError, match="needs FAISS"):
        zs.tune_index(ivf)


def test_a_recall_needs_a_tuned_index(ivf: Path, flat: Path, data: Calibrated) -> None:
    zs.set_index_kind(ivf, "IVF64,SQ8")
    with pytest.raises(zs.UsageError, match="never tuned") as error:
        zs.search(ivf, data.texts[0], MODEL, zs.Wanted(recall=0.9))
    assert "index tune" in error.value.hint
    for wanted in (zs.Wanted(recall=1), zs.Wanted(recall=0.9, min_score=0.1)):
        assert zs.search(ivf, data.texts[0], MODEL, wanted).is_exact
    assert zs.search(flat, data.texts[0], MODEL, zs.Wanted(recall=0.9)).is_exact
    assert zs.search(ivf, data.texts[0], MODEL).expected is None


@pytest.mark.parametrize("given", [{"recall": 0}, {"recall": 1.1}, {"recall": 0.9, "exact": True}])
def test_contradictions_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(zs.UsageError, match="recall"):
        zs.Wanted(**given)


def test_results_print_as_one_line_and_show_as_a_table(lists: Path, data: Calibrated, tmp_path: Path) -> None:
    out = Path(shutil.copytree(lists, tmp_path / "gallery"))
    made = zs.tune_index(out, 0.9, texts=data.texts[:QUERIES], n_queries=QUERIES)
    assert repr(made).startswith("Tuned(IVF128,PQ32x4fsr, Effort(depth=")
    assert len(made.rows()) == len(made.tried) >= len(made.tuning.ladder)
    content = json.loads(json.dumps(made.to_dict()))
    assert content["chosen"] == made.chosen.to_dict()
    assert len(content["tuning"]["ladder"]) == len(made.tuning.ladder)


def test_the_bundled_captions_are_many_distinct_and_always_the_same() -> None:
    texts = captions()
    assert len(set(texts)) == len(texts) == 3000
    assert all(text == text.strip() and text.isprintable() and "{" not in text for text in texts)
    assert {"dog", "not a cat", "ein Hund am Strand", "富士山と湖"} < set(texts)
    assert texts == captions()
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) == 1
    assert max(lengths) > 20
