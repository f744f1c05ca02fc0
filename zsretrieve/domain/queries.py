"""The query language: texts, images and both: ``a + b - 2:c``."""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.arguments import MOST_CHARACTERS
from zsretrieve.domain.boxes import Box
from zsretrieve.domain.errors import QueryError, ShapeError
from zsretrieve.domain.vectors import Vectors, unit_rows

if TYPE_CHECKING:
    from PIL import Image

# From where the spaces begin, so that a long row of them is looked at once.
_OPERATOR = re.compile(r"(?<!\s)\s+([+-])(?=\s)")
# What stands in quotes is one term; an apostrophe in a word is none.
_IN_QUOTES = re.compile(r"""(["'])(?=\S)(.+?)(?<=\S)\1""", re.DOTALL)
_OPENING = re.compile(r"""(?<=[\s:])["'](?=\S)""")
_CLOSING = re.compile(r"""(?<=\S)["'](?=\s)""")
_WEIGHT = re.compile(r"^(\d+(?:\.\d*)?|\.\d+):\s*(.+)$", re.DOTALL)
_ITEM = re.compile(r"id:(\d{1,18})")
_STUCK = re.compile(r"(?<=\s)([+-](?:\d+\.?\d*|\.\d+):\S+)")
_NEGATIVE_WEIGHT = re.compile(r"^-\s*(?:\d|\.\d)[\d.]*:")


@dataclass(frozen=True)
class ItemId:
    """The image of the gallery with this ID, as a term of a query."""

    id: int


@dataclass(frozen=True)
class Address(os.PathLike[str]):
    """The address of an image as it is written. A ``Path`` would change that of a URL."""

    text: str

    def __fspath__(self) -> str:
        return self.text


Value: TypeAlias = "str | os.PathLike[str] | ItemId | Image.Image | NDArray[np.uint8] | NDArray[np.floating[Any]]"


@dataclass(frozen=True)
class Term:
    """One part of a query, with its signed weight.

    Parameters
    ----------
    value : str, path, ItemId, Pillow image or array
        A str is text, also if it is the name of a file. An array is the pixels of an image, uint8 of shape
        (height, width, 3), or a vector of the gallery's model, float of shape (dim,).
    weight : float
        A term of negative weight is subtracted.
    box : (x0, y0, x1, y1), optional
        The part of the image to search with, in shares of its width and height when it is upright, from the upper left
        corner.

    Raises
    ------
    QueryError
        If the weight is zero or not finite, or the box is empty, not within the image, or given for a term that is
        not an image.
    """

    value: Value
    weight: float = 1.0
    box: Box | None = None

    def __post_init__(self) -> None:
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not math.isfinite(self.weight):
            raise QueryError(
                f"the weight of a term must be a number, got {self.weight!r}", hint="Give one such as 0.5."
            )
        if self.weight == 0:
            raise QueryError(f"the term '{self.label}' has weight 0", hint="Leave the term out.")
        if self.box is None:
            return
        if not self.is_image:
            raise QueryError(f"'{self.label}' is not an image, so it has no part", hint="Leave the box out.")
        try:
            x0, y0, x1, y1 = (float(edge) for edge in self.box)
        except (TypeError, ValueError):
            x0, y0, x1, y1 = 1.0, 1.0, 0.0, 0.0
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise QueryError(
                f"{self.box} is not a part of an image",
                hint="Give (left, top, right, bottom) in shares of width and height, such as (0, 0, 0.5, 1).",
            )

    @property
    def is_text(self) -> bool:
        return isinstance(self.value, str)

    @property
    def is_vector(self) -> bool:
        value = self.value
        return isinstance(value, np.ndarray) and value.ndim == 1 and bool(np.issubdtype(value.dtype, np.floating))

    @property
    def is_image(self) -> bool:
        return not self.is_text and not self.is_vector

    @property
    def path(self) -> str | None:
        """The address of an image that is given by it."""
        return os.fspath(self.value) if isinstance(self.value, os.PathLike) else None

    @property
    def label(self) -> str:
        """The term without its weight, as a user may read it."""
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, ItemId):
            name = f"id:{self.value.id}"
        else:
            name = self.path or ("a vector" if self.is_vector else "an image")
        return name if self.box is None else f"a part of {name}"


@dataclass(frozen=True)
class Query:
    """A weighted sum of terms, as the user wrote it."""

    text: str
    terms: tuple[Term, ...]

    @classmethod
    def of(cls, terms: Sequence[Term]) -> Query:
        """The sum of terms, shown as one would type it."""
        pieces = [f"{'-' if term.weight < 0 else '+'} {_weight(term.weight)}{term.label}" for term in terms]
        return cls(" ".join(pieces).removeprefix("+ "), tuple(terms))

    @property
    def is_of_texts(self) -> bool:
        return all(term.is_text for term in self.terms)


def _weight(weight: float) -> str:
    return "" if abs(weight) == 1 else f"{abs(weight):.4g}:"


def parse_query(text: str, is_image: Callable[[str], bool], *, literal: bool = False) -> Query:
    """Parse one query.

    Terms are joined by ``+`` or ``-`` with spaces around; each of several may start with a weight and a colon. A text
    that is an image's path as a whole is taken as such, so a file name may contain these characters; so may a term in
    quotes. ``id:42`` is the image of the gallery with that ID.

    Parameters
    ----------
    text : str
        ``a red circle``, ``photo.jpg``, ``photo.jpg + at night - 0.5:people``, ``id:42 + snow``.
    is_image : callable
        Whether a term is the path of an image.
    literal : bool
        Treat the whole as plain text.

    Raises
    ------
    QueryError
        If the query or one of its terms is empty, the query is too long, or a weight is zero.
    """
    if len(text) > MOST_CHARACTERS:
        raise QueryError(
            f"the query has {len(text):,} characters, and the limit is {MOST_CHARACTERS:,}", hint="Shorten it."
        )
    if not text.strip():
        raise QueryError("the query is empty", hint='Give text or an image, e.g. "a red circle" or photo.jpg.')
    if literal:
        return Query(text, (Term(text.strip()),))
    if is_image(text):
        return Query(text, (Term(Address(text)),))
    values, signs = _split(f" {text.strip()} ")
    if len(values) > 1 and not values[0].strip():  # a leading sign belongs to the first term
        values, signs = values[1:], signs[1:]
    terms = []
    for sign, piece in zip(signs, values, strict=True):
        value, weight = piece.strip(), 1.0
        if len(values) > 1 and _NEGATIVE_WEIGHT.match(value):
            raise QueryError(f"the query '{text}' has a negative weight", hint="To subtract a term, write - before it.")
        # A single term needs no weight, and "16:9 wide" or "10:30" are plain text.
        if len(values) > 1 and not is_image(value) and (match := _WEIGHT.match(value)):
            weight, value = float(match[1]), match[2].strip()
        item = _ITEM.fullmatch(value)
        if quoted := _IN_QUOTES.fullmatch(value):
            value = quoted[2]
        if stuck := _STUCK.search(f" {value}"):
            raise QueryError(
                f"'{stuck[1]}' in the query '{text}' needs a space after the {stuck[1][0]}",
                hint=f"Write: {stuck[1][0]} {stuck[1][1:]}; or treat the query as plain text (--literal).",
            )
        if not value:
            raise QueryError(
                f"a term of the query '{text}' is empty", hint="Put text or an image on each side of + and -."
            )
        if weight == 0:
            raise QueryError(f"a term of the query '{text}' has weight 0", hint="Leave the term out.")
        what = ItemId(int(item[1])) if item else Address(value) if is_image(value) else value
        terms.append(Term(what, weight if sign == "+" else -weight))
    return Query(text, tuple(terms))


def _split(text: str) -> tuple[list[str], list[str]]:
    """The terms of a text with spaces at both ends, and the sign of each."""
    hidden = _without_quoted(text)
    operators = list(_OPERATOR.finditer(hidden))
    starts, ends = [0, *(one.end() for one in operators)], [*(one.start() for one in operators), len(text)]
    values = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    return values, ["+", *(one[1] for one in operators)]


def _without_quoted(text: str) -> str:
    """A text with underscores for what stands in quotes, in one pass however many quotes have no end."""
    closing: dict[str, list[int]] = {}
    for quote in _CLOSING.finditer(text):
        closing.setdefault(quote[0], []).append(quote.start())
    pieces, done = [], 0
    for quote in _OPENING.finditer(text):
        ends = closing.get(quote[0], [])
        place = bisect_left(ends, quote.start() + 2)  # there is something in between
        if quote.start() >= done and place < len(ends):
            pieces += [text[done : quote.start()], "_" * (ends[place] + 1 - quote.start())]
            done = ends[place] + 1
    return "".join([*pieces, text[done:]])


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
