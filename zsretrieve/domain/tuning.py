"""What an approximate index is tuned for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from zsretrieve.domain.arguments import check_fields
from zsretrieve.domain.errors import RankError, UsageError
from zsretrieve.domain.kinds import Effort, Tuning
from zsretrieve.domain.plain import Result, Table
from zsretrieve.domain.wanted import DEFAULT_K

RECALL = 0.95
# Of each kind, half of them to choose by: among the other 1,000 a mean of 0.95 has an error of about 0.004.
QUERIES = 2000
# Fewer say little: among 100, a mean of 0.95 has an error of 0.012.
LEAST_QUERIES = 200
# If all of n queries find everything, the mean is 1 - 3 / n or more, with a confidence of 95 % (the rule of three:
# Hanley and Lippman-Hand 1983, JAMA 249, 1743-1745).
_RULE = 3


@dataclass(frozen=True)
class Goal:
    """What to tune for: the ``recall`` of texts and of images among the ``k`` best, by at most ``n_queries`` of each.

    Raises
    ------
    RankError
        If k is below 1.
    UsageError
        If the recall is not between 0 and 1, there are too few queries for it, or a value has another type.
    """

    recall: float = RECALL
    k: int = DEFAULT_K
    n_queries: int = QUERIES

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.recall < 1:
            raise UsageError(
                f"the recall is {self.recall:g}, but must be between 0 and 1",
                hint="Give one such as 0.95; to find all, use the index kind Flat, or search with `exact`.",
            )
        if self.k < 1:
            raise RankError(f"k is {self.k}, but must be at least 1", hint="Give 1 or more.")
        if self.n_queries < self.least_queries:
            raise UsageError(
                f"{self.n_queries} queries are too few to measure a recall of {self.recall:g}",
                hint=f"Use {self.least_queries:,} or more; {QUERIES} are usual.",
            )

    @property
    def least_queries(self) -> int:
        """The least number of queries of a kind, half of which can show such a recall."""
        return max(LEAST_QUERIES, 2 * math.ceil(_RULE / (1 - self.recall)))


@dataclass(frozen=True)
class Tried(Result):
    """An effort that was tried: the mean recall of each kind of query, and the median milliseconds of a search."""

    effort: Effort
    texts: float
    images: float
    ms: float


@dataclass(frozen=True)
class Tuned(Result, Table):
    """What tuning has found: the ``chosen`` effort, what the manifest keeps, and every effort whose time was measured,
    from the quickest to the slowest.
    """

    kind: str
    chosen: Effort
    tuning: Tuning
    tried: tuple[Tried, ...]

    def __repr__(self) -> str:
        setting = self.tuning.setting(self.chosen)
        assert setting is not None
        return f"Tuned({self.kind}, {self.chosen}, texts {setting.texts.mean:.3f}, images {setting.images.mean:.3f})"

    def rows(self) -> list[dict[str, object]]:
        """One row for each effort that was tried."""
        return [
            {
                "depth": one.effort.depth, "probes": one.effort.probes, "ef": one.effort.ef,
                "texts": one.texts, "images": one.images, "ms": one.ms,
            }
            for one in self.tried
        ]  # fmt: skip
