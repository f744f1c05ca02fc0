"""The scale of probabilities, fitted and kept, and the whole matrix of scores, against plain computations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.scored import labelled_of, random_world
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

import zsretrieve as zs
from zsretrieve.domain.errors import OutputExistsError, UsageError
from zsretrieve.domain.records import Head, ScoreHead
from zsretrieve.evaluation.classify import classify_vectors
from zsretrieve.evaluation.report import evaluate_labelled
from zsretrieve.store.indexes import Gallery, Prototypes


@pytest.fixture
def index(tmp_path: Path, small_gallery: Path) -> Path:
    """Means of images: the hashing encoder's texts know nothing of them, and no scale would fit."""
    zs.build_image_prototypes(tmp_path / "prototypes", small_gallery)
    return tmp_path / "prototypes"


def cosines(gallery: Gallery, prototypes: Prototypes) -> np.ndarray:
    return gallery.vectors.astype(np.float64) @ prototypes.vectors.astype(np.float64).T


def test_a_fitted_scale_is_kept_and_used(index: Path, small_gallery: Path) -> None:
    gallery, before = zs.open_gallery(small_gallery), zs.open_prototypes(index)
    report = zs.evaluate(gallery, index, include_shots=True, fit_scale=True)
    scores = cosines(gallery, before)
    truth = np.array([before.prompts.class_names.index(item.label) for item in gallery.items])
    best = minimize_scalar(
        lambda power: -log_softmax(np.exp(power) * scores, axis=1)[np.arange(len(truth)), truth].mean(),
        bounds=(np.log(0.1), np.log(1000)), method="bounded",
    )  # fmt: skip
    after = zs.open_prototypes(index)
    assert after.manifest.fitted_scale == pytest.approx(np.exp(best.x), rel=1e-3)
    assert after.manifest.head == before.manifest.head, "the model's own stays there"
    assert zs.verify(index) == []
    chances = softmax(after.manifest.fitted_scale * scores, axis=1)
    for row, one in enumerate(zs.classify(gallery, index).results):
        assert [p.class_id for p in one.predictions] == np.argsort(-np.float32(scores[row]), kind="stable")[:5].tolist()
        for p in one.predictions:
            assert p.probability == pytest.approx(chances[row, p.class_id], rel=1e-4)
    again = zs.evaluate(gallery, index, include_shots=True)
    assert again.calibration is not None
    assert report.calibration is not None
    assert again.calibration.error == pytest.approx(report.calibration.fitted_error, abs=1e-6)
    assert again.n_correct == report.n_correct


def test_a_scale_that_is_given_counts_before_all_others(index: Path, small_gallery: Path) -> None:
    gallery, prototypes = zs.open_gallery(small_gallery), zs.open_prototypes(index)
    chances = softmax(3.5 * cosines(gallery, prototypes), axis=1)
    for one, row in zip(zs.classify(gallery, index, scale=3.5).results, chances, strict=True):
        assert one.predictions[0].probability == pytest.approx(row[one.predictions[0].class_id], rel=1e-5)
    assert zs.open_prototypes(index).manifest.fitted_scale is None
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="scale must be a number from"):
            zs.classify(gallery, index, scale=wrong)
    kept = zs.build_prototypes(index.with_name("scaled"), "scenes", HashingEncoder(), scale=3.5).prototypes
    assert kept.manifest.fitted_scale == zs.open_prototypes(index.with_name("scaled")).manifest.fitted_scale == 3.5
    assert zs.classify(gallery, kept).results == zs.classify(gallery, kept, scale=3.5).results
    with pytest.raises(UsageError, match="chooses the scale itself"):
        zs.evaluate(gallery, index, scale=2.0, fit_scale=True)
    with pytest.raises(UsageError, match="kept in a prototype index"):
        zs.evaluate(gallery, zs.make_prototypes("scenes", HashingEncoder()).prototypes, fit_scale=True)


def test_the_bias_of_a_sigmoid_goes_with_the_scale() -> None:
    labelled, prototypes = random_world(60, 5, head=Head(ScoreHead.SIGMOID, 12.0, -4.0))
    scores = labelled.vectors.astype(np.float64) @ prototypes.vectors.astype(np.float64).T
    expected = 1 / (1 + np.exp(-(6.0 * scores - 2.0)))
    for row, predictions in enumerate(classify_vectors(labelled.vectors, prototypes.at_scale(6.0))):
        for one in predictions:
            assert one.probability == pytest.approx(expected[row, one.class_id], rel=1e-5)


def test_images_that_determine_no_scale_store_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zs.build_prototypes(tmp_path / "two", "cat,dog", HashingEncoder(), templates="raw")
    prototypes = zs.open_prototypes(tmp_path / "two")
    labelled = labelled_of(prototypes.vectors, [0, 1], prototypes)
    report = evaluate_labelled(labelled, prototypes)
    assert report.calibration is not None
    assert report.calibration.at_limit == 1
    from zsretrieve.api.evaluation import _keep_scale

    _keep_scale(prototypes, report)
    assert "no scale is stored" in caplog.text
    assert zs.open_prototypes(tmp_path / "two").manifest.fitted_scale is None


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_the_matrix_holds_every_score(index: Path, small_gallery: Path, tmp_path: Path, suffix: str) -> None:
    gallery, out = zs.open_gallery(small_gallery), tmp_path / f"scores{suffix}"
    where = "label in ('red star', 'blue circle')"
    done = zs.classify(gallery, index, k=2, where=where, matrix=out)
    prototypes = zs.open_prototypes(index)
    rows = [row for row, item in enumerate(gallery.items) if item.label in ("red star", "blue circle")]
    expected = cosines(gallery, prototypes)[rows].astype(np.float32)
    if suffix == ".npy":
        found = np.load(out)
    else:
        table = pq.read_table(out)
        found = np.array(table["scores"].to_pylist(), dtype=np.float32)
        assert table["path"].to_pylist() == [one.path for one in done.results]
        names = json.loads((table.schema.metadata or {})[b"zsretrieve.matrix.classes"])
        assert names == list(prototypes.prompts.class_names)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=6e-8)
    for row, one in zip(found, done.results, strict=True):
        assert [p.score for p in one.predictions] == pytest.approx([row[p.class_id] for p in one.predictions], abs=1e-6)
    zs.classify(gallery, index, matrix=out)  # an earlier matrix is replaced
    out.write_text("a letter")
    with pytest.raises(OutputExistsError, match="left alone"):
        zs.classify(gallery, index, matrix=out)
    with pytest.raises(UsageError, match=r"does not end in \.npy or \.parquet"):
        zs.classify(gallery, index, matrix=tmp_path / "scores.csv")
