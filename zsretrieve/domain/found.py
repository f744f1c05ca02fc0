"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass

from zsretrieve.domain.kinds import Expected
from zsretrieve.domain.plain import Result
from zsretrieve.domain.queries import Query
from zsretrieve.domain.records import Hit, Prediction
from zsretrieve.domain.wording import apart


@dataclass(frozen=True)
class Matching(Result):
    """Whether anything in the gallery seems to match a query of text.

    ``threshold`` is the score that the best hit of a share ``false_alarms`` of unrelated texts reaches in this gallery,
    by ``method``. ``best`` is the highest score of the query. ``n`` is the number of images of the whole ranking that
    reach the threshold, None if they were not counted.
    """

    threshold: float
    best: float
    n: int | None
    false_alarms: float
    method: str

    @property
    def nothing(self) -> bool:
        """Whether nothing seems to match."""
        return self.best < self.threshold

    @property
    def warning(self) -> str | None:
        """The sentence for people that says that nothing seems to match."""
        if not self.nothing:
            return None
        best, threshold = apart(self.best, self.threshold)
        return (
            f"nothing in this gallery seems to match: the best score, {best}, is below {threshold}, which "
            f"{100 * self.false_alarms:.0f} % of unrelated texts reach"
        )


@dataclass(frozen=True)
class TermScore(Result):
    """The score of a hit with one term of the query; ``part`` is what that adds to the score of the hit."""

    label: str
    weight: float
    score: float
    part: float


@dataclass(frozen=True)
class Explanation:
    """The reasons of hits: ``terms[i]`` and ``classes[i]`` belong to hit i.

    ``classes`` are the nearest classes of each, empty without prototypes; ``below`` are the next hits of the ranking.
    """

    terms: tuple[tuple[TermScore, ...], ...]
    below: tuple[Hit, ...]
    classes: tuple[tuple[Prediction, ...], ...] = ()


@dataclass(frozen=True)
class Found:
    """A page of a ranking, and what is known of the whole.

    ``total`` is the number of images that were ranked: of those that pass the filter, without the query's own and the
    disliked ones, those of at least the lowest score; near-duplicates are left out later and count. ``next`` is the
    offset of the next page, None after the last. ``revision`` identifies the content of the gallery: with the same one,
    pages fit together. ``is_exact`` is whether every image was compared; an approximate index may miss some, and then
    the pages of a ranking may overlap; ``expected`` is then the share of the best that it finds for this kind of query,
    None if that was never measured. ``matching`` and ``explanation`` are None where they do not apply or were not
    asked for. ``n_missing`` images that pass the filter were not compared, since the machines that hold them do not
    answer; ``total`` is without them.
    """

    hits: tuple[Hit, ...] = ()
    query: Query | None = None
    total: int = 0
    offset: int = 0
    next: int | None = None
    revision: str = ""
    matching: Matching | None = None
    explanation: Explanation | None = None
    is_exact: bool = True
    expected: Expected | None = None
    n_missing: int = 0
