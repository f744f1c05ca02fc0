"""From the body of a search to its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zsretrieve.api.hits import Hits
from zsretrieve.api.search import parse_query, search_all
from zsretrieve.domain import filters
from zsretrieve.domain.found import Matching
from zsretrieve.domain.plain import plain, shortest
from zsretrieve.domain.queries import ItemId, Term
from zsretrieve.domain.vectors import Rows
from zsretrieve.domain.wanted import MINUS, Order, Wanted
from zsretrieve.encoders.loading import Model
from zsretrieve.web.bodies import SearchBody, TermBody
from zsretrieve.web.errors import HttpError
from zsretrieve.web.fetching import is_url
from zsretrieve.web.galleries import Revision
from zsretrieve.web.items import item_dict, shown
from zsretrieve.web.uploads import Uploads

_LITERAL = Wanted(literal=True, files=False)
# Each text costs a share of a pass through the model, and a query of 10,000 characters may hold 2,500.
_MOST_TERMS = 100
_ONE_OF = "exactly one of text, id, upload and image"


@dataclass(frozen=True)
class Question:
    """What is asked: the terms, and how to show them; None where feedback alone says what to find, or nothing does.

    ``is_plain`` asks for the hits alone.
    """

    terms: tuple[Term, ...] | None
    shown: tuple[dict[str, Any], ...]
    is_plain: bool = False


@dataclass(frozen=True)
class Key:
    """What searches must have in common to share a pass; ``rows`` are those that pass the filter of ``wanted``."""

    revision: Revision
    wanted: Wanted


def wanted_of(body: SearchBody) -> Wanted:
    """What a body wants apart from the query; its texts name no files of the server. Raises UsageError, RankError."""
    return Wanted(
        k=body.k, offset=body.offset, where=body.where, dedup=body.dedup, near=body.near, min_score=body.min_score,
        order=Order(body.order), more=tuple(body.more), less=tuple(body.less), minus=tuple(body.minus),
        literal=body.literal, files=False, explain=body.explain, exact=body.exact, recall=body.recall,
        whole=body.whole,
    )  # fmt: skip


def question_of(body: SearchBody, uploads: Uploads, fetch: Callable[[str], bytes], *, exif: bool) -> Question:
    """The terms of a body; images are decoded here, by threads that do nothing else.

    ``fetch`` returns the bytes behind a URL, or refuses it. Raises QueryError, ImageError, HttpError.
    """
    wanted = wanted_of(body)
    terms: list[Term] = []
    labelled: list[dict[str, Any]] = []

    def show(term: Term, **what: Any) -> None:
        box = None if term.box is None else list(term.box)
        label = what.get("label") or shown(term.label)
        labelled.append(
            {"text": None, "id": None, "upload": None, **what, "weight": term.weight, "box": box, "label": label}
        )

    def add(term: Term, **what: Any) -> None:
        terms.append(term)
        show(term, **what)

    if body.query is not None and body.query.strip():
        for term in parse_query(body.query, wanted):
            if isinstance(term.value, str) and is_url(term.value) and not body.literal:
                image = uploads.from_bytes(fetch(term.value), exif=exif)
                add(replace(term, value=image), text=term.value, label=term.value)
            else:
                add(term, **_of(term))
    for one in body.terms:
        _add_given(one, add, uploads, exif=exif)
    for text in body.minus:
        for term in parse_query(text, wanted):
            show(replace(term, weight=-MINUS * term.weight), **_of(term))
    if len(labelled) > _MOST_TERMS:
        raise HttpError(400, f"the query has {len(labelled)} terms, and the limit is {_MOST_TERMS}", hint="Use fewer.")
    return Question(tuple(terms) or None, tuple(labelled))


def _of(term: Term) -> dict[str, Any]:
    if isinstance(term.value, ItemId):
        return {"id": term.value.id}
    return {"text": shown(str(term.value))}


def _add_given(one: TermBody, add: Any, uploads: Uploads, *, exif: bool) -> None:
    given = [name for name in ("text", "id", "upload", "image") if getattr(one, name) is not None]
    if len(given) != 1:
        raise HttpError(400, f"a term has {_ONE_OF}", hint="Give each part of a query as a term of its own.")
    box = None if one.box is None else (one.box[0], one.box[1], one.box[2], one.box[3])
    if one.text is not None:
        (term,) = parse_query(one.text, _LITERAL)
        add(replace(term, weight=one.weight, box=box), text=shown(one.text))
    elif one.id is not None:
        add(Term(ItemId(one.id), one.weight, box), id=one.id)
    elif one.upload is not None:
        add(Term(uploads.image(one.upload, exif=exif), one.weight, box), upload=one.upload)
    else:
        assert one.image is not None
        add(Term(uploads.from_base64(one.image, exif=exif), one.weight, box))


def select(revision: Revision, where: str, seconds: float) -> Rows:
    """The rows that match a filter, within a time. Raises FilterError."""
    with filters.time_limit(seconds):
        rows = filters.selection(revision.gallery.items, where)
    assert rows is not None
    return rows


class Answers:
    """Answers searches that share a pass, in a thread of the pool for searches."""

    def __init__(self, model: Model, *, is_local: bool) -> None:
        self._model = model
        self._is_local = is_local

    def __call__(self, key: Key, questions: Sequence[tuple[Question, Rows | None]]) -> list[Any]:
        """The answer to each question. Raises as ``zsretrieve.search_all``."""
        revision, wanted = key.revision, key.wanted
        if not len(revision.gallery.items):
            return [_empty(revision, question, wanted) for question, _ in questions]
        known = {}
        if wanted.where is not None:
            rows = questions[0][1]
            assert rows is not None
            known[wanted.where] = rows
        with filters.decided(known):
            asked = [None if question.terms is None else list(question.terms) for question, _ in questions]
            # Alone, a search has the bits that it has everywhere else.
            found = search_all(revision.gallery, asked, self._model, wanted=wanted, together=len(asked) > 1)
        return [
            hits if question.is_plain else self._answer(revision, hits, question, wanted)
            for hits, (question, _) in zip(found, questions, strict=True)
        ]

    def _answer(self, revision: Revision, hits: Hits, question: Question, wanted: Wanted) -> dict[str, Any]:
        gallery = revision.gallery
        records = []
        for place, hit in enumerate(hits):
            item = gallery.items[revision.row_of(hit.id)]
            record = item_dict(gallery, item, is_local=self._is_local, missing=hit.missing)
            record |= {"rank": hit.rank, "score": None if hit.score is None else shortest(hit.score)}
            record["box"] = plain(hit.box)
            if hits.explanation is not None:
                record["terms"] = [score.to_dict() for score in hits.explanation.terms[place]]
            records.append(record)
        return {
            **_empty(revision, question, wanted),
            "hits": records, "total": hits.total, "next": hits.next, "matching": _matching(hits.matching),
            "exact": hits.is_exact, "expected": plain(hits.expected), "n_missing": hits.n_missing,
        }  # fmt: skip


def nothing_passes(revision: Revision, question: Question, wanted: Wanted) -> dict[str, Any]:
    """The answer where a filter leaves no image, which a page on which filters are built by clicking shows as such."""
    return _empty(revision, question, wanted)


def _empty(revision: Revision, question: Question, wanted: Wanted) -> dict[str, Any]:
    gallery = revision.gallery
    return {
        "hits": [],
        "total": 0,
        "offset": wanted.offset,
        "next": None,
        "revision": revision.key,
        "seconds": 0.0,
        "exact": True,
        "expected": None,
        "n_missing": 0,
        "model": gallery.space.model,
        "n_images": len(gallery.items),
        "terms": list(question.shown),
        "matching": None,
    }


def _matching(matching: Matching | None) -> dict[str, Any] | None:
    if matching is None:
        return None
    return {**matching.to_dict(), "nothing": matching.nothing}
