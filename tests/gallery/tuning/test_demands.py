"""Tuning: texts of every form, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.calibrated import Calibrated, calibrated
from kits.tuning import MODEL, QUERIES, tuning_of
from kits.vector_gallery import vector_gallery

import zsretrieve as zs
from zsretrieve.domain.errors import IndexBusyError
from zsretrieve.store import manifest as manifests
from zsretrieve.system import extras


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


def test_texts_of_every_form(small: Path, data: Calibrated, tmp_path: Path) -> None:
    lines = tmp_path / "queries.txt"
    lines.write_text("\n".join(f"a {word} thing \n" for word in range(300)), encoding="utf-16")
    np.save(tmp_path / "vectors.npy", 3 * data.texts[:QUERIES].astype(np.float16))
    for given, source, n in (
        (lines, "queries.txt", 150),
        (str(tmp_path / "vectors.npy"), "vectors.npy", 300),
        ([f"text {number}" for number in range(240)] * 2, "texts", 120),
        (None, "bundled captions", 300),
    ):
        made = zs.tune_index(small, 0.8, texts=given, n_queries=600, model=MODEL)
        assert (made.tuning.source, made.tuning.ladder[0].texts.n) == (source, n)


def test_prompts_of_prototypes_are_texts(small: Path, tmp_path: Path) -> None:
    zs.build_prototypes(tmp_path / "classes", [f"thing {number}" for number in range(40)], MODEL, templates="openai7")
    made = zs.tune_index(small, 0.8, texts=tmp_path / "classes", model=MODEL)
    assert (made.tuning.source, made.tuning.ladder[0].texts.n) == ("classes", 140)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"recall": 1.0}, zs.UsageError, "between 0 and 1"),
        ({"recall": 0}, zs.UsageError, "between 0 and 1"),
        ({"k": 0}, zs.RankError, "at least 1"),
        ({"n_queries": 100}, zs.UsageError, "too few to measure"),
        ({"recall": 0.999}, zs.UsageError, "2000 queries are too few to measure a recall of 0.999"),
        ({"recall": 0.999, "n_queries": 6000}, zs.UsageError, "3,000 bundled texts are too few to measure"),
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
    assert "index kind GALLERY SQ8" in error.value.hint, "auto would leave so few exact"
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
    with pytest.raises(zs.UsageError, match="none is stored") as error:
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


def test_results_print_as_one_line_and_show_as_a_table(tuned_lists: tuple[Path, zs.Tuned]) -> None:
    made = tuned_lists[1]
    assert repr(made).startswith("Tuned(IVF128,PQ32x4fsr, Effort(depth=")
    assert len(made.rows()) == len(made.tried) >= len(made.tuning.ladder)
    content = json.loads(json.dumps(made.to_dict()))
    assert content["chosen"] == made.chosen.to_dict()
    assert len(content["tuning"]["ladder"]) == len(made.tuning.ladder)
