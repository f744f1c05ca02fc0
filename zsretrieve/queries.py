"""The query language: words, pictures and both: ``a + b - 2:c``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zsretrieve.errors import QueryError, ShapeError
from zsretrieve.vectors import Vectors, unit_rows

_OPERATOR = re.compile(r"\s+([+-])(?=\s)")
_WEIGHT = re.compile(r"^(\d+(?:\.\d*)?|\.\d+):\s*(.+)$", re.DOTALL)
_NEGATIVE_WEIGHT = re.compile(r"^-\s*(?:\d|\.\d)[\d.]*:")


@dataclass(frozen=True)
class Term:
    """One part of a query: a text or the path of a picture, with its signed weight."""

    value: str
    is_image: bool
    weight: float = 1.0


@dataclass(frozen=True)
class Query:
    """A weighted sum of terms, as the user wrote it."""

    text: str
    terms: tuple[Term, ...]


def parse_query(text: str, is_image: Callable[[str], bool], *, literal: bool = False) -> Query:
    """Read one query.

    Terms are joined by ``+`` or ``-`` with spaces around; each of several may start with a weight and a colon. A text
    that is a picture's path as a whole is taken as that, so a file may have such signs in its name.

    Parameters
    ----------
    text : str
        ``a red circle``, ``photo.jpg``, ``photo.jpg + at night - 0.5:people``.
    is_image : callable
        Tells whether a term is the path of a picture.
    literal : bool
        Take the whole as one text.

    Raises
    ------
    QueryError
        If the query or one of its terms is empty, or a weight is zero.
    """
    if not text.strip():
        raise QueryError("the query is empty", hint='Give words or a picture, e.g. "a red circle" or photo.jpg.')
    if literal:
        return Query(text, (Term(text.strip(), False),))
    if is_image(text):
        return Query(text, (Term(text, True),))
    pieces = _OPERATOR.split(f" {text.strip()} ")
    values, signs = pieces[0::2], ["+", *pieces[1::2]]
    if len(values) > 1 and not values[0].strip():  # a leading sign belongs to the first term
        values, signs = values[1:], signs[1:]
    terms = []
    for sign, piece in zip(signs, values, strict=True):
        value, weight = piece.strip(), 1.0
        if len(values) > 1 and _NEGATIVE_WEIGHT.match(value):
            raise QueryError(f"a weight of the query '{text}' is negative", hint="Put the term behind - instead.")
        # A single term needs no weight, and "16:9 wide" or "10:30" mean themselves.
        if len(values) > 1 and not is_image(value) and (found := _WEIGHT.match(value)):
            weight, value = float(found[1]), found[2].strip()
        if not value:
            raise QueryError(
                f"a term of the query '{text}' is empty", hint="Put words or a picture on each side of + and -."
            )
        if weight == 0:
            raise QueryError(f"a term of the query '{text}' has weight 0", hint="Leave the term out.")
        terms.append(Term(value, is_image(value), weight if sign == "+" else -weight))
    return Query(text, tuple(terms))


def combine(vectors: Vectors, weights: list[float], text: str = "") -> Vectors:
    """The weighted sum of unit rows, L2-normalised.

    Parameters
    ----------
    vectors : float32 of shape (n_terms, dim), unit rows
    weights : list of float, length n_terms
    text : str
        The query as written, for the error.

    Returns
    -------
    float32 of shape (1, dim), unit row

    Raises
    ------
    QueryError
        If the terms cancel out.
    """
    total = np.asarray(weights, dtype=np.float64) @ vectors.astype(np.float64)
    if np.linalg.norm(total) < 1e-6:
        raise QueryError(f"the terms of the query '{text}' cancel out", hint="Change a weight or drop a term.")
    try:
        return unit_rows(total[None, :])
    except ShapeError as error:
        raise QueryError(f"the query has no direction: {error.message}") from error
