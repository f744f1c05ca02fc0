"""What searches of a gallery on shards may answer while some of them are missing."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from zsretrieve.cluster.sharded import cuts_of
from zsretrieve.domain.ports import SearchIndex
from zsretrieve.domain.vectors import Rows, Vectors


class PartialAnswers:
    """The k best rows for each query among those of all shards, and of all but any one to three of them.

    Parameters
    ----------
    index : SearchIndex
        All rows, in this process.
    queries : float32 of shape (n, dim), unit rows
    k : int
    shards : int
        Four or more.
    """

    def __init__(self, index: SearchIndex, queries: Vectors, k: int, shards: int) -> None:
        cuts = cuts_of(len(index), shards)
        self._rows: defaultdict[int, list[Rows]] = defaultdict(list)
        for lost in range(4):
            for gone in itertools.combinations(range(shards), lost):
                is_there = np.ones(len(index), np.bool_)
                for shard in gone:
                    is_there[cuts[shard] : cuts[shard + 1]] = False
                left = np.flatnonzero(is_there)
                self._rows[len(index) - len(left)].append(index.search(queries, k, left)[1])

    def has(self, number: int, n_missing: int, rows: Sequence[int]) -> bool:
        """Whether these may be the rows for a query, of which so many could not be compared."""
        return any(list(rows) == found[number].tolist() for found in self._rows[n_missing])
