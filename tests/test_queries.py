import numpy as np
import pytest

from zsretrieve.errors import QueryError
from zsretrieve.queries import Term, combine, parse_query
from zsretrieve.vectors import unit_rows

FILES = {"photo.jpg", "a + b.jpg", "2:3.png"}


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("a red circle", [Term("a red circle", False)]),
        ("photo.jpg", [Term("photo.jpg", True)]),
        ("a + b.jpg", [Term("a + b.jpg", True)]),
        ("photo.jpg + at night", [Term("photo.jpg", True), Term("at night", False)]),
        ("dog - 2:cat + 0.5:photo.jpg", [Term("dog", False), Term("cat", False, -2.0), Term("photo.jpg", True, 0.5)]),
        ("- cat", [Term("cat", False, -1.0)]),
        ("black-and-white", [Term("black-and-white", False)]),
        ("C++ book", [Term("C++ book", False)]),
        ("2:3.png + x", [Term("2:3.png", True), Term("x", False)]),
        ("at 10:30", [Term("at 10:30", False)]),
        ("16:9 wide picture", [Term("16:9 wide picture", False)]),
        ("dog + .5:cat", [Term("dog", False), Term("cat", False, 0.5)]),
    ],
)
def test_queries_are_read(text: str, terms: list[Term]) -> None:
    assert list(parse_query(text, FILES.__contains__).terms) == terms


def test_literal_takes_the_whole() -> None:
    assert parse_query("a + b", FILES.__contains__, literal=True).terms == (Term("a + b", False),)


@pytest.mark.parametrize("text", ["", "   ", "a + ", "a + + b", "0:a + b", "+", "dog + -0.5:cat"])
def test_malformed_queries_are_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse_query(text, FILES.__contains__)


def test_combining_is_a_weighted_sum_made_unit() -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((3, 8)))
    total = vectors[0] + 0.5 * vectors[1] - 2 * vectors[2]
    np.testing.assert_allclose(combine(vectors, [1, 0.5, -2])[0], total / np.linalg.norm(total), atol=1e-6)
    with pytest.raises(QueryError, match="cancel"):
        combine(vectors[[0, 0]], [1, -1])
