"""Searching galleries. Apart from ``api.gallery``, since a search from the shell waits for every import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from zsretrieve.api.hits import Hits
from zsretrieve.api.indexes import open_gallery, open_prototypes, read_manifest
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.found import Explanation, Found
from zsretrieve.domain.queries import Term
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.settings import Precision
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.domain.wanted import Wanted
from zsretrieve.encoders.image_sides import gallery_space
from zsretrieve.encoders.loading import ModelLike, as_model
from zsretrieve.gallery import search as _search
from zsretrieve.gallery.query_vectors import QueryLike, read_query, read_terms
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.named import folder_of

# How many classes explain a hit.
_CLASSES = 3


def search(
    gallery: Gallery | PathLike,
    query: QueryLike = None,
    model: ModelLike | None = None,
    wanted: Wanted | None = None,
    *,
    k: int | None = None,
    literal: bool | None = None,
    exif: bool | None = None,
    where: str | None = None,
    dedup: bool | None = None,
    near: float | None = None,
    prototypes: Prototypes | PathLike | None = None,
    cached: bool = True,
) -> Hits:
    """The images nearest to a query: text, the path of an image, or ``a + b - 2:c``.

    Parameters
    ----------
    gallery : Gallery or path
    query : str, path, Pillow image, array, Term or sequence of Term, optional
        An array is the pixels of an image, uint8 of shape (height, width, 3), or a vector of the gallery's model, float
        of shape (dim,). Without a query, ``wanted.more`` and ``wanted.less`` alone say what to find; without these too,
        the hits are all images in the order of their IDs or dates, and have no score.
    model : Model, Encoder or str, optional
        By default the model that the gallery's manifest names. It is loaded only if the query needs it: the vectors of
        recent queries are kept in the user's cache folder.
    wanted : Wanted, optional
        What is wanted apart from the query. Its most common parts may be given as keywords instead:
    k, literal, exif, where, dedup, near : optional
        As for ``Wanted``.
    prototypes : Prototypes or path, optional
        With ``wanted.explain``: a prototype index, whose classes that are nearest to each hit are in the explanation.
    cached : bool
        Use the cache of queries, and add this one to it.

    Raises
    ------
    UsageError
        If both ``wanted`` and keywords that it has too are given, or they contradict each other, see ``Wanted``.
    SourceError
        If the gallery is empty.
    RankError
        If k is below 1, or ``near`` is out of range.
    FilterError
        If the filter cannot be used, or nothing matches it.
    QueryError
        If a query is empty or malformed, a query image cannot be read, an ID does not exist, or the terms of a query
        cancel out.
    SpaceMismatchError
        If the model has another embedding space than the gallery.
    """
    loose = {"k": k, "literal": literal, "exif": exif, "where": where, "dedup": dedup, "near": near}
    asked = _wanted(wanted, loose)
    return _search_all(gallery, [query], model, asked, prototypes=prototypes, cached=cached)[0]


def parse_query(text: str, wanted: Wanted | None = None) -> tuple[Term, ...]:
    """The terms of a query in text, to join them with others: ``zs.search(gallery, [*terms, zs.Term(image)])``.

    Of ``wanted``, ``literal`` and ``files`` count. Raises QueryError if it is empty or malformed.
    """
    return read_terms(text, wanted or Wanted()).terms


def search_all(
    gallery: Gallery | PathLike,
    queries: Sequence[QueryLike],
    model: ModelLike | None = None,
    wanted: Wanted | None = None,
    *,
    k: int | None = None,
    literal: bool | None = None,
    exif: bool | None = None,
    where: str | None = None,
    dedup: bool | None = None,
    near: float | None = None,
    cached: bool = True,
    half: bool = False,
    together: bool = False,
    prototypes: Prototypes | PathLike | None = None,
) -> list[Hits]:
    """``search`` for several queries: all are parsed first, then encoded in batches and searched in one product.

    A gallery that is opened here is searched on the model's device; ``half`` keeps a GPU's copy of it in float16.
    Up to 16 new texts are encoded one by one, so that each query has the bits that it has alone; with ``together`` they
    are a batch as well, which is faster, and the last bits of a score may depend on the other queries.
    """
    loose = {"k": k, "literal": literal, "exif": exif, "where": where, "dedup": dedup, "near": near}
    asked = _wanted(wanted, loose)
    return _search_all(
        gallery, queries, model, asked, prototypes=prototypes, cached=cached, half=half, together=together
    )


def _wanted(wanted: Wanted | None, loose: dict[str, Any]) -> Wanted:
    given = {name: value for name, value in loose.items() if value is not None}
    if wanted is None:
        return Wanted(**given)
    if given:
        raise UsageError(
            f"{next(iter(given))} is given beside wanted", hint="Put it into zsretrieve.Wanted, with all the others."
        )
    return wanted


def _search_all(
    gallery: Gallery | PathLike,
    queries: Sequence[QueryLike],
    model: ModelLike | None,
    wanted: Wanted,
    *,
    prototypes: Prototypes | PathLike | None,
    cached: bool,
    half: bool = False,
    together: bool = False,
) -> list[Hits]:
    if prototypes is not None and not wanted.explain:
        raise UsageError("`prototypes` has no effect without `explain`", hint="Add `explain`, or leave it out.")
    if not isinstance(gallery, Gallery) and not folder_of(gallery).exists():
        read_manifest(gallery)  # raises, before the queries, whose paths may be of the same place
    parsed = [read_query(query, wanted) for query in queries]
    if not parsed:
        return []
    model = as_model(model)
    if isinstance(gallery, Gallery):
        opened = gallery
    else:
        opened = open_gallery(gallery, device=model.compute.device, half=half)
    model = model.named(opened.space.model)
    model.check(gallery_space(model, opened.manifest))
    if opened.manifest.encoding.precision in ("fp32", "float32"):
        # Among vectors of fp32 a query of fp32 has exact scores.
        model = model.computed_with(Precision.FP32)
    if not any(term.is_image for query in parsed for term in query.terms):
        model.note_text_only()
    answers = _search.search(opened, parsed, model, wanted, cached=cached, together=together)
    if prototypes is not None:
        answers = _with_classes(answers, opened, prototypes)
    return [Hits.of(found) for found in answers]


def _with_classes(answers: list[Found], gallery: Gallery, given: Prototypes | PathLike) -> list[Found]:
    """Answers whose explanations name the classes nearest to each hit."""
    from zsretrieve.evaluation.classify import classify_vectors

    prototypes = given if isinstance(given, Prototypes) else open_prototypes(given, device="cpu")
    check_same_images(gallery.space, "the gallery", prototypes.space, "the prototypes")
    k = min(_CLASSES, len(prototypes.vectors))
    explained = []
    for found in answers:
        rows = np.searchsorted(gallery.ids, [hit.id for hit in found.hits])
        classes = classify_vectors(gallery.index.stored(rows), prototypes, k) if found.hits else []
        reasons = replace(found.explanation or Explanation((), ()), classes=tuple(classes))
        explained.append(replace(found, explanation=reasons))
    return explained
