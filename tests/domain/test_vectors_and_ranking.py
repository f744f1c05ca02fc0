import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.index_kit import full_sort

from zsretrieve.domain.errors import RankError, ShapeError
from zsretrieve.domain.ranking import check_k, exact_scores, float32_score_error, settle
from zsretrieve.domain.vectors import check_unit_rows, unit_rows


def test_unit_rows() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, -2.0]]))
    np.testing.assert_array_equal(rows, np.array([[0.6, 0.8], [0.0, -1.0]], dtype=np.float32))
    assert rows.dtype == np.float32
    for wrong in (np.zeros((1, 3)), np.array([[np.nan, 1.0]]), np.ones(3)):
        with pytest.raises(ShapeError):
            unit_rows(wrong)


def test_check_unit_rows_does_not_change_the_caller_s_array() -> None:
    given_array = np.array([[0.6, 0.8]], dtype=np.float64)
    checked = check_unit_rows(given_array, 2)
    assert given_array.dtype == np.float64
    assert checked.dtype == np.float32
    with pytest.raises(ShapeError, match="row 1 has norm"):
        check_unit_rows(np.array([[1.0, 0.0], [1.0, 1.0]]), 2)
    assert check_unit_rows(np.empty((0, 2)), 2).shape == (0, 2)


def test_check_k() -> None:
    check_k(1, 1)
    for k, size in [(0, 5), (-3, 5), (6, 5)]:
        with pytest.raises(RankError):
            check_k(k, size)


def test_equal_candidates_get_equal_scores_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    for dim in (3, 31, 512, 777):
        queries = unit_rows(rng.standard_normal((4, dim)))
        one = unit_rows(rng.standard_normal((1, dim)))
        candidates = np.repeat(one[None], 4, axis=0).repeat(33, axis=1)
        scores = exact_scores(queries, candidates)
        assert (scores == scores[:, :1]).all()


@pytest.mark.parametrize("dim", [2, 256, 768, 4096])
def test_the_error_of_float32_is_bounded_in_the_worst_order_of_sums(dim: int) -> None:
    """A sum that begins with its large term and then rounds every small one the same way, term by term."""
    small = 1.3 * 2.0**-13
    row = np.full((1, dim), small, dtype=np.float32)
    row[0, 0] = np.sqrt(1 - (dim - 1) * small**2)
    one_by_one = np.cumsum(row[0] * row[0], dtype=np.float32)[-1]
    error = abs(float(one_by_one) - float(exact_scores(row, row[None])[0, 0]))
    assert error <= float32_score_error(dim)
    assert dim < 256 or error > 4 * np.sqrt(dim) * 2.0**-24  # where errors that cancel one another would end


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 60), st.integers(2, 20), st.integers(1, 6), st.integers(0, 2**32 - 1),
    st.floats(0, 3e-3), st.integers(1, 60), st.booleans(),
)  # fmt: skip
def test_settle_repairs_any_search_within_its_error(
    size: int, dim: int, asked: int, seed: int, error: float, k: int, few_distinct: bool
) -> None:
    """A search whose every score is off by up to ``error``, in arbitrary order among its own equals."""
    k = min(k, size)
    rng = np.random.default_rng(seed)
    stored = unit_rows(rng.standard_normal((size, dim)))
    if few_distinct:
        stored = np.ascontiguousarray(stored[rng.integers(0, min(3, size), size)])
    queries = unit_rows(rng.standard_normal((asked, dim)))
    noise = rng.uniform(-error, error, (asked, size))
    exact = queries.astype(np.float64) @ stored.astype(np.float64).T
    bound = error + float32_score_error(dim)
    numbers = {query.tobytes(): i for i, query in enumerate(queries)}

    def search(some: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
        which = [numbers[query.tobytes()] for query in some]
        noisy = (exact[which] + noise[which]).astype(np.float32)
        by = np.argsort(-noisy, axis=1)[:, :m]
        return np.take_along_axis(noisy, by, axis=1), by

    scores, rows = settle(queries, k, size, search=search, fetch=lambda r: stored[r], score_error=bound)
    expected_scores, expected_rows = full_sort(stored, queries, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, atol=bound + 1e-6)
