"""Queries as users write them, and the vectors of their terms."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import ImageError, OptionalDependencyError, QueryError, ShapeError
from zsretrieve.domain.kinds import QueryKind
from zsretrieve.domain.ports import TextEncoder
from zsretrieve.domain.queries import Address, ItemId, Query, Term, Value, combine, parse_query
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Rows, Vectors, unit_rows
from zsretrieve.domain.wanted import ALPHA, BETA, GAMMA, MINUS, Wanted
from zsretrieve.encoders.image_sides import gallery_space
from zsretrieve.encoders.loading import Model
from zsretrieve.images import opening
from zsretrieve.images.content import is_image_name
from zsretrieve.images.parts import part
from zsretrieve.store.indexes import Gallery

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger("zsretrieve")

QueryLike: TypeAlias = "Value | Term | Sequence[Term] | Query | None"


def read_query(given: QueryLike, wanted: Wanted) -> Query:
    """What a user wants to find, with what it should stay away from. Without terms there is nothing to rank by.

    In text, terms that are files are images.

    Raises
    ------
    QueryError
        If it is empty or malformed, or a term is named like an image but there is no such file; or it is something else
        than texts, paths, images, arrays and terms.
    """
    query = read_terms(given, wanted)
    minus = [replace(term, weight=-MINUS * term.weight) for text in wanted.minus for term in _read(text, wanted).terms]
    if not minus:
        return query
    both = Query.of((*query.terms, *minus))
    return Query(f"{query.text} {Query.of(minus).text}", both.terms) if query.text else both


def read_terms(given: QueryLike, wanted: Wanted) -> Query:
    """``read_query`` without what the query should stay away from."""
    return Query("", ()) if given is None else _read(given, wanted)


def _read(given: Any, wanted: Wanted) -> Query:
    if isinstance(given, Query):
        return given
    if isinstance(given, Term):
        given = [given]
    if isinstance(given, list | tuple) and given and all(isinstance(term, Term) for term in given):
        for term in given:
            _check_value(term.value)
        return Query.of(given)
    if not isinstance(given, str):
        _check_value(given)
        term = Term(Address(os.fspath(given)) if isinstance(given, os.PathLike) else given)
        return Query(term.label, (term,))
    if not wanted.files:
        return parse_query(given, lambda _: False, literal=wanted.literal)
    query = parse_query(given, _is_image, literal=wanted.literal)
    for term in query.terms:
        if isinstance(term.value, str) and not wanted.literal:
            _check_text(term.value)
    return query


def _check_text(text: str) -> None:
    """Raise QueryError if a text looks like a path that cannot be searched with; note it if it may be meant as one."""
    if os.sep in text and os.path.isdir(text):
        raise QueryError(f"'{text}' is a folder", hint="Name an image in it, or search for the text with `literal`.")
    if (path := next((word for word in text.split() if word != text and _is_file(word)), None)) is not None:
        raise QueryError(
            f"'{text}' mixes a text and the file '{path}'",
            hint=f'Join them with a sign that has spaces on both sides: "{path} + a text"; or add `literal`.',
        )
    if is_image_name(text):
        raise QueryError(
            f"there is no image '{text}'",
            hint="Check the path, write -q before each of several queries, or search for the text with `literal`.",
        )
    if os.path.exists(text):
        what = (
            f"to search with the file, write ./{text}"
            if os.path.isfile(text)
            else "the folder of that name is not searched"
        )
        _log.info(f"'{text}' is searched for as text; {what}")


def _check_value(value: Any) -> None:
    """Raise QueryError unless this can be a term: a text, the path of a file, an ID, an image, pixels or a vector."""
    if isinstance(value, str):
        if not value.strip():
            raise QueryError("a term of the query is empty", hint="Give text or an image.")
    elif isinstance(value, os.PathLike):
        path = os.fspath(value)
        if not _is_image(path) and not os.path.isfile(path):
            raise QueryError(f"there is no image '{path}'", hint="Check the path.")
    elif isinstance(value, np.ndarray):
        is_vector = value.ndim == 1 and np.issubdtype(value.dtype, np.floating)
        is_pixels = value.dtype == np.uint8 and value.size and value.ndim in (2, 3)
        if not is_vector and (not is_pixels or (value.ndim == 3 and value.shape[2] not in (3, 4))):
            raise QueryError(
                f"an array of shape {value.shape} and type {value.dtype} is not a query",
                hint="Give pixels, uint8 of shape (height, width, 3), or a vector, float of shape (dim,).",
            )
    elif not isinstance(value, ItemId) and not hasattr(value, "getexif"):  # Pillow's images; importing it is slow
        raise QueryError(
            f"a query must be a text, a path, an image or an array, not {type(value).__name__}",
            hint="Several queries go to search_all; a mix is a list of zsretrieve.Term.",
        )


def _is_image(value: str) -> bool:
    """Whether a term is an image: a file named like one, any file written as a path, or an address in an archive or
    behind a URL. A single word might be the name of a file in the current folder.
    """
    try:
        if opening.split(value) is not None or opening.is_url(value):
            return True
        return _is_file(value)
    except ValueError:  # such as for a null character
        return False


def _is_file(value: str) -> bool:
    return (is_image_name(value) or os.sep in value) and os.path.isfile(value)


@dataclass(frozen=True)
class Aim:
    """Where a search goes.

    ``vector`` is float32 of shape (1, dim), a unit row; None without a query and feedback. ``terms`` are the parts of
    which it is the sum, those of feedback included, ``weights`` theirs before it is brought to unit length, and
    ``vectors`` those of the terms, float32 of shape (n_terms, dim). ``without`` are the rows to leave out, ascending.
    """

    vector: Vectors | None
    terms: tuple[Term, ...]
    weights: tuple[float, ...]
    vectors: Vectors
    without: Rows

    @property
    def kind(self) -> QueryKind:
        """Images if nothing else is in it; vectors count as texts, whose neighbours are harder to find."""
        return QueryKind.IMAGES if all(term.is_image for term in self.terms) else QueryKind.TEXTS

    @property
    def shares(self) -> tuple[float, ...]:
        """What the vector of each term is multiplied by in ``vector``."""
        total = np.asarray(self.weights, dtype=np.float64) @ self.vectors.astype(np.float64)
        norm = float(np.linalg.norm(total))
        return tuple(weight / norm for weight in self.weights)


class QueryVectors:
    """Vectors of queries: from the gallery if it holds the unchanged image, otherwise from the model."""

    def __init__(self, gallery: Gallery, model: Model, texts: TextEncoder, wanted: Wanted) -> None:
        self._gallery = gallery
        self._model = model
        self._texts = texts
        self._wanted = wanted
        self._exif = gallery.manifest.encoding.exif if wanted.exif is None else wanted.exif

    def aims(self, queries: Sequence[Query]) -> list[Aim]:
        """Where each query goes; all texts are encoded in one go."""
        texts = list(
            dict.fromkeys(term.value for query in queries for term in query.terms if isinstance(term.value, str))
        )
        vectors = dict(zip(texts, self._texts.encode_texts(texts), strict=True)) if texts else {}
        return [self._aim(query, vectors) for query in queries]

    def _aim(self, query: Query, texts: Mapping[str, Vectors]) -> Aim:
        """Rocchio's formula: what was asked for, plus the mean of what is liked, minus that of what is not."""
        wanted = self._wanted
        own = {row for term in query.terms if term.is_image for row in self._rows(term)}
        if len(query.terms) > 1:  # as in analogies; a single text may well look for itself
            held = rows_by_text(self._gallery)
            own.update(row for t in query.terms if isinstance(t.value, str) for row in held.get(t.value.casefold(), ()))
        disliked = {self._row(number) for number in wanted.less}
        without = np.array(sorted(own | disliked), dtype=np.int64)
        terms, parts = list(query.terms), [self._vector(term, texts) for term in query.terms]
        weights = [term.weight for term in terms]
        if terms and wanted.has_feedback:
            asked = np.stack(parts)
            combine(asked, weights, query.text)  # refuses terms that cancel out
            norm = float(np.linalg.norm(np.asarray(weights, dtype=np.float64) @ asked.astype(np.float64)))
            weights = [ALPHA * weight / norm for weight in weights]
        for ids, weight in ((wanted.more, BETA), (wanted.less, -GAMMA)):
            for number in ids:
                terms.append(Term(ItemId(number), weight / len(ids)))
                parts.append(self._gallery.index.stored(np.array(self._row(number))))
                weights.append(weight / len(ids))
        if not terms:
            return Aim(None, (), (), np.empty((0, self._gallery.index.dim), dtype=np.float32), without)
        stacked = np.stack(parts)
        return Aim(combine(stacked, weights, query.text), tuple(terms), tuple(weights), stacked, without)

    def _vector(self, term: Term, texts: Mapping[str, Vectors]) -> Vectors:
        if isinstance(term.value, str):
            return texts[term.value]
        return self._given(term.value) if isinstance(term.value, np.ndarray) and term.is_vector else self._image(term)

    def _rows(self, term: Term) -> list[int]:
        """The rows of the gallery that hold an image."""
        if isinstance(term.value, ItemId):
            return [self._row(term.value.id)]
        return [] if term.path is None else self._gallery.rows_by_real_path.get(opening.canonical(term.path), [])

    def _row(self, number: int) -> int:
        row = self._gallery.row_of(number)
        if row is None:
            raise QueryError(
                f"the gallery has no image with the ID {number}",
                hint="Use an ID from a search result; removed images have none.",
            )
        return row

    def _image(self, term: Term) -> Vectors:
        if term.box is None:
            for row in self._rows(term)[:1]:
                if term.path is None or self._unchanged(term.path, row):
                    return self._gallery.index.stored(np.array(row))
        try:
            image = self._opened(term)
            if term.box is not None:
                image = part(image, term.box)
            encoder = self._model.load(gallery_space(self._model, self._gallery.manifest))
            vector: Vectors = encoder.encode_prepared([encoder.prepare(image)])[0]
        except ImageError as error:
            if isinstance(error.__cause__, OptionalDependencyError):
                raise error.__cause__ from error
            raise QueryError(
                f"'{term.label}' cannot be used as a query: {error.message}",
                hint="Give a readable image, or search for the text with `literal`.",
            ) from error
        return vector

    def _opened(self, term: Term) -> Image.Image:
        from zsretrieve.images.decoding import decode, opened_image  # Pillow is slow to import, and texts need none

        # A part is of the image as people see it.
        reading, value, path = Reading(self._exif or term.box is not None), term.value, term.path
        if isinstance(value, ItemId):
            path = self._gallery.path_of(self._gallery.items[self._row(value.id)])
        if path is not None:
            return decode(opening.read(path), reading).image
        if isinstance(value, np.ndarray):
            from PIL import Image

            value = Image.fromarray(value)
        opened: Any = value
        return opened_image(opened, reading)

    def _given(self, vector: NDArray[Any]) -> Vectors:
        dim = self._gallery.index.dim
        if len(vector) != dim:
            raise QueryError(
                f"the query vector has {len(vector)} dimensions, and the gallery's have {dim}",
                hint="Use a vector of the gallery's model.",
            )
        try:
            unit: Vectors = unit_rows(vector[None, :])[0]
        except ShapeError as error:
            raise QueryError(f"the query has no direction: {error.message}") from error
        return unit

    def _unchanged(self, path: str, row: int) -> bool:
        same_policy = self._gallery.manifest.encoding.exif == self._exif
        return same_policy and opening.is_unchanged(path, self._gallery.items[row])


def rows_by_text(gallery: Gallery) -> dict[str, list[int]]:
    """The rows of each text of a gallery of texts, in lower case; of images there are none."""
    rows: dict[str, list[int]] | None = gallery.memo.get("rows by text")
    if rows is None:
        rows = {}
        for row, item in enumerate(gallery.items if gallery.manifest.holds_texts else ()):
            rows.setdefault((item.text or "").casefold(), []).append(row)
        gallery.memo["rows by text"] = rows
    return rows
