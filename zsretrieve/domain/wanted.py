"""What is wanted of a search, apart from the query."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from zsretrieve.domain.arguments import check_fields
from zsretrieve.domain.errors import RankError, UsageError
from zsretrieve.domain.settings import DEDUP_SCORE

DEFAULT_K = 10
# What each of the texts to stay away from weighs beside a query of weight 1, see docs/search.md.
MINUS = 0.5
# Rocchio 1971, with the weights of Manning, Raghavan and Schuetze 2008, Introduction to Information Retrieval, 9.1.1:
# what is liked says more than what is not.
ALPHA, BETA, GAMMA = 1.0, 0.75, 0.15


class Order(StrEnum):
    """The order of hits: best first, or the newest file first."""

    SCORE = "score"
    DATE = "date"


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a search, apart from the query.

    Parameters
    ----------
    k : int
        How many hits. There are fewer if there are fewer images to search.
    offset : int
        How many hits of the ranking to leave out before these, for the next page.
    where : str, optional
        Search only the images that match this filter, see ``zsretrieve.domain.filters``.
    dedup : bool
        Leave out hits that show the same image as a hit before them, in the order of the hits: equal files, or a score
        between the two of at least ``near``.
    near : float, optional
        With ``dedup``; 0.98 by default.
    min_score : float, optional
        Leave out hits below this score.
    order : Order or str
        ``date`` puts the newest file first, of the hits that matter: those of at least ``min_score``, or else those
        that reach the threshold of ``Hits.matching``, or else the first k.
    more, less : sequence of int
        IDs of images that the hits should be like, and unlike. What is in ``less`` is not among the hits.
    minus : sequence of str
        Queries to stay away from; each is subtracted at half of its weight.
    exif : bool, optional
        Turn query images upright by their EXIF orientation; by default as the gallery's were.
    literal : bool
        Treat the query, and what is in ``minus``, as plain text (no +, -, weights or IDs).
    explain : bool
        Give the reasons of each hit in ``Hits.explanation``.
    exact : bool
        Compare every image, also where the gallery has an approximate index, which may miss a few.
    recall : float, optional
        The share of the best that an approximate index should find, at most 1: the cheapest settings that reach it for
        the kind of query, as ``tune_index`` has measured. All images are compared where no settings do.
    whole : bool
        Compare whole images alone, also where the gallery has regions.
    files : bool
        Let text name files, folders and addresses. Without, it never does, as for the queries of strangers; terms
        that are paths still do.

    Raises
    ------
    RankError
        If k is below 1, ``offset`` below 0, ``near`` out of range, or ``min_score`` not from -1 to 1.
    UsageError
        If ``near`` is given without ``dedup``, an ID is both in ``more`` and ``less``, ``recall`` is not a share or is
        given with ``exact``, or a value has another type.
    """

    k: int = DEFAULT_K
    offset: int = 0
    where: str | None = None
    dedup: bool = False
    near: float | None = None
    min_score: float | None = None
    order: Order = Order.SCORE
    more: tuple[int, ...] = ()
    less: tuple[int, ...] = ()
    minus: tuple[str, ...] = ()
    exif: bool | None = None
    literal: bool = False
    explain: bool = False
    files: bool = True
    exact: bool = False
    recall: float | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        for name in ("more", "less", "minus"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(dict.fromkeys(value)) if isinstance(value, list | tuple) else value)
        if self.order in [*Order]:
            object.__setattr__(self, "order", Order(self.order))
        check_fields(self)
        from zsretrieve.domain.ranking import check_k, check_near  # numpy, which no help needs

        check_k(self.k, max(self.k, 1), "images")
        if self.offset < 0:
            raise RankError(f"the offset is {self.offset}, but must be at least 0", hint="Give an offset of 0 or more.")
        if self.near is not None:
            if not self.dedup:
                raise UsageError("`near` has no effect without `dedup`", hint="Add `dedup`, or leave `near` out.")
            check_near(self.near)
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise RankError(
                f"the lowest score is {self.min_score}, but scores are from -1 to 1", hint="Give one such as 0.25."
            )
        if self.recall is not None and not 0 < self.recall <= 1:
            raise UsageError(
                f"the recall is {self.recall:g}, but must be above 0 and at most 1", hint="Give one such as 0.9."
            )
        if self.recall is not None and self.exact:
            raise UsageError("`recall` has no effect with `exact`, which finds all", hint="Leave one of them out.")
        if both := set(self.more) & set(self.less):
            raise UsageError(
                f"the image {min(both)} is both among the liked and the disliked", hint="Leave it out of one of them."
            )

    @property
    def alike(self) -> float | None:
        """The score at which two hits count as the same; None unless duplicates are left out."""
        return (DEDUP_SCORE if self.near is None else self.near) if self.dedup else None

    @property
    def compares_all(self) -> bool:
        """Whether every image must be compared: that is wanted, or less would not do."""
        return self.exact or self.recall == 1 or self.min_score is not None or self.order is Order.DATE

    @property
    def has_feedback(self) -> bool:
        return bool(self.more or self.less)
