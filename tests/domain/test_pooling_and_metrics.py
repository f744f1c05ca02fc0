import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.pooling import pool_prompts
from zsretrieve.domain.records import Head, ScoreHead
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.metrics import hits_at, log_normaliser, mean_per_class_recall, probabilities, r_precision


def test_pooling_is_the_mean_of_unit_vectors_made_unit() -> None:
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.standard_normal((6, 5)))
    pooled = pool_prompts(vectors, [[0, 1, 2], [3], [2, 2, 5]])
    first = vectors[:3].mean(axis=0)
    np.testing.assert_allclose(pooled[0], first / np.linalg.norm(first), atol=1e-6)
    np.testing.assert_allclose(pooled[1], vectors[3], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-6)
    assert pooled.dtype == np.float32


def test_pooling_refuses_what_has_no_mean() -> None:
    vectors = np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
    with pytest.raises(ShapeError, match="no prompt"):
        pool_prompts(vectors, [[0], []])
    with pytest.raises(ShapeError, match="no direction"):
        pool_prompts(vectors, [[0, 1]])


@given(st.integers(1, 40), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_rates_equal_a_count_by_hand(n: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    ranked = np.stack([rng.permutation(classes) for _ in range(n)])
    for k in range(1, classes + 1):
        by_hand = [int(truth[i]) in ranked[i, :k].tolist() for i in range(n)]
        assert hits_at(ranked, truth, k).tolist() == by_hand
    correct = ranked[:, 0] == truth
    recalls = []
    for c in set(truth.tolist()):
        mine = [bool(correct[i]) for i in range(n) if truth[i] == c]
        recalls.append(sum(mine) / len(mine))
    assert mean_per_class_recall(correct, truth) == pytest.approx(sum(recalls) / len(recalls))


def test_r_precision() -> None:
    assert r_precision(np.array([4, 2, 9, 1]), {4, 9}) == 0.5
    assert r_precision(np.array([4, 2, 9, 1]), {4, 2, 9}) == 1.0
    with pytest.raises(ShapeError):
        r_precision(np.array([1]), set())


def test_softmax_probabilities_use_the_model_s_scale_over_all_classes() -> None:
    rng = np.random.default_rng(0)
    queries, prototypes = unit_rows(rng.standard_normal((7, 16))), unit_rows(rng.standard_normal((30, 16)))
    for scale in (1.0, 14.3, 100.0, 5000.0):
        head = Head(ScoreHead.SOFTMAX, scale)
        scores = queries @ prototypes.T
        got = probabilities(scores, head, log_normaliser(queries, prototypes, head, scores.max(axis=1)))
        logits = scale * scores.astype(np.float64)
        expected = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(got, expected, atol=1e-6, rtol=1e-3)
        np.testing.assert_allclose(got.sum(axis=1), 1.0, atol=1e-3)
    with pytest.raises(ShapeError):
        probabilities(scores, Head(ScoreHead.SOFTMAX, 1.0))
    with pytest.raises(ShapeError):
        log_normaliser(queries, prototypes, head, scores[:3, 0])


def test_sigmoid_probabilities_use_scale_and_bias() -> None:
    head = Head(ScoreHead.SIGMOID, 10.0, -3.0)
    got = probabilities(np.array([[0.3, -1.0, 1.0]], dtype=np.float32), head)
    np.testing.assert_allclose(got, [[0.5, 1 / (1 + np.exp(13)), 1 / (1 + np.exp(-7))]], atol=1e-6)
