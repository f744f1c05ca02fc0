"""Searching a gallery with text, images or both."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.boxes import Box
from zsretrieve.domain.errors import MissingRowsError, SourceError, UsageError
from zsretrieve.domain.filters import selection
from zsretrieve.domain.found import Explanation, Found, Matching, TermScore
from zsretrieve.domain.kinds import Effort, Expected, QueryKind
from zsretrieve.domain.queries import Query
from zsretrieve.domain.ranking import exact_scores
from zsretrieve.domain.records import Hit, Item
from zsretrieve.domain.vectors import Rows, Scores, Vectors
from zsretrieve.domain.wanted import Order, Wanted
from zsretrieve.encoders.image_sides import gallery_space
from zsretrieve.encoders.loading import Model
from zsretrieve.gallery.matching import Calibration, calibration
from zsretrieve.gallery.query_vectors import Aim, QueryVectors
from zsretrieve.images import opening
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.regions import RegionIndex

_log = logging.getLogger("zsretrieve")
_BLOCK = 256
_HITS_AT_ONCE = 1 << 24
# Rows whose scores are recomputed at once: at 512 dimensions these are 2 MB in float64, or that for each region.
_AT_ONCE = 512
# How many hits below the cut an explanation shows.
_BELOW = 3


def search(
    gallery: Gallery,
    queries: Sequence[Query],
    model: Model,
    wanted: Wanted,
    *,
    cached: bool = True,
    together: bool = False,
) -> list[Found]:
    """See ``api.search.search``.

    There are fewer than k hits for a query if the gallery has no more.
    """
    among = selected(gallery, wanted.where)
    check_recall(gallery, wanted)
    texts = model.texts(gallery_space(model, gallery.manifest), cached=cached, together=together)
    aims = QueryVectors(gallery, model, texts, wanted).aims(queries)
    known = None
    if any(map(_is_calibrated, aims)):
        try:
            known = calibration(gallery, model, texts, cached=cached, whole=wanted.whole)
        except MissingRowsError as error:  # it is of all images, also where a filter leaves those that are there
            if error.available is None:
                raise
    every = _Searched(gallery, among, wanted, known)
    searched = every
    while True:
        try:
            ranked = searched.ranked([aim for aim in aims if aim.vector is not None])
            return [
                every.browsed(query, aim) if aim.vector is None else searched.found(query, aim, *next(ranked))
                for query, aim in zip(queries, aims, strict=True)
            ]
        except MissingRowsError as error:
            if error.available is None:
                raise
            left = searched.among_available(error.available)
            if not left.size:
                raise
            searched = left


def _is_calibrated(aim: Aim) -> bool:
    """Whether unrelated texts say anything of the scores of a query: it is one text, as they are."""
    return len(aim.terms) == 1 and aim.terms[0].is_text and aim.terms[0].weight > 0


@dataclass(frozen=True)
class _Searched:
    """A gallery, the rows of it that pass the filter (None: all), and what is wanted.

    ``n_missing`` more pass it, which cannot be searched at the moment.
    """

    gallery: Gallery
    among: Rows | None
    wanted: Wanted
    known: Calibration | None
    n_missing: int = 0

    def among_available(self, rows: Rows) -> _Searched:
        """The same without the rows that cannot be searched, as if a filter had left them out.

        Whether anything matches is then not known.
        """
        left = rows if self.among is None else np.intersect1d(self.among, rows)
        return replace(self, among=left, known=None, n_missing=self.n_missing + self.size - len(left))

    @property
    def size(self) -> int:
        """How many rows are searched."""
        return len(self.gallery.index) if self.among is None else len(self.among)

    @property
    def _end(self) -> int:
        return self.wanted.offset + self.wanted.k

    @functools.cached_property
    def _is_away(self) -> Callable[[str], bool]:
        """Whether a file is there, looked up once for all queries."""
        return functools.cache(opening.is_away)

    def ranked(self, aims: Sequence[Aim]) -> Iterator[tuple[Rows, bool]]:
        """The best rows for each query, down to those that an answer needs; and whether every row was compared."""
        if not aims:
            return iter(())
        vectors = np.concatenate([aim.vector for aim in aims if aim.vector is not None])
        # Only by looking further it shows whether all that follows is a duplicate.
        needed = self._end + (_BELOW if self.wanted.explain else 0) + (self.wanted.dedup or self._by_date)
        return self._best(vectors, min(needed, self.size), aims)

    def _best(self, vectors: Vectors, k: int, aims: Sequence[Aim]) -> Iterator[tuple[Rows, bool]]:
        """For each vector the k best rows that are not the query's own and, with ``dedup``, not duplicates of a better
        one; and whether every row was compared.

        All vectors are searched in one product, or a few if that would be too many hits to hold; and again alone where
        too many of their rows are left out.
        """
        size = self.size
        # By date, it is the newest of near-duplicates that stays, which `_cut` chooses.
        near = None if self._by_date else self.wanted.alike
        first = min(size, (k if near is None else 2 * k) + max(len(aim.without) for aim in aims))
        at_once = max(1, _HITS_AT_ONCE // first)
        together = (
            found
            for start in range(0, len(vectors), at_once)
            for found in self._nearest(vectors[start : start + at_once], first, aims[start : start + at_once])
        )
        for number, (aim, (rows, is_exact)) in enumerate(zip(aims, together, strict=True)):
            reach, without = first, aim.without
            while True:
                if len(without):
                    rows = rows[~np.isin(rows, without)]
                kept = rows if near is None else rows[_distinct(self.gallery, rows, k, near)]
                if len(kept) >= k or reach == size:
                    yield kept[:k], bool(is_exact)
                    break
                reach = min(size, reach * 4)
                ((rows, is_exact),) = self._nearest(vectors[number : number + 1], reach, [aim])

    @property
    def _regions(self) -> RegionIndex | None:
        """What compares the regions of images, if they are to be compared."""
        return None if self.wanted.whole else self.gallery.regions

    def _nearest(self, vectors: Vectors, k: int, aims: Sequence[Aim]) -> Iterator[tuple[Rows, bool]]:
        """The best k rows for each vector, and whether every row was compared."""
        if self._regions is not None:
            nearest = self._regions.search(vectors, k, self.among)[1]
            return zip(nearest, np.ones(len(vectors), np.bool_), strict=True)
        efforts = [self._effort(aim.kind) for aim in aims]
        rows, is_exact = np.empty((len(vectors), k), np.int64), np.empty(len(vectors), np.bool_)
        for effort in dict.fromkeys(efforts):
            some = np.array([one == effort for one in efforts])
            found = self.gallery.nearest(vectors[some], k, self.among, exact=effort is None, effort=effort)
            rows[some], is_exact[some] = found
        return zip(rows, is_exact, strict=True)

    def _effort(self, kind: QueryKind) -> Effort | None:
        """By how much effort a kind of query is searched for; None if every row must be compared."""
        index, recall = self.gallery.approximate, self.wanted.recall
        # Everything of at least a score is found by comparing every row, so its beginning must be, too.
        if index is None or self.wanted.compares_all:
            return None
        if recall is None or index.made.tuning is None:
            return index.made.effort
        if index.made.tuning.has_outgrown(len(self.gallery.items)):
            return None
        return index.made.tuning.reaching(recall, kind)

    def _expected(self, kind: QueryKind) -> Expected | None:
        """What was measured of such a search; nothing was with a filter, which may leave what is harder to find."""
        index, effort = self.gallery.approximate, self._effort(kind)
        if index is None or effort is None or self.among is not None:
            return None
        return index.made.expected(effort, kind, len(self.gallery.items))

    def found(self, query: Query, aim: Aim, rows: Rows, is_exact: bool) -> Found:
        """The page of one query, from the beginning of its ranking."""
        wanted, scores = self.wanted, self._exact(aim, rows)
        matching = self._matching(aim, scores, is_exact=is_exact)
        total, cut = self.size - self._own(aim), len(rows)
        if self._by_date:
            least = wanted.min_score
            if least is None and matching is not None and not matching.nothing:
                least = matching.threshold
            rows = rows[: wanted.k] if least is None else self._at_least(aim, least)
            total, rows = len(rows), self._cut(self._newest(rows))
            scores, cut = self._exact(aim, rows), len(rows)
        elif wanted.min_score is not None:
            total, cut = self._count(aim, scores, wanted.min_score), int(np.count_nonzero(scores >= wanted.min_score))
        end = min(cut, self._end)
        more = cut > self._end if wanted.dedup or self._by_date else total > self._end
        shown = rows[wanted.offset : end]
        boxes, vectors = self._places(aim, shown)
        hits = self._hits(scores[wanted.offset : end].tolist(), shown, wanted.offset + 1, boxes)
        explanation = None
        if wanted.explain:
            below = slice(end, end if self._by_date else end + _BELOW)
            after = wanted.offset + len(hits) + 1
            rest = self._hits(scores[below].tolist(), rows[below], after, self._places(aim, rows[below])[0])
            explanation = Explanation(_term_scores(aim, vectors), rest)
        # It was measured among all images, so it says nothing of a part of them.
        expected = None if is_exact or self.n_missing else self._expected(aim.kind)
        return Found(
            hits, query, total, wanted.offset, self._end if more else None, self.gallery.revision, matching,
            explanation, is_exact and not self.n_missing, expected, self.n_missing,
        )  # fmt: skip

    def browsed(self, query: Query, aim: Aim) -> Found:
        """A page of all images, where there is nothing to rank by."""
        wanted = self.wanted
        if wanted.min_score is not None:
            raise UsageError("without a query there are no scores", hint="Give a query, or leave `min_score` out.")
        rows = np.arange(len(self.gallery.index)) if self.among is None else self.among
        rows = np.setdiff1d(rows, aim.without)
        total, rows = len(rows), self._cut(self._newest(rows) if self._by_date else rows)
        page = rows[wanted.offset : self._end]
        hits = self._hits([None] * len(page), page, wanted.offset + 1, [None] * len(page))
        more = len(rows) > self._end
        return Found(hits, query, total, wanted.offset, self._end if more else None, self.gallery.revision)

    @property
    def _by_date(self) -> bool:
        return self.wanted.order is Order.DATE

    def _matching(self, aim: Aim, scores: Scores, *, is_exact: bool) -> Matching | None:
        """What the best scores of a ranking say, of which there are enough for an answer."""
        if self.known is None or not _is_calibrated(aim) or not len(scores):
            return None
        threshold, best = self.known.threshold, float(scores[0])
        number = None
        if not is_exact:
            if scores[-1] < threshold:  # what was missed may match, too
                best_of_all = self._exact(aim, self._at_least(aim, min(best, threshold)))
                best, number = float(best_of_all.max()), int(np.count_nonzero(best_of_all >= threshold))
        elif self._by_date or scores[-1] < threshold or len(scores) == self.size - self._own(aim):
            number = self._count(aim, scores, threshold)
        return Matching(threshold, best, number, self.known.false_alarms, self.known.method)

    def _count(self, aim: Aim, scores: Scores, least: float) -> int:
        """How many images reach a score, near-duplicates included; ``scores`` are the best of the ranking."""
        is_all = not len(scores) or scores[-1] < least or len(scores) == self.size - self._own(aim)
        if scores.size and scores[0] < least:
            return 0
        if is_all and not self.wanted.dedup:
            return int(np.count_nonzero(scores >= least))
        return len(self._at_least(aim, least))

    def _exact(self, aim: Aim, rows: Rows) -> Scores:
        """The scores of some rows, which do not depend on how many queries are searched at once."""
        assert aim.vector is not None
        scores = np.empty(len(rows), dtype=np.float32)
        fetch = self.gallery.index.stored if self._regions is None else self._regions.bundles
        for start in range(0, len(rows), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            scores[part] = exact_scores(aim.vector, fetch(rows[part])[None])[0]
        return scores

    def _places(self, aim: Aim, rows: Rows) -> tuple[Sequence[Box | None], Vectors]:
        """Where each image fits, None for the whole, and the vector of what fits best."""
        if self._regions is None:
            return [None] * len(rows), self.gallery.index.stored(rows)
        assert aim.vector is not None
        return self._regions.best_places(aim.vector, rows, self.gallery.manifest.head.scale)

    def _own(self, aim: Aim) -> int:
        """How many of the rows to leave out would be searched."""
        if self.among is None or not len(aim.without):
            return len(aim.without)
        return len(np.intersect1d(aim.without, self.among))

    def _newest(self, rows: Rows) -> Rows:
        """Rows with the newest file first, ties in the order of the gallery."""
        return rows[np.lexsort((rows, -self.gallery.mtimes_ns[rows]))]

    def _cut(self, rows: Rows) -> Rows:
        """The first rows, without near-duplicates of an earlier one if they are unwanted, down to one after the page.

        That one shows whether there is a next page.
        """
        if self.wanted.alike is None:
            return rows[: self._end + 1]
        return rows[_distinct(self.gallery, rows, self._end + 1, self.wanted.alike)]

    def _at_least(self, aim: Aim, least: float) -> Rows:
        """The rows of at least a score that are not to be left out, ascending."""
        assert aim.vector is not None
        index = self.gallery.index if self._regions is None else self._regions
        rows = index.range_search(aim.vector, least, self.among)[2]
        return rows[~np.isin(rows, aim.without)] if len(aim.without) else rows

    def _hits(
        self, scores: Sequence[float | None], rows: Rows, first: int, boxes: Sequence[Box | None]
    ) -> tuple[Hit, ...]:
        gallery = self.gallery

        def hit(rank: int, score: float | None, item: Item, box: Box | None) -> Hit:
            path = gallery.path_of(item)
            if item.text is not None:
                return Hit(rank, item.id, path, score, text=item.text, image=gallery.image_of(item))
            return Hit(rank, item.id, path, score, self._is_away(path), box)

        found = zip(scores, rows.tolist(), boxes, strict=True)
        return tuple(
            hit(rank, score, gallery.items[row], box) for rank, (score, row, box) in enumerate(found, start=first)
        )


def _term_scores(aim: Aim, stored: Vectors) -> tuple[tuple[TermScore, ...], ...]:
    """The scores of each term with some vectors, float32 of shape (n, dim)."""
    scores = exact_scores(aim.vectors, np.broadcast_to(stored, (len(aim.terms), *stored.shape)))
    return tuple(
        tuple(
            TermScore(term.label, term.weight, score, share * score)
            for term, share, score in zip(aim.terms, aim.shares, column, strict=True)
        )
        for column in scores.T.tolist()
    )


def _distinct(gallery: Gallery, rows: Rows, k: int, near: float) -> NDArray[np.int64]:
    """The places of the first k of ``rows`` that are not duplicates of an earlier one that is kept."""
    kept: list[int] = []
    digests: set[str] = set()
    vectors = np.empty((min(k, len(rows)), gallery.index.dim), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = gallery.index.stored(rows[start : start + _BLOCK])
        repeats = np.any(_products(block, vectors[: len(kept)]) >= np.float32(near), axis=1)
        alike = _products(block, block) >= np.float32(near)
        for place in range(len(block)):
            digest = gallery.items[rows[start + place]].digest
            if repeats[place] or digest in digests:
                continue
            vectors[len(kept)] = block[place]
            kept.append(start + place)
            if len(kept) == k:
                return np.array(kept)
            repeats |= alike[place]
            if digest:
                digests.add(digest)
    return np.array(kept, dtype=np.int64)


def _products(one: Vectors, other: Vectors) -> Scores:
    return np.asarray(one.astype(np.float64) @ other.astype(np.float64).T, dtype=np.float32)


def check_recall(gallery: Gallery, wanted: Wanted) -> None:
    """Raise UsageError if a recall is wanted that was never measured; log if it was of what the gallery was before."""
    index = gallery.approximate
    if wanted.recall is None or wanted.compares_all or index is None:
        return
    if index.made.tuning is not None and index.made.tuning.has_outgrown(len(gallery.items)):
        _log.warning(
            "the gallery has changed by more than a tenth since its recall was measured, so all images are compared. "
            "Measure it again: zsretrieve index tune GALLERY"
        )
    if index.made.tuning is None:
        raise UsageError(
            "`recall` needs an index whose recall was measured, and none is stored for this one",
            hint="Measure it: zsretrieve index tune GALLERY; or compare every image with `exact`.",
        )


def selected(gallery: Gallery, where: str | None) -> Rows | None:
    """The rows that match a filter, ascending; None without a filter. Raises SourceError if the gallery is empty."""
    if not gallery.items:
        name = "the gallery" if gallery.folder is None else f"the gallery '{gallery.folder}'"
        raise SourceError(f"{name} is empty", hint="Add images to it with: zsretrieve index add")
    return selection(gallery.items, where)
