import time

import numpy as np
import pytest

from zsretrieve.domain.errors import QueryError
from zsretrieve.domain.queries import Address, ItemId, Term, combine, parse_query
from zsretrieve.domain.vectors import unit_rows

FILES = {"photo.jpg", "a + b.jpg", "2:3.png"}


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("a red circle", [Term("a red circle")]),
        ("photo.jpg", [Term(Address("photo.jpg"))]),
        ("a + b.jpg", [Term(Address("a + b.jpg"))]),
        ("photo.jpg + at night", [Term(Address("photo.jpg")), Term("at night")]),
        ("dog - 2:cat + 0.5:photo.jpg", [Term("dog"), Term("cat", -2.0), Term(Address("photo.jpg"), 0.5)]),
        ("- cat", [Term("cat", -1.0)]),
        ("black-and-white", [Term("black-and-white")]),
        ("C++ book", [Term("C++ book")]),
        ("2:3.png + x", [Term(Address("2:3.png")), Term("x")]),
        ("at 10:30", [Term("at 10:30")]),
        ("16:9 wide picture", [Term("16:9 wide picture")]),
        ("id:42", [Term(ItemId(42))]),
        ("id:7 + snow - 2:id:8", [Term(ItemId(7)), Term("snow"), Term(ItemId(8), -2.0)]),
        ("'id:42' + id: 42", [Term("id:42"), Term("id: 42")]),
        ("dog + .5:cat", [Term("dog"), Term("cat", 0.5)]),
    ],
)
def test_queries_are_read(text: str, terms: list[Term]) -> None:
    assert list(parse_query(text, FILES.__contains__).terms) == terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("'a dog - 2.jpg' + night", [("a dog - 2.jpg", True, 1.0), ("night", False, 1.0)]),
        ('2:"x + y.jpg" - 0.5:people', [("x + y.jpg", True, 2.0), ("people", False, -0.5)]),
        ("'rock - paper' - 'a + b'", [("rock - paper", False, 1.0), ("a + b", False, -1.0)]),
        ("'red star'", [("red star", False, 1.0)]),
        ("kids' toys + dogs' beds", [("kids' toys", False, 1.0), ("dogs' beds", False, 1.0)]),
        ("rock 'n' roll - o'clock", [("rock 'n' roll", False, 1.0), ("o'clock", False, -1.0)]),
    ],
)
def test_a_term_in_quotes_may_hold_operators(text: str, terms: list[tuple[str, bool, float]]) -> None:
    query = parse_query(text, lambda value: value.endswith(".jpg") and not value.startswith(("'", '"')))
    assert [(term.label, term.is_image, term.weight) for term in query.terms] == terms


def test_literal_takes_the_whole() -> None:
    assert parse_query("a + b", FILES.__contains__, literal=True).terms == (Term("a + b"),)


@pytest.mark.parametrize("text", ["", "   ", "a + ", "a + + b", "0:a + b", "+", "dog + -0.5:cat"])
def test_malformed_queries_are_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse_query(text, FILES.__contains__)


@pytest.mark.parametrize(
    "text", [' "a' * 2400, "a" + " " * 9000 + "b", """ '"a""" * 2400], ids=["open", "spaces", "both"]
)
def test_a_text_of_quotes_or_spaces_takes_no_longer_than_another(text: str) -> None:
    started = time.process_time()
    assert len(parse_query(text, lambda _: False).terms) == 1
    assert time.process_time() - started < 0.3


def test_combining_is_a_weighted_sum_made_unit() -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((3, 8)))
    total = vectors[0] + 0.5 * vectors[1] - 2 * vectors[2]
    np.testing.assert_allclose(combine(vectors, [1, 0.5, -2])[0], total / np.linalg.norm(total), atol=1e-6)
    with pytest.raises(QueryError, match="cancel"):
        combine(vectors[[0, 0]], [1, -1])
