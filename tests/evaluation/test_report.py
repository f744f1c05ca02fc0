"""Every figure of an evaluation against a count by hand or scikit-learn, on vectors that tie and some that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.scored import by_hand, labelled_of, prototypes_of, random_world
from sklearn.metrics import average_precision_score, confusion_matrix, log_loss, recall_score

from zsretrieve import metrics
from zsretrieve.domain.errors import RankError
from zsretrieve.domain.records import Head, ScoreHead
from zsretrieve.domain.results import EvalReport, Reject, Run
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.evaluation import class_retrieval
from zsretrieve.evaluation import run as scoring
from zsretrieve.evaluation.report import evaluate_labelled
from zsretrieve.metrics import wilson

WORLDS = st.tuples(st.integers(1, 40), st.integers(1, 9), st.booleans(), st.integers(0, 10_000))


def chances_of(scores: np.ndarray, scale: float) -> np.ndarray:
    logits = scale * scores.astype(np.float64)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)


@settings(max_examples=25)
@given(WORLDS)
def test_figures_are_a_count_by_hand(world: tuple[int, int, bool, int]) -> None:
    n, n_classes, coarse, seed = world
    labelled, prototypes = random_world(n, n_classes, seed=seed, dim=5, coarse=coarse)
    report = evaluate_labelled(labelled, prototypes, ranks=range(1, n_classes + 1), retrieval_at=(1, 3, 1000))
    run = report.run
    scores, order = by_hand(labelled, prototypes)
    truth, said = labelled.truth, order[:, 0]
    assert run.ranked.tolist() == order.tolist()
    np.testing.assert_allclose(run.scores, np.take_along_axis(scores, order, axis=1), atol=1e-6)
    assert report.prec_at == {k: (order[:, :k] == truth[:, None]).any(axis=1).mean() for k in range(1, n_classes + 1)}
    for k, value in report.prec_at.items():
        assert report.prec_interval[k] == wilson(round(value * n), n)
    present = np.unique(truth)
    recalls = recall_score(truth, said, labels=present, average=None)
    assert report.mean_per_class_recall == pytest.approx(recalls.mean())
    assert [(one.class_id, one.recall) for one in report.per_class] == list(zip(present, recalls, strict=True))
    # Of one class scikit-learn doubts that it is meant.
    matrix = confusion_matrix(truth, said, labels=range(n_classes)) if n_classes > 1 else np.array([[n]])
    expected = {(t, p): matrix[t, p] for t in range(n_classes) for p in range(n_classes) if t != p and matrix[t, p]}
    assert {(one.true_id, one.predicted_id): one.count for one in report.confusions} == expected
    assert report.merged is None
    assert report.retrieval is not None
    assert list(report.retrieval.precision_at) == sorted({1, min(3, n), n})
    for one in report.retrieval.per_class:
        best = sorted(range(n), key=lambda row: (-scores[row, one.class_id], row))
        hits = truth[best] == one.class_id
        assert one.n_relevant == hits.sum()
        assert one.precision_at == {k: hits[:k].mean() for k in one.precision_at}
        assert one.recall_at == {k: hits[:k].sum() / hits.sum() for k in one.recall_at}
        # Behind the exact order nothing ties any more.
        ranks = -np.arange(n)
        assert one.average_precision == pytest.approx(average_precision_score(hits, ranks))
    assert report.retrieval.mean_average_precision == pytest.approx(
        np.mean([one.average_precision for one in report.retrieval.per_class])
    )


@settings(max_examples=25)
@given(WORLDS)
def test_calibration_is_a_count_by_hand(world: tuple[int, int, bool, int]) -> None:
    n, n_classes, coarse, seed = world
    labelled, prototypes = random_world(n, n_classes, seed=seed, dim=5, coarse=coarse)
    report = evaluate_labelled(labelled, prototypes)
    run = report.run
    found = report.calibration
    assert found is not None
    scores, order = by_hand(labelled, prototypes)
    assert (found.kind, found.scale, found.fitted_on) == ("softmax", 10.0, None)
    for scale, error, loss, bins in (
        (found.scale, found.error, found.loss, found.bins),
        (found.fitted_scale, found.fitted_error, found.fitted_loss, found.fitted_bins),
    ):
        chances = chances_of(scores, scale)
        top = chances[np.arange(n), order[:, 0]]
        # The normaliser is of float32 products; and what lies on the edge of a bin by one may lie beside it by another.
        slack = 1e-6 + 3e-7 * scale
        by_bins = np.searchsorted(np.linspace(0, 1, 16)[1:-1], top)
        gaps = [abs((top - run.correct)[by_bins == b].sum()) for b in range(15)]
        if np.abs(top[:, None] - np.linspace(0, 1, 16)[1:-1]).min() > slack:
            assert error == pytest.approx(sum(gaps) / n, abs=slack)
        assert sum(one.n for one in bins) == n
        if scale < 15 and n_classes > 1:
            assert loss == pytest.approx(log_loss(labelled.truth, chances, labels=range(n_classes)), abs=1e-5)
    assert found.fitted_loss <= found.loss + 1e-6
    chances = chances_of(scores, 10.0)
    np.testing.assert_allclose(run.probabilities[:, 0], chances[np.arange(n), order[:, 0]], atol=1e-5)


def test_a_great_scale_does_not_make_roundings_great() -> None:
    """Float32 products are off by 1e-7, thirty thousand times which is no rounding any more."""
    labelled, prototypes = random_world(300, 30, dim=12, spread=0.15, head=Head(ScoreHead.SOFTMAX, 300.0))
    report = evaluate_labelled(labelled, prototypes)
    run = report.run
    found = report.calibration
    assert found is not None
    assert report.n_correct == 300
    assert found.fitted_scale > 20_000
    scores, _ = by_hand(labelled, prototypes)
    for scale, error, loss in (
        (300.0, found.error, found.loss),
        (found.fitted_scale, found.fitted_error, found.fitted_loss),
    ):
        chances = chances_of(scores, scale)[np.arange(300), labelled.truth]
        assert error == pytest.approx(1 - chances.mean(), abs=1e-7)
        assert loss == pytest.approx(-np.log(chances).mean(), abs=1e-7)
    assert (run.probabilities.sum(axis=1) <= 1 + 1e-9).all()


def test_a_sigmoid_is_judged_by_the_best_class_s_own() -> None:
    head = Head(ScoreHead.SIGMOID, 12.0, -4.0)
    labelled, prototypes = random_world(400, 6, head=head)
    report = evaluate_labelled(labelled, prototypes)
    run = report.run
    found = report.calibration
    assert found is not None
    logits = 12.0 * run.scores[:, 0].astype(np.float64) - 4.0
    np.testing.assert_allclose(run.probabilities[:, 0], 1 / (1 + np.exp(-logits)), atol=1e-9)
    assert found.kind == "sigmoid"
    assert found.loss == pytest.approx(log_loss(run.correct, run.probabilities[:, 0]))
    factor = found.fitted_scale / found.scale
    assert found.fitted_loss == pytest.approx(log_loss(run.correct, 1 / (1 + np.exp(-factor * logits))))
    assert found.fitted_loss < found.loss


def same_figures(one: EvalReport, other: EvalReport) -> None:
    """All that counts images is equal, and what is computed in floats is so but for roundings."""
    assert one.calibration is not None
    assert other.calibration is not None
    for name in ("error", "loss", "fitted_scale", "fitted_error", "fitted_loss"):
        assert getattr(one.calibration, name) == pytest.approx(getattr(other.calibration, name), abs=1e-4)
    plain = {"calibration": None, "coverage": {}}
    assert replace(one, **plain) == replace(other, **plain)


def test_pieces_give_the_figures_of_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled, prototypes = random_world(150, 7, coarse=True)
    whole = evaluate_labelled(labelled, prototypes, retrieval_at=(1, 10))
    run = whole.run
    monkeypatch.setattr(scoring, "CHUNK_ELEMENTS", 7 * 16)
    monkeypatch.setattr(class_retrieval, "SCORES_AT_ONCE", 2 * 150)
    monkeypatch.setattr(class_retrieval, "VECTORS_AT_ONCE", 8 * 11)
    pieces = evaluate_labelled(labelled, prototypes, retrieval_at=(1, 10))
    again = pieces.run
    assert again.ranked.tolist() == run.ranked.tolist()
    np.testing.assert_allclose(again.probabilities, run.probabilities, atol=1e-6)
    same_figures(pieces, whole)


def test_no_piece_is_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of all images with all classes are never asked for at once, whatever is reported."""
    labelled, prototypes = random_world(3000, 50)
    monkeypatch.setattr(scoring, "CHUNK_ELEMENTS", 50 * 100)
    monkeypatch.setattr(scoring, "_FITTED_IMAGES", 200)
    asked: list[int] = []
    log_normaliser, fit = metrics.log_normaliser, scoring.fit_softmax_scale
    monkeypatch.setattr(
        metrics, "log_normaliser", lambda part, *others: (asked.append(len(part)), log_normaliser(part, *others))[1]
    )
    monkeypatch.setattr(
        scoring, "fit_softmax_scale", lambda part, *others: (asked.append(len(part)), fit(part, *others))[1]
    )
    report = evaluate_labelled(labelled, prototypes)
    assert max(asked) == 200
    assert sorted(asked)[-2] == 100
    assert report.calibration is not None
    assert report.calibration.fitted_on == 200
    assert report.calibration.fitted_loss < report.calibration.loss


def test_a_scale_fitted_to_some_is_near_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled, prototypes = random_world(4000, 10)
    whole = evaluate_labelled(labelled, prototypes).calibration
    monkeypatch.setattr(scoring, "_FITTED_IMAGES", 1000)
    some = evaluate_labelled(labelled, prototypes).calibration
    assert whole is not None
    assert some is not None
    assert (whole.fitted_on, some.fitted_on) == (None, 1000)
    assert some.fitted_scale == pytest.approx(whole.fitted_scale, rel=0.1)
    assert some.fitted_scale != whole.fitted_scale
    assert (some.error, some.loss) == (whole.error, whole.loss)


@pytest.mark.parametrize(("truth", "n_classes"), [([0], 1), ([2], 3), ([0, 0, 0], 1)])
def test_one_image_and_one_class(truth: list[int], n_classes: int) -> None:
    prototypes = prototypes_of(np.eye(4, dtype=np.float32)[:n_classes])
    labelled = labelled_of(np.eye(4, dtype=np.float32)[truth], truth, prototypes)
    report = evaluate_labelled(labelled, prototypes, retrieval_at=(1, 5), reject=Reject("margin", 0.5))
    run = report.run
    assert report.prec_at == {1: 1.0}
    assert (report.mean_interval.low, report.mean_interval.high) == (1.0, 1.0)
    assert report.retrieval is not None
    assert report.retrieval.mean_average_precision == 1.0
    assert report.rejection is not None
    assert report.rejection.n_answered == len(truth)
    assert report.coverage["margin"][-1].coverage == 1.0
    assert run.margins.tolist() == [1.0] * len(truth)


def test_all_wrong() -> None:
    prototypes = prototypes_of(np.eye(3, dtype=np.float32))
    labelled = labelled_of(np.eye(3, dtype=np.float32)[[0, 1]], [1, 2], prototypes)
    report = evaluate_labelled(labelled, prototypes, ranks=(3,), retrieval_at=(1,), reject=Reject("margin", 0.0))
    assert report.prec_at == {1: 0.0, 3: 1.0}
    assert report.mean_per_class_recall == 0.0
    assert report.prec_interval[1].low == 0.0
    assert [(one.true_id, one.predicted_id, one.count) for one in report.confusions] == [(1, 0, 1), (2, 1, 1)]
    assert report.calibration is not None
    assert report.calibration.fitted_scale == report.calibration.scale / 100
    assert report.rejection is not None
    assert report.rejection.precision == 0.0
    with pytest.raises(RankError, match=r"no margin threshold makes 50 % of the answers right; the best is 0.00"):
        evaluate_labelled(labelled, prototypes, reject=Reject("margin", wanted=0.5))


def test_equal_names_tie_strictly_and_are_one_when_merged() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 1, 2]]
    prototypes = prototypes_of(vectors, names=("tench", "missile", "missile", "sunglasses"))
    labelled = labelled_of(np.eye(4, dtype=np.float32)[[0, 1, 1, 1, 2]], [0, 1, 2, 2, 0], prototypes)
    report = evaluate_labelled(labelled, prototypes, retrieval_at=(2,))
    assert report.n_correct == 2
    assert report.merged is not None
    assert (report.merged.n_correct, report.merged.names) == (4, ("missile",))
    assert report.merged.prec_at_1 == 4 / 5
    assert report.merged.interval == wilson(4, 5)
    assert {(one.true_id, one.predicted_id): one.count for one in report.confusions} == {(2, 1): 2, (0, 3): 1}
    assert report.retrieval is not None
    of_twins = {one.class_id: one.precision_at[2] for one in report.retrieval.per_class}
    assert of_twins == {0: 0.5, 1: 0.5, 2: 0.5}


def test_ties_of_other_names_are_counted() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 1, 2, 2]]
    prototypes = prototypes_of(vectors, names=("tench", "missile", "misc", "sunglasses", "sunglasses"))
    labelled = labelled_of(np.eye(4, dtype=np.float32)[[0, 1, 1, 2, 2, 2]], [0, 1, 2, 3, 4, 4], prototypes)
    report = evaluate_labelled(labelled, prototypes, ranks=(1,))
    assert report.n_tied == 2  # classes of one name are told by the merged score
    assert report.merged is not None
    everything = labelled_of(np.eye(4, dtype=np.float32)[[3]], [0], prototypes)
    assert evaluate_labelled(everything, prototypes).n_tied == 1


def test_rejection_by_both_ways_is_a_count_by_hand() -> None:
    labelled, prototypes = random_world(300, 6)
    plain = evaluate_labelled(labelled, prototypes).run
    for by, sure in (("probability", plain.probabilities[:, 0]), ("margin", plain.margins)):
        threshold = float(np.quantile(sure, 0.4))
        told = evaluate_labelled(labelled, prototypes, reject=Reject(by, threshold)).rejection
        assert told is not None
        assert (told.n_answered, told.n_correct) == ((sure >= threshold).sum(), plain.correct[sure >= threshold].sum())
        chosen = evaluate_labelled(labelled, prototypes, reject=Reject(by, wanted=0.9)).rejection
        assert chosen is not None
        assert (chosen.by, chosen.wanted) == (by, 0.9)
        assert chosen.precision == plain.correct[sure >= chosen.threshold].mean()
        assert chosen.precision >= 0.9
        lower = sure[sure < chosen.threshold]
        assert all(plain.correct[sure >= value].mean() < 0.9 for value in lower)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"ranks": (4,)}, "k is 4, but there are 3 classes"),
        ({"ranks": (0,)}, "k is 0"),
        ({"retrieval_at": (0,)}, "k is 0"),
    ],
)
def test_a_k_that_does_not_fit_is_refused(asked: dict[str, object], message: str) -> None:
    labelled, prototypes = random_world(5, 3)
    with pytest.raises(RankError, match=message) as caught:
        evaluate_labelled(labelled, prototypes, **asked)  # type: ignore[arg-type]
    assert caught.value.hint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("guess", 0.5), "cannot be rejected by 'guess'"),
        (("margin",), "either a threshold or a wanted precision"),
        (("margin", 0.5, 0.5), "either a threshold or a wanted precision"),
        (("margin", float("nan")), "margin threshold must be between 0 and 2, got nan"),
        (("margin", 2.1), "margin threshold must be between 0 and 2, got 2.1"),
        (("probability", 50.0), "probability threshold must be between 0 and 1, got 50"),
        (("probability", -0.1), "probability threshold must be between 0 and 1, got -0.1"),
        (("margin", None, 95), "wanted precision must be a fraction, got 95"),
    ],
)
def test_a_threshold_out_of_range_is_refused(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(RankError, match=message) as caught:
        Reject(*values)
    assert caught.value.hint


def test_a_run_keeps_five_classes_or_all_there_are() -> None:
    kept: list[Run] = [evaluate_labelled(*random_world(4, n), ranks=(1,)).run for n in (2, 5, 9)]
    assert [run.ranked.shape[1] for run in kept] == [2, 5, 5]
    labelled, prototypes = random_world(4, 9)
    assert evaluate_labelled(labelled, prototypes, ranks=(8,)).run.ranked.shape[1] == 8
    assert kept[2].digests == tuple(item.digest for item in labelled.items)


def test_images_of_equal_vectors_go_by_row() -> None:
    prototypes = prototypes_of(unit_rows(np.random.default_rng(0).standard_normal((2, 64))))
    vector = unit_rows(np.random.default_rng(1).standard_normal((1, 64)))
    labelled = labelled_of(np.repeat(vector, 33, axis=0), [0] * 16 + [1] * 17, prototypes)
    report = evaluate_labelled(labelled, prototypes, retrieval_at=(16,))
    assert report.retrieval is not None
    first, second = report.retrieval.per_class
    assert (first.average_precision, first.precision_at[16]) == (1.0, 1.0)
    assert second.precision_at[16] == 0.0
    assert second.average_precision == pytest.approx(np.mean([(i + 1) / (17 + i) for i in range(17)]))
