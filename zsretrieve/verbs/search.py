"""Searching a gallery with words, pictures or both."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from zsretrieve import addresses
from zsretrieve.errors import ImageError, QueryError
from zsretrieve.images import decode, is_image_name
from zsretrieve.ports import Encoder
from zsretrieve.queries import Query, Term, combine, parse_query
from zsretrieve.ranking import check_k, check_near
from zsretrieve.records import Hit
from zsretrieve.store.indexes import Gallery, check_same_space
from zsretrieve.vectors import Rows, Scores, Vectors
from zsretrieve.verbs.selecting import selected

DEFAULT_K = 10
DEFAULT_NEAR = 0.98

_BLOCK = 256


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
    the name of a file in the current folder. A picture in an archive or behind a URL is one by its address.
    """
    try:
        if addresses.split(value) is not None or addresses.is_url(value):
            return True
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
    where: str | None = None,
    near: float | None = None,
) -> list[tuple[Hit, ...]]:
    """The k nearest pictures of a gallery for each query, best first.

    A picture of the query that lies in the gallery is left out of its own results. There are fewer than k hits where
    the gallery has no more.

    Parameters
    ----------
    gallery : Gallery
    queries : sequence of Query
    encoder : callable
        Gives the encoder; called only if a query needs one (a picture of the gallery has its vector already).
    k : int, optional
        Ten by default, or as many as there are to search.
    exif : bool, optional
        Turn query pictures upright as their EXIF orientation says; by default as the gallery's were.
    where : str, optional
        Search only the pictures that pass this filter, see ``zsretrieve.filters``.
    near : float, optional
        Leave out a hit if the digest of its file is that of a better hit, or its score with one is at least this.

    Raises
    ------
    SourceError
        If the gallery is empty.
    RankError
        If k is below 1 or above the number of pictures searched, or ``near`` is out of range.
    FilterError
        If the filter cannot be used, or nothing passes it.
    QueryError
        If a picture of a query cannot be read, or its terms cancel out.
    SpaceMismatchError
        If the encoder is of another space than the gallery.
    """
    if near is not None:
        check_near(near)
    among = selected(gallery, where)
    size = len(gallery.index) if among is None else len(among)
    k = min(DEFAULT_K, size) if k is None else k
    check_k(k, size, "images", "the index holds" if among is None else "the filter passes")
    resolver = _Resolver(gallery, encoder, gallery.manifest.encoding.exif if exif is None else exif)
    found = []
    for query in queries:
        terms = [resolver.vector(term) for term in query.terms]
        vector = combine(np.concatenate(terms), [term.weight for term in query.terms], query.text)
        own = sorted({row for term in query.terms if term.is_image for row in resolver.own_rows(term)})
        scores, rows = _best(gallery, vector, k, among, np.array(own, dtype=np.int64), near)
        found.append(
            tuple(
                Hit(rank, gallery.items[row].id, gallery.path_of(gallery.items[row]), float(score))
                for rank, (score, row) in enumerate(zip(scores, rows, strict=True), start=1)
            )
        )
    return found


def _best(
    gallery: Gallery, vector: Vectors, k: int, among: Rows | None, own: Rows, near: float | None
) -> tuple[Scores, Rows]:
    """The k best rows that are not the query's own and, with ``near``, show something new; fewer if there are none."""
    size = len(gallery.index) if among is None else len(among)
    reach = min(size, k + len(own) if near is None else 2 * k + len(own))
    while True:
        scores, rows = (found[0] for found in gallery.index.search(vector, reach, among))
        others = ~np.isin(rows, own)
        scores, rows = scores[others], rows[others]
        kept = np.arange(len(rows)) if near is None else _distinct(gallery, rows, k, near)
        if len(kept) >= k or reach == size:
            return scores[kept[:k]], rows[kept[:k]]
        reach = min(size, reach * 4)


def _distinct(gallery: Gallery, rows: Rows, k: int, near: float) -> NDArray[np.int64]:
    """The places of the first k of ``rows`` that show no picture of an earlier one that is kept."""
    kept: list[int] = []
    digests: set[str] = set()
    vectors = np.empty((min(k, len(rows)), gallery.index.dim), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = gallery.index.stored(rows[start : start + _BLOCK])
        shown = np.any(_products(block, vectors[: len(kept)]) >= np.float32(near), axis=1)
        alike = _products(block, block) >= np.float32(near)
        for place in range(len(block)):
            digest = gallery.items[rows[start + place]].digest
            if shown[place] or digest in digests:
                continue
            vectors[len(kept)] = block[place]
            kept.append(start + place)
            if len(kept) == k:
                return np.array(kept)
            shown |= alike[place]
            if digest:
                digests.add(digest)
    return np.array(kept, dtype=np.int64)


def _products(one: Vectors, other: Vectors) -> Scores:
    return np.asarray(one.astype(np.float64) @ other.astype(np.float64).T, dtype=np.float32)


class _Resolver:
    """Vectors of query terms: from the gallery where the picture is there unchanged, else from the encoder."""

    def __init__(self, gallery: Gallery, encoder: Callable[[], Encoder], exif: bool) -> None:
        self._gallery = gallery
        self._make_encoder = encoder
        self._encoder: Encoder | None = None
        self._exif = exif

    def own_rows(self, term: Term) -> list[int]:
        return self._gallery.rows_by_real_path.get(addresses.canonical(term.value), [])

    def vector(self, term: Term) -> Vectors:
        if not term.is_image:
            return self._loaded().encode_texts([term.value])
        for row in self.own_rows(term)[:1]:
            if self._unchanged(term.value, row):
                return self._gallery.index.stored(np.array([row]))
        try:
            picture = decode(addresses.read(term.value), exif=self._exif)
            return self._loaded().encode_prepared([self._loaded().prepare(picture.image)])
        except ImageError as error:
            raise QueryError(
                f"'{term.value}' cannot be used as a query: {error.message}",
                hint="Give a sound picture, or search for the words with --literal.",
            ) from error

    def _unchanged(self, path: str, row: int) -> bool:
        same_policy = self._gallery.manifest.encoding.exif == self._exif
        return same_policy and addresses.is_unchanged(path, self._gallery.items[row])

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._make_encoder()
            check_same_space(self._gallery.space, "the gallery", self._encoder.space, "the query")
        return self._encoder
