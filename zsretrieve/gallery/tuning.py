"""Finding the cheapest effort by which an approximate index finds a share of the best, for texts above all.

A text is not near any image, so that an index which finds 95 % of the neighbours of images finds 79 to 86 % of those of
texts (docs/index-kinds.md). So an effort must find enough for texts, too, and recall is stated for each kind of query.
One half of the queries chooses and the other half states, since what was chosen for its recall looks better than it is.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import IndexBusyError, UsageError
from zsretrieve.domain.intervals import Interval
from zsretrieve.domain.kind_names import parsed
from zsretrieve.domain.kinds import FLAT_UP_TO, Approximate, Effort, QueryKind, Recall, Setting, Tuning
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.tuning import Goal, Tried, Tuned
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.metrics.intervals import bootstrap_mean
from zsretrieve.store.approximate import PER_HIT, ApproximateSearch
from zsretrieve.store.folder import now, writing
from zsretrieve.store.indexes import Gallery, gallery_vectors
from zsretrieve.store.manifest import shown

# What --recall may ask for, apart from what the index is tuned for.
_LEVELS = (0.8, 0.9, 0.95, 0.98, 0.99)
# A page of so many hits is still asked of the index, so no depth is less than it needs; the web page shows 60.
_PAGE = 64
# Depths in units of the least; beyond, more bits in the codes cost less than more candidates.
_MULTIPLES = (1, 1.5, 2, 3, 4, 6, 8, 12, 16)
# If twice the effort finds no more than this, the codes are the limit.
_NO_GAIN = 0.0005
_SEED = 0
_AT_ONCE = 256
_ROUNDS = 11
# One-sided, 97.5 %.
_Z = 1.96
# So many rows that score just as the last of the k best are as good as that, such as copies of an image.
_TIES = 100
_NO_ROW = -2
# In a manifest; bounds are rounded down.
_DIGITS, _STEPS = 4, 10_000

OfQueries = NDArray[np.float64]
# A level may be wanted of one kind of query, and what an index is tuned for is wanted of both.
_BOTH = tuple(QueryKind)
_WANTED = (*((kind,) for kind in QueryKind), _BOTH)


@dataclass(frozen=True)
class _Queries:
    """Queries of one kind and their exact neighbours, in an order of chance.

    ``vectors`` are float32 of shape (n, dim), ``best`` the rows of the k best and others that score just as the last of
    these, int64 of shape (n, k + ties), -2 where there is none; ``sure`` of these score higher, int64 of shape (n,).
    ``own`` are the rows that the queries are themselves, int64 of shape (n,); -1 for none.
    """

    vectors: Vectors
    best: Rows
    sure: Rows
    own: Rows

    def places(self, index: ApproximateSearch, k: int, effort: Effort) -> Rows:
        """The places of k of the best rows, int64 of shape (n, k), see ``ApproximateSearch.places``; among those that
        score the same, of the ones that are found first.
        """
        places = np.empty((len(self.vectors), k), np.int64)
        is_tied = self.best[:, k] != _NO_ROW
        for some, width in ((np.flatnonzero(~is_tied), k), (np.flatnonzero(is_tied), self.best.shape[1])):
            for start in range(0, len(some), _AT_ONCE):
                part = some[start : start + _AT_ONCE]
                of = index.places(self.vectors[part], self.best[part, :width], self.own[part], effort)
                for row, sure in zip(of, self.sure[part], strict=True):
                    row[sure:].sort()
                places[part] = of[:, :k]
        return places


@dataclass(frozen=True)
class _Look:
    """What an index finds by an effort of great depth, and by the same with any smaller depth.

    ``places`` are those of the k best of each query, int64 of shape (n, k), as ``_Queries.places`` has them.
    """

    effort: Effort
    places: Mapping[QueryKind, Rows]

    def found(self, depth: int, kind: QueryKind, first: int) -> OfQueries:
        """The share of the k best that every other query finds, from the first (0) or the second (1) on."""
        found: OfQueries = (self.places[kind][first::2] <= depth).mean(axis=1)
        return found

    def reaches(self, depth: int, *kinds: QueryKind) -> float:
        """The lower bound of the mean over queries of each kind, by the half that chooses."""
        low = min(_low(self.found(depth, kind, 0)) for kind in kinds)
        return math.floor(max(low, 0.0) * _STEPS) / _STEPS

    def recall(self, depth: int, kind: QueryKind) -> Recall:
        """What the other half finds."""
        found = self.found(depth, kind, 1)
        interval = bootstrap_mean(found)
        return Recall(
            mean=_rounded(found.mean()),
            interval=Interval(
                _rounded(min(interval.low, max(_low(found), 0.0))), _rounded(interval.high), interval.level
            ),
            p5=_rounded(np.quantile(found, 0.05, method="inverted_cdf")),
            n=len(found),
            reaches=self.reaches(depth, kind),
        )


@dataclass(frozen=True)
class _Option:
    """A depth of a look, with the median time of a search in milliseconds once that is measured."""

    look: _Look
    depth: int
    ms: float = 0.0

    @property
    def effort(self) -> Effort:
        return replace(self.look.effort, depth=self.depth)

    @property
    def work(self) -> tuple[int, int, int]:
        """What it looks at: candidates, lists, and the list of a walk; 0 for what there is none of."""
        return self.depth, self.look.effort.probes or 0, self.look.effort.ef or 0

    def looks_at_no_more(self, other: _Option) -> bool:
        return all(own <= others for own, others in zip(self.work, other.work, strict=True))

    def reaches(self, *kinds: QueryKind) -> float:
        return self.look.reaches(self.depth, *kinds)


def _low(found: OfQueries) -> float:
    """The lower bound of a mean, in the normal approximation, as if one more query had found nothing.

    Without that query, some hundreds that all find everything would have no error, whatever rare ones lose.
    """
    one_more = np.append(found, 0.0)
    return float(one_more.mean() - _Z * one_more.std(ddof=1) / math.sqrt(len(one_more)))


def tune(gallery: Gallery, texts: Vectors, source: str, goal: Goal, on_stage: OnStage | None = None) -> Tuned:
    """What ``api.kinds.tune_index`` finds; nothing is written.

    Parameters
    ----------
    gallery : Gallery
    texts : float32 of shape (n, dim), unit rows
    source : str
        What the texts are.
    goal : Goal
    on_stage : callable, optional

    Raises
    ------
    UsageError
        If the gallery is exact or too small, there are too few texts, or no effort reaches the recall.
    IndexBusyError
        If a writer has replaced the index meanwhile.
    """
    index = check(gallery, goal)
    if len(texts) < goal.least_queries:
        raise UsageError(
            f"{len(texts)} distinct texts are too few to measure a recall of {goal.recall:g}",
            hint=f"Give {goal.least_queries:,} or more, or leave `texts` out to use the bundled ones.",
        )
    depths = _depths(index.covered, goal.k)
    lists = parsed(index.made.kind, gallery.manifest.dim).parts.lists
    queries = _queries(gallery, texts, goal, on_stage)
    looks = _looks(index, list(_growing(index.made.effort, lists, depths)), queries, goal, on_stage)
    options = _options(looks, depths, goal)
    if not any(one.reaches(*_BOTH) >= goal.recall for one in options):
        raise _not_reached(index.made.kind, gallery.manifest.dim, looks, goal)
    timed = _timed(index, options, texts, goal.k, on_stage)
    picks = {
        next((one.effort for one in timed if one.reaches(*kinds) >= level), None)
        for kinds in _WANTED
        for level in _levels(goal)
    }
    ladder = tuple(_setting(one) for one in timed if one.effort in picks)
    tuning = Tuning(goal.recall, goal.k, len(gallery.items), source, now(), ladder)
    chosen = next(one.effort for one in timed if one.reaches(*_BOTH) >= goal.recall)
    return Tuned(index.made.kind, chosen, tuning, tuple(map(_tried, timed)))


def check(gallery: Gallery, goal: Goal) -> ApproximateSearch:
    """The approximate index of a gallery, if it can be tuned. Raises UsageError, before anything is encoded."""
    _depths(len(gallery.items), goal.k)
    if gallery.approximate is None:
        is_small = len(gallery.items) <= FLAT_UP_TO  # so that auto would stay exact
        raise UsageError(
            "the gallery is searched exactly, which finds everything, so there is nothing to tune",
            hint=f"Give it an approximate index first: zsretrieve index kind GALLERY {'SQ8' if is_small else 'auto'}",
        )
    _depths(gallery.approximate.covered, goal.k)
    return gallery.approximate


def keep(out: Path, measured: Approximate, tuned: Tuned) -> None:
    """Store what tuning has found in the manifest of a gallery.

    Raises
    ------
    IndexBusyError
        If the index that was measured was replaced meanwhile.
    IndexFormatError, IntegrityError, IndexFolderError
        If the gallery is not sound, or cannot be written.
    """
    with writing(out) as writer:
        manifest, _ = gallery_vectors(writer)
        made = manifest.approximate
        if made is None or (made.kind, made.parts) != (measured.kind, measured.parts):
            raise IndexBusyError(
                f"the index of '{shown(out)}' was replaced while it was measured", hint="Run the command again."
            )
        tuning = replace(tuned.tuning, changed=made.added - measured.added)
        writer.commit(replace(manifest, approximate=replace(made, effort=tuned.chosen, tuning=tuning)))


def _levels(goal: Goal) -> list[float]:
    return sorted({*_LEVELS, goal.recall})


def _depths(rows: int, k: int) -> list[int]:
    """The depths to try. Raises UsageError if the index has too few rows for that."""
    least = PER_HIT * max(k, _PAGE)
    depths = [depth for multiple in _MULTIPLES if (depth := round(multiple * least)) <= rows // 4]
    if not depths:
        raise UsageError(
            f"an index of {rows:,} images is too small to tune for the {k} best: it takes {4 * least:,}",
            hint="Use the index kind Flat, which is exact and fast enough for so few.",
        )
    return depths


def _growing(own: Effort, lists: int | None, depths: Sequence[int]) -> Iterator[Effort]:
    """Efforts of the greatest depth, each about 1.4 times the one before in what else limits the search."""
    if own.ef is not None:
        for depth in depths:
            yield replace(own, depth=depth, ef=depth)
    elif lists is None:
        yield replace(own, depth=depths[-1])
    else:
        probes = (min(lists, round(2 ** (half / 2))) for half in range(2 * lists.bit_length() + 1))
        for number in dict.fromkeys(probes):
            yield replace(own, depth=depths[-1], probes=number)


def _queries(gallery: Gallery, texts: Vectors, goal: Goal, on_stage: OnStage | None) -> dict[QueryKind, _Queries]:
    """Some texts, and some images of the gallery, which are left out of what is found for them."""
    rng = np.random.default_rng(_SEED)
    some = rng.permutation(len(texts))
    rows = rng.permutation(len(gallery.items))[: goal.n_queries]
    vectors = {QueryKind.TEXTS: texts[some], QueryKind.IMAGES: gallery.index.stored(rows)}
    own = {QueryKind.TEXTS: np.full(len(some), -1), QueryKind.IMAGES: rows}
    total, done = len(some) + len(rows), 0
    queries = {}
    for kind in QueryKind:
        best = np.empty((len(vectors[kind]), goal.k + _TIES), np.int64)
        sure = np.empty(len(best), np.int64)
        for start in range(0, len(best), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            scores, found = gallery.index.search(vectors[kind][part], best.shape[1] + 1)
            # Among many copies of an image it need not be in front; then one of them is left out for it.
            is_own = found == own[kind][part, None]
            is_own[~is_own.any(axis=1), -1] = True
            scores, rows_found = (of[~is_own].reshape(-1, best.shape[1]) for of in (scores, found))
            last = scores[:, goal.k - 1, None]
            best[part] = np.where(scores >= last, rows_found, _NO_ROW)
            sure[part] = np.count_nonzero(scores > last, axis=1)
            done += len(found)
            if on_stage is not None:
                on_stage("finding exact neighbours", done, total)
        queries[kind] = _Queries(vectors[kind], best, sure, own[kind])
    return queries


def _looks(
    index: ApproximateSearch,
    efforts: Sequence[Effort],
    queries: Mapping[QueryKind, _Queries],
    goal: Goal,
    on_stage: OnStage | None,
) -> list[_Look]:
    """What growing efforts find, until nothing more is gained or needed."""
    looks: list[_Look] = []
    for number, effort in enumerate(efforts):
        if on_stage is not None:
            on_stage("measuring recall", number, len(efforts))
        places = {kind: of.places(index, goal.k, effort) for kind, of in queries.items()}
        looks.append(_Look(effort, places))
        if looks[-1].reaches(effort.depth, *_BOTH) >= _levels(goal)[-1]:
            break
        if len(looks) > 2 and all(_gain(looks[-3], looks[-1], kind) < _NO_GAIN for kind in QueryKind):
            break
    if on_stage is not None:
        on_stage("measuring recall", len(efforts), len(efforts))
    return looks


def _gain(before: _Look, after: _Look, kind: QueryKind) -> float:
    return float(after.found(after.effort.depth, kind, 0).mean() - before.found(before.effort.depth, kind, 0).mean())


def _options(looks: Sequence[_Look], depths: Sequence[int], goal: Goal) -> list[_Option]:
    """What may be the cheapest way to a level: for each depth the first look that reaches it, unless a smaller depth
    needs no more.
    """
    options: dict[Effort, _Option] = {}
    for kinds in _WANTED:
        for level in _levels(goal):
            most = len(looks)
            for depth in depths:
                for number, look in enumerate(looks[:most]):
                    if depth <= look.effort.depth and look.reaches(depth, *kinds) >= level:
                        option = _Option(look, depth)
                        options.setdefault(option.effort, option)
                        most = number
                        break
    return list(options.values())


def _timed(
    index: ApproximateSearch, options: Sequence[_Option], texts: Vectors, k: int, on_stage: OnStage | None
) -> list[_Option]:
    """The options with the median time of a search for one text, in turns, the quickest first."""
    seconds: list[list[float]] = [[] for _ in options]
    for turn in range(_ROUNDS + 1):
        for option, taken in zip(options, seconds, strict=True):
            start = time.perf_counter()
            index.search(texts[turn : turn + 1], k, effort=option.effort)
            taken.append(time.perf_counter() - start)
        if on_stage is not None:
            on_stage("measuring time", turn, _ROUNDS)
    # The first turn reads into memory what the others find there.
    medians = [round(1000 * statistics.median(taken[1:]), 3) for taken in seconds]
    timed = [replace(option, ms=ms) for option, ms in zip(options, medians, strict=True)]
    # What looks at less in every respect takes no longer; if it was measured otherwise, the machine was disturbed.
    timed = [replace(one, ms=min(other.ms for other in timed if one.looks_at_no_more(other))) for one in timed]
    return sorted(timed, key=lambda one: (one.ms, *one.work))


def _setting(option: _Option) -> Setting:
    texts, images = (option.look.recall(option.depth, kind) for kind in (QueryKind.TEXTS, QueryKind.IMAGES))
    return Setting(option.effort, texts, images, option.ms)


def _tried(option: _Option) -> Tried:
    texts, images = (option.look.found(option.depth, kind, 1).mean() for kind in (QueryKind.TEXTS, QueryKind.IMAGES))
    return Tried(option.effort, _rounded(texts), _rounded(images), option.ms)


def _rounded(number: float | np.floating[Any]) -> float:
    return round(float(number), _DIGITS)


def _not_reached(kind: str, dim: int, looks: Sequence[_Look], goal: Goal) -> UsageError:
    best = {one: max(look.reaches(look.effort.depth, one) for look in looks) for one in QueryKind}
    worst = min(best, key=best.__getitem__)
    lists = parsed(kind, dim).parts.lists
    first = "" if lists is None else f"IVF{lists},"
    finer = [f"{first}PQ{dim // 2}x4fsr"] if lists is not None and dim % 2 == 0 else []
    finer = [one for one in (*finer, f"{first}SQ8", "Flat") if one != kind][:2]
    return UsageError(
        f"no setting of the kind '{kind}' has a recall of {goal.recall:g} for {worst}; the best has {best[worst]:g}",
        hint=f"Try another kind, such as {' or '.join(finer)}: zsretrieve index kind GALLERY {finer[0]}",
    )
