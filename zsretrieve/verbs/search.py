"""Searching a gallery with words, pictures or both."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from zsretrieve import addresses
from zsretrieve.errors import ImageError, QueryError
from zsretrieve.images import decode, is_image_name
from zsretrieve.ports import Encoder
from zsretrieve.queries import Query, Term, combine, parse_query
from zsretrieve.ranking import check_k
from zsretrieve.records import Hit
from zsretrieve.store.indexes import Gallery, check_same_space
from zsretrieve.vectors import Vectors

DEFAULT_K = 10


def read_query(text: str, *, literal: bool = False) -> Query:
    """Parse a query; terms that are files are pictures.

    Raises
    ------
    QueryError
        If it is empty or malformed, or a term is named like a picture but there is no such file.
    """
    query = parse_query(text, _is_picture, literal=literal)
    for term in query.terms:
        if not literal and not term.is_image and is_image_name(term.value):
            raise QueryError(
                f"there is no picture '{term.value}'", hint="Check the path, or search for the words with --literal."
            )
    return query


def _is_picture(value: str) -> bool:
    """A file is a picture by its name; without such a name only if it is written as a path, since any word may be
    the name of a file in the current folder.
    """
    try:
        return (is_image_name(value) or os.sep in value) and os.path.isfile(value)
    except ValueError:  # a null character, say
        return False


def search(
    gallery: Gallery,
    queries: Sequence[Query],
    encoder: Callable[[], Encoder],
    *,
    k: int | None = None,
    exif: bool | None = None,
) -> list[tuple[Hit, ...]]:
    """The k nearest pictures of a gallery for each query, best first.

    A picture of the query that lies in the gallery is left out of its own results.

    Parameters
    ----------
    gallery : Gallery
    queries : sequence of Query
    encoder : callable
        Gives the encoder; called only if a query needs one (a picture of the gallery has its vector already).
    k : int, optional
        Ten by default, or as many as the gallery holds.
    exif : bool, optional
        Turn query pictures upright as their EXIF orientation says; by default as the gallery's were.

    Raises
    ------
    RankError
        If k is below 1 or above the size of the gallery.
    QueryError
        If a picture of a query cannot be read, or its terms cancel out.
    SpaceMismatchError
        If the encoder is of another space than the gallery.
    """
    size = len(gallery.index)
    k = min(DEFAULT_K, size) if k is None else k
    check_k(k, size, "images")
    resolver = _Resolver(gallery, encoder, gallery.manifest.encoding.exif if exif is None else exif)
    found = []
    for query in queries:
        terms = [resolver.vector(term) for term in query.terms]
        vector = combine(np.concatenate(terms), [term.weight for term in query.terms], query.text)
        own = {row for term in query.terms if term.is_image for row in resolver.own_rows(term)}
        scores, rows = gallery.index.search(vector, min(size, k + len(own)))
        kept = [(float(score), int(row)) for score, row in zip(scores[0], rows[0], strict=True) if int(row) not in own]
        found.append(
            tuple(
                Hit(rank, gallery.items[row].id, gallery.path_of(gallery.items[row]), score)
                for rank, (score, row) in enumerate(kept[:k], start=1)
            )
        )
    return found


class _Resolver:
    """Vectors of query terms: from the gallery where the picture is there unchanged, else from the encoder."""

    def __init__(self, gallery: Gallery, encoder: Callable[[], Encoder], exif: bool) -> None:
        self._gallery = gallery
        self._make_encoder = encoder
        self._encoder: Encoder | None = None
        self._exif = exif

    def own_rows(self, term: Term) -> list[int]:
        return self._gallery.rows_by_real_path.get(os.path.realpath(term.value), [])

    def vector(self, term: Term) -> Vectors:
        if not term.is_image:
            return self._loaded().encode_texts([term.value])
        for row in self.own_rows(term)[:1]:
            if self._unchanged(term.value, row):
                return np.asarray(self._gallery.vectors[row : row + 1])
        try:
            picture = decode(addresses.read(term.value), exif=self._exif)
            return self._loaded().encode_prepared([self._loaded().prepare(picture.image)])
        except ImageError as error:
            raise QueryError(
                f"'{term.value}' cannot be used as a query: {error.message}",
                hint="Give a sound picture, or search for the words with --literal.",
            ) from error

    def _unchanged(self, path: str, row: int) -> bool:
        state = os.stat(path)
        item = self._gallery.items[row]
        same_policy = self._gallery.manifest.encoding.exif == self._exif
        return same_policy and (state.st_size, state.st_mtime_ns) == (item.bytes, item.mtime_ns)

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._make_encoder()
            check_same_space(self._gallery.space, "the gallery", self._encoder.space, "the query")
        return self._encoder
