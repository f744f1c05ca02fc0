"""Kinds of index, named by their FAISS factory strings, and what a manifest says of an approximate one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from zsretrieve.domain.intervals import Interval
from zsretrieve.domain.plain import Result

FLAT, AUTO = "Flat", "auto"
# Comparing so many images takes a few hundredths of a second on two cores, which nobody notices.
FLAT_UP_TO = 200_000
# Of images that came later, an approximate index leaves this share to an exact search; more get parts of their own.
MOST_UNCOVERED = 0.1
# Beyond this share of images that it was not trained for, an approximate index is trained again: codebooks say little
# of images that are not like those they are of.
_MOST_UNSEEN = 1 / 3


def spelt(kind: str) -> str:
    """The name of a kind, with ``Flat`` and ``auto`` in any case."""
    return {FLAT.lower(): FLAT, AUTO: AUTO}.get(kind.lower(), kind)


class QueryKind(StrEnum):
    """What a query is made of: images alone, or also texts, whose neighbours are harder to find."""

    TEXTS = "texts"
    IMAGES = "images"


@dataclass(frozen=True)
class Effort(Result):
    """How much an approximate index looks at for a query.

    ``depth`` candidates are compared exactly; ``probes`` of its lists are searched, None if it has none; ``ef`` is the
    length of the list that a walk through a graph keeps, None if it is not a graph. If a filter leaves at most
    ``exact_below`` images, all of these are compared instead.
    """

    depth: int
    probes: int | None = None
    ef: int | None = None
    exact_below: int = 20_000


@dataclass(frozen=True)
class Recall(Result):
    """The share of the true k best that searches find, by queries of one kind.

    ``mean`` is over ``n`` queries that nothing was chosen by, with its ``interval``; one query in twenty finds ``p5``
    or less. ``reaches`` is the lower bound of the mean by the other queries, those that settings are chosen by: 1.96
    standard errors below, as if one more query had found nothing.
    """

    mean: float
    interval: Interval
    p5: float
    n: int
    reaches: float


@dataclass(frozen=True)
class Setting(Result):
    """An effort, what queries of each kind find by it, and the median time of a search in milliseconds."""

    effort: Effort
    texts: Recall
    images: Recall
    ms: float

    def of(self, kind: QueryKind) -> Recall:
        """The recall of one kind of query."""
        return self.texts if kind is QueryKind.TEXTS else self.images


@dataclass(frozen=True)
class Expected(Result):
    """The recall among the ``k`` best that tuning has measured for the effort of a search, and its kind of query."""

    queries: QueryKind
    k: int
    recall: Recall


@dataclass(frozen=True)
class Tuning(Result):
    """What ``index tune`` has measured: the recall among the ``k`` best of ``rows`` images, in ``measured`` UTC.

    It was tuned for a ``recall`` of texts, those of ``source``, and of images. ``ladder`` are settings of growing cost
    and recall. Since then ``changed`` images were added, replaced or removed.
    """

    recall: float
    k: int
    rows: int
    source: str
    measured: str
    ladder: tuple[Setting, ...]
    changed: int = 0

    def setting(self, effort: Effort) -> Setting | None:
        """What was measured of an effort, if anything was."""
        return next((one for one in self.ladder if one.effort == effort), None)

    def reaching(self, recall: float, kind: QueryKind) -> Effort | None:
        """The cheapest effort that reaches a recall for a kind of query; None if none does."""
        return next((one.effort for one in self.ladder if one.of(kind).reaches >= recall), None)

    def reaching_all(self, recall: float) -> Effort | None:
        """The cheapest effort that reaches a recall for queries of both kinds; None if none does."""
        low = ((one.effort, min(one.of(kind).reaches for kind in QueryKind)) for one in self.ladder)
        return next((effort for effort, reaches in low if reaches >= recall), None)

    def has_outgrown(self, count: int) -> bool:
        """Whether a gallery, of ``count`` images now, has changed by more than a tenth of its rows since, also by
        images that took the place of others, so that the recall may be another.
        """
        return max(self.changed, abs(count - self.rows)) > MOST_UNCOVERED * self.rows


@dataclass(frozen=True)
class Covered:
    """Rows of the segment ``name`` that a part of an approximate index holds: ``rows`` of them from ``start`` on."""

    name: str
    rows: int
    start: int = 0


@dataclass(frozen=True)
class Part:
    """A part of an approximate index: a file, relative to the index folder, and the rows in it, one after the other."""

    file: str
    covers: tuple[Covered, ...]

    @property
    def rows(self) -> int:
        """The rows it holds."""
        return sum(one.rows for one in self.covers)


@dataclass(frozen=True)
class Approximate:
    """An approximate index in a manifest.

    ``kind`` is the FAISS factory string. Its rows, also those that are not live, are numbered through its parts, which
    share what was trained when the gallery had ``trained`` images (0: unknown); ``added`` were added or replaced since.
    It was made within ``memory`` bytes. ``tuning`` is None until its recall is measured.
    """

    kind: str
    effort: Effort
    parts: tuple[Part, ...]
    trained: int = 0
    memory: int | None = None
    tuning: Tuning | None = None
    added: int = 0

    def is_stale(self, count: int) -> bool:
        """Whether more than a third of the ``count`` images of now are not of those that it was trained for."""
        return max(self.added, count - (self.trained or self.rows)) > _MOST_UNSEEN * count

    def for_recall(self, recall: float, count: int) -> Approximate | None:
        """The same with an effort that was measured to reach a recall among ``count`` images; None if there is none."""
        tuning = self.tuning
        if tuning is None or tuning.has_outgrown(count):
            return None
        own = tuning.setting(self.effort)
        if own is not None and min(own.of(kind).reaches for kind in QueryKind) >= recall:
            return self
        effort = tuning.reaching_all(recall)
        return None if effort is None else replace(self, effort=effort)

    def after(self, added: int, removed: int = 0) -> Approximate:
        """The same after images were added or replaced, and others removed."""
        tuning = self.tuning
        if tuning is not None:
            tuning = replace(tuning, changed=tuning.changed + added + removed)
        return replace(self, added=self.added + added, tuning=tuning)

    @property
    def rows(self) -> int:
        """The rows it holds."""
        return sum(part.rows for part in self.parts)

    @property
    def files(self) -> tuple[str, ...]:
        """The files of its parts."""
        return tuple(part.file for part in self.parts)

    @property
    def held(self) -> dict[str, int]:
        """How many rows it holds of each segment, by the segments' names."""
        held: dict[str, int] = {}
        for one in (one for part in self.parts for one in part.covers):
            held[one.name] = held.get(one.name, 0) + one.rows
        return held

    def expected(self, effort: Effort, queries: QueryKind, count: int) -> Expected | None:
        """What a search by an effort finds among all ``count`` images, if that was measured of such a gallery."""
        setting = None if self.tuning is None else self.tuning.setting(effort)
        if self.tuning is None or setting is None or self.tuning.has_outgrown(count):
            return None
        return Expected(queries, self.tuning.k, setting.of(queries))
