"""The probe says what scikit-learn's logistic regression says, through the same search as any other prototypes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kits.exact_index import NumpyBackend
from kits.labelled import clusters, labelled
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.errors import RankError, SourceError, UsageError
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.records import Encoding, Head, ScoreHead
from zsretrieve.domain.shots import Regularisation, Shots
from zsretrieve.domain.vectors import augmented_queries, augmented_rows, check_unit_rows, unit_rows
from zsretrieve.evaluation.classify import classify_vectors
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.report import evaluate_labelled
from zsretrieve.evaluation.splits import draw, without_drawn
from zsretrieve.prototypes import probe as module
from zsretrieve.prototypes.images import TrainingImages, write_trained
from zsretrieve.prototypes.probe import DEFAULT_C, TrainedProbe, grid, sweep, train_probe

HEAD, ENCODING = Head(ScoreHead.SOFTMAX, 10.0), Encoding("numpy", "fp64", "cpu")


def trained(
    some: Labelled,
    *,
    shots: int | None = None,
    seed: int = 0,
    c: float | None = None,
    backend: IndexBackend | None = None,
) -> TrainedProbe:
    images = TrainingImages(some, HEAD, ENCODING, "here")
    return train_probe(images, Shots(shots, seed), backend or FaissBackend("cpu"), regularisation=Regularisation(c))


def sklearn_s(some: Labelled, c: float) -> LogisticRegression:
    wide = some.vectors.astype(np.float64)
    return LogisticRegression(C=c, max_iter=1000, tol=module._tolerance(wide, some.truth)).fit(wide, some.truth)


@given(
    arrays(np.float64, (4, 5), elements=st.floats(-100, 100).map(lambda x: round(x, 3))),
    arrays(np.float64, (4,), elements=st.floats(-100, 100).map(lambda x: round(x, 3))),
)
def test_augmented_rows_give_linear_functions(weights: np.ndarray, bias: np.ndarray) -> None:
    rows, scale = augmented_rows(weights, bias)
    queries = augmented_queries(clusters(3, 4, dim=5)[0])
    check_unit_rows(rows, 7)
    check_unit_rows(queries, 7)
    expected = clusters(3, 4, dim=5)[0].astype(np.float64) @ weights.T + bias
    found = scale * (queries.astype(np.float64) @ rows.astype(np.float64).T)
    assert np.allclose(found, expected, atol=2e-7 * scale)


@pytest.mark.parametrize(("n_classes", "each", "dim", "c"), [
    (7, 20, 16, 1.0), (7, 20, 16, 1e-6), (7, 20, 16, 1e4), (2, 30, 8, 10.0), (40, 3, 64, 316.0),
])  # fmt: skip
def test_predictions_and_probabilities_are_scikit_learn_s(n_classes: int, each: int, dim: int, c: float) -> None:
    some = labelled(*clusters(n_classes, each, dim, noise=1.5))
    probe = trained(some, c=c).prototypes
    reference = sklearn_s(some, c)
    other = unit_rows(np.random.default_rng(9).standard_normal((500, dim)))
    found = classify_vectors(other, probe, k=n_classes)
    chances = reference.predict_proba(other.astype(np.float64))
    mine = np.zeros_like(chances)
    for row, predictions in enumerate(found):
        for one in predictions:
            mine[row, one.class_id] = one.probability
    assert np.abs(mine - chances).max() < 1e-5
    # Rows and scores are float32: what is nearer to a tie than that is left to chance.
    ordered = np.sort(np.log(chances), axis=1)
    certain = ordered[:, -1] - ordered[:, -2] > 1e-6 * probe.manifest.head.scale
    assert certain.mean() > 0.99
    said = np.array([row[0].class_id for row in found])
    assert np.array_equal(said[certain], reference.predict(other.astype(np.float64))[certain])


@pytest.mark.parametrize("c", [0.1, 10.0])
def test_many_classes_of_near_images_are_trained_too(c: float) -> None:
    """With scikit-learn's own tolerance the first derivatives pass for none, and all weights stay zero."""
    n_classes = 250
    vectors, truth = clusters(n_classes, 2, 128, noise=1.0)
    common = np.zeros(128)
    common[0] = 40.0
    some = labelled(unit_rows(common + vectors), truth)
    wide = some.vectors.astype(np.float64)
    assert not LogisticRegression(C=c).fit(wide, truth).coef_.any()
    strict = LogisticRegression(C=c, max_iter=1000, tol=1e-9).fit(wide, truth)
    found = module.fit(some.vectors, some.truth, c)
    expected = strict.coef_ - strict.coef_.mean(axis=0)
    assert np.abs(found.weights - expected).max() < 0.03 * np.abs(expected).max()
    rows = trained(some, c=c).prototypes.search(some.vectors, 1)[1][:, 0]
    assert (rows == strict.predict(wide)).mean() > 0.99


def test_images_that_are_all_alike_are_trained_on_nonetheless() -> None:
    rows = unit_rows(np.ones((4, 3)))
    some = labelled(rows, [0, 0, 1, 1])
    made = trained(some, c=1.0).prototypes
    assert made.search(rows, 1)[1][:, 0].tolist() == [0, 0, 0, 0]


def test_a_large_bias_keeps_its_precision() -> None:
    """Classes of very different sizes have biases; both fit in one row."""
    vectors, _ = clusters(2, 100, 8, noise=3.0)
    some = labelled(vectors, [0] * 195 + [1] * 5)
    probe = trained(some, c=0.01).prototypes
    expected = sklearn_s(some, 0.01).predict_proba(vectors.astype(np.float64))
    found = classify_vectors(vectors, probe, k=2)
    assert (
        max(abs(one.probability - expected[row, one.class_id]) for row, two in enumerate(found) for one in two) < 1e-6
    )


def test_search_is_the_same_by_every_backend_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    some = labelled(*clusters(12, 10, 24))
    by_faiss = trained(some, c=1.0).prototypes
    by_numpy = trained(some, c=1.0, backend=NumpyBackend()).prototypes
    scores, rows = by_numpy.search(some.vectors, 12)
    normaliser = by_numpy.log_normaliser(some.vectors, scores[:, 0])
    monkeypatch.setattr("zsretrieve.store.prototypes._AUGMENTED_AT_ONCE", 7)
    in_pieces = by_faiss.search(some.vectors, 12)
    assert np.array_equal(rows, in_pieces[1])
    assert np.allclose(scores, in_pieces[0], atol=1e-6)
    assert np.allclose(normaliser, by_numpy.log_normaliser(some.vectors, scores[:, 0]), rtol=1e-6)
    with pytest.raises(RankError):
        by_numpy.search(some.vectors, 13)


def test_images_are_ranked_for_a_class_as_its_logits_do() -> None:
    some = labelled(*clusters(5, 30, 16, noise=2.0))
    made = trained(some, c=10.0).prototypes
    queries = check_unit_rows(made.class_queries, 16)
    logits = sklearn_s(some, 10.0).decision_function(some.vectors.astype(np.float64))
    # Decision functions of one class for all images: what all classes share was taken out, so compare differences.
    centred = logits - logits.mean(axis=1, keepdims=True)
    for c in range(5):
        assert (queries[c] @ some.vectors.T).argsort().tolist() == centred[:, c].argsort().tolist()


def test_it_is_evaluated_like_any_other() -> None:
    vectors, truth = clusters(5, 60, 16, noise=2.0)
    some = labelled(vectors, truth)
    made = trained(some, shots=20, c=10.0).prototypes
    rest = without_drawn(some, made)
    report = evaluate_labelled(rest, made, retrieval_at=(5,))
    drawn = draw(some, 20, 0).rows
    reference = sklearn_s(some.at(drawn), 10.0)
    wide = rest.vectors.astype(np.float64)
    assert (report.n_scored, report.n_drawn) == (200, 100)
    assert report.n_correct == (reference.predict(wide) == rest.truth).sum()
    assert report.calibration is not None
    assert report.calibration.loss == pytest.approx(log_loss(rest.truth, reference.predict_proba(wide)), abs=1e-5)
    logits = reference.decision_function(wide)
    logits -= logits.mean(axis=1, keepdims=True)
    assert report.retrieval is not None
    for one in report.retrieval.per_class:
        expected = average_precision_score(rest.truth == one.class_id, logits[:, one.class_id])
        assert one.average_precision == pytest.approx(expected)


@pytest.mark.parametrize("by", ["accuracy", "loss"])
def test_the_sweep_is_the_one_of_the_paper(by: str) -> None:
    """Every c of the halving search is scored against scikit-learn, and the search itself is done by hand."""
    some = labelled(*clusters(6, 15, 16, noise=3.5, seed=4))
    rows = draw(some, None, 1).rows
    found = sweep(some, rows, 1, validation=0.4, by=by)
    assert (found.n_fit, found.n_validation) == (54, 36)
    assert [grid(step) for step in (0, 48, 96)] == pytest.approx([1e-6, 1.0, 1e6])
    scores = {
        round(8 * (np.log10(step.c) + 6)): (-step.accuracy, step.loss)[:: 1 if by == "accuracy" else -1]
        for step in found.steps
    }
    assert {0, 16, 32, 48, 64, 80, 96} <= set(scores)
    seen = {step: scores[step] for step in range(0, 97, 16)}
    for stride in (8, 4, 2, 1):
        best = min(seen, key=lambda step: (*seen[step], step))
        seen |= {near: scores[near] for near in (best - stride, best + stride) if 0 <= near <= 96}
    assert set(seen) == set(scores)
    assert found.c == pytest.approx(grid(min(seen, key=lambda step: (*seen[step], step))))
    assert [step.c for step in found.steps] == sorted(step.c for step in found.steps)


def test_probabilities_of_a_probe_chosen_by_loss_can_be_believed() -> None:
    """Over several draws of few images, against probes chosen by accuracy and scored by scikit-learn."""
    losses: dict[str, list[float]] = {"loss": [], "accuracy": []}
    for seed in range(4):
        vectors, truth = clusters(5, 40, 24, noise=1.2, seed=seed)
        some = labelled(vectors, truth)
        for by, found in losses.items():
            images = TrainingImages(some, HEAD, ENCODING, "here")
            probe = train_probe(
                images, Shots(8, seed), FaissBackend("cpu"), regularisation=Regularisation(by=by)
            ).prototypes  # fmt: skip
            rest = without_drawn(some, probe)
            chances = np.zeros((len(rest.truth), 5))
            for row, predictions in enumerate(classify_vectors(rest.vectors, probe, k=5)):
                for one in predictions:
                    chances[row, one.class_id] = one.probability
            found.append(log_loss(rest.truth, chances))
    assert np.mean(losses["loss"]) < np.mean(losses["accuracy"])
    with pytest.raises(UsageError, match="nothing is chosen by 'luck'"):
        Regularisation(by="luck")


def test_a_step_of_the_sweep_is_judged_on_what_was_held_back() -> None:
    some = labelled(*clusters(4, 10, 8, noise=2.0))
    held = np.arange(0, 40, 4)
    fitted = np.setdiff1d(np.arange(40), held)
    step = module._judged(some, fitted, held, 3.0)
    reference = sklearn_s(some.at(fitted), 3.0)
    judged = some.at(held)
    assert step.accuracy == pytest.approx(reference.score(judged.vectors.astype(np.float64), judged.truth))
    chances = reference.predict_proba(judged.vectors.astype(np.float64))
    assert step.loss == pytest.approx(log_loss(judged.truth, chances, labels=range(4)), abs=1e-6)


def test_with_one_image_a_class_the_default_is_taken() -> None:
    some = labelled(*clusters(30, 4))
    probe = trained(some, shots=1)
    assert (probe.sweep.c, probe.sweep.steps, probe.sweep.n_validation) == (DEFAULT_C, (), 0)
    assert probe.training.c == DEFAULT_C
    given = trained(some, shots=2, c=0.5)
    assert (given.sweep.c, given.sweep.n_fit) == (0.5, 60)


def test_equal_seeds_train_equal_probes() -> None:
    some = labelled(*clusters(4, 12, noise=2.0))
    one, again, other = (trained(some, shots=4, seed=seed) for seed in (1, 1, 2))
    assert one.sweep == again.sweep
    assert one.prototypes.vectors.tobytes() == again.prototypes.vectors.tobytes()
    assert one.prototypes.vectors.tobytes() != other.prototypes.vectors.tobytes()


def test_images_that_were_not_drawn_change_nothing() -> None:
    vectors, truth = clusters(4, 12, noise=2.0)
    drawn = draw(labelled(vectors, truth), 4, 3).rows
    poisoned = -np.roll(vectors, 5, axis=0)
    poisoned[drawn] = vectors[drawn]
    one, other = (trained(labelled(rows, truth), shots=4, seed=3) for rows in (vectors, poisoned))
    assert one.sweep == other.sweep
    assert one.prototypes.vectors.tobytes() == other.prototypes.vectors.tobytes()


def test_a_fit_that_does_not_converge_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    some = labelled(*clusters(4, 12, noise=2.0))
    assert trained(some, c=100.0).converged
    monkeypatch.setattr(module, "_MAX_ITERATIONS", 2)
    assert not trained(some, c=100.0).converged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"c": 0.0}, "C must be between 1e-12 and 1e.12, got 0.0"),
        ({"c": float("nan")}, "got nan"),
        ({"c": 1e-320}, "got 1e-320"),
        ({"c": 1e300}, "got 1e.300"),
        ({"validation": 1.0}, "the share of validation images must be between 0 and 1, got 1.0"),
    ],
)
def test_regularisation_out_of_range_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Regularisation(**options)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(SourceError, match="fewer than 13"):
        trained(labelled(*clusters(4, 12)), shots=13)


def test_one_class_is_refused() -> None:
    with pytest.raises(SourceError, match="there is only one"):
        trained(labelled(*clusters(1, 12)))


def test_a_probe_is_an_index_like_any_other(tmp_path: Path) -> None:
    some = labelled(*clusters(6, 10, 24))
    made = trained(some, shots=5, seed=2)
    write_trained(tmp_path / "probe", made)
    assert zs.verify(tmp_path / "probe") == []
    opened = zs.open_prototypes(tmp_path / "probe")
    assert opened.vectors.shape == (6, 26)
    assert opened.space == some.space
    assert opened.manifest.training == made.training
    assert opened.manifest.lifted
    assert np.array_equal(opened.drawn, made.prototypes.drawn)
    assert classify_vectors(some.vectors, opened) == classify_vectors(some.vectors, made.prototypes)
    zs.export_index(tmp_path / "probe", tmp_path / "out", "npy")
    assert np.array_equal(np.load(tmp_path / "out" / "vectors.npy"), opened.vectors)
