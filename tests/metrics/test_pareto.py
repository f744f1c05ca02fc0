from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsretrieve.domain.errors import ShapeError
from zsretrieve.metrics import pareto_front

# Few values, so that equal ones are common.
FIGURES = st.lists(st.tuples(st.none() | st.integers(0, 6), st.none() | st.integers(0, 6)), max_size=12)


def by_definition(choices: list[tuple[int | None, int | None]]) -> list[bool]:
    known = [(cost, value) for cost, value in choices if cost is not None and value is not None]
    return [
        cost is not None
        and value is not None
        and all(other > cost or worth < value or (other, worth) == (cost, value) for other, worth in known)
        for cost, value in choices
    ]


@given(FIGURES)
def test_the_front_is_what_its_definition_says(choices: list[tuple[int | None, int | None]]) -> None:
    assert pareto_front([cost for cost, _ in choices], [value for _, value in choices]) == by_definition(choices)


def test_equal_choices_are_on_the_front_together_and_unknown_ones_never() -> None:
    assert pareto_front([1, 1, 2, 2, 3, None, 0], [5, 5, 5, 6, 6, 9, None]) == [
        True,
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    assert pareto_front([], []) == []


def test_figures_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ShapeError):
        pareto_front([1.0], [])
