"""Two halves of labelled pictures: one to choose on, the other to tell the score on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from zsretrieve.errors import SourceError
from zsretrieve.records import Item
from zsretrieve.vectors import Rows
from zsretrieve.verbs.labelled import Labelled


@dataclass(frozen=True, eq=False)
class Halves:
    """Which of labelled pictures are in which half.

    Attributes
    ----------
    selecting, reporting : int64 of shape (n,)
        Rows of the labelled pictures, ascending; together all of them, and none twice.
    items : tuple of Item
        Those of all rows.
    seed : int
    digests : pair of str
        The sha256 of the two lists of pictures, each by its id, path, class and content: who draws the halves again can
        tell that they are the same.
    """

    selecting: Rows
    reporting: Rows
    items: tuple[Item, ...]
    seed: int
    digests: tuple[str, str]


def halves(labelled: Labelled, seed: int = 0) -> Halves:
    """Deal the pictures of each class to two halves by a seed.

    Pictures of equal content stay together, since the half that is reported on must not be seen while choosing. So the
    halves of a class differ by one picture, or by more where it holds copies. The odd pictures of all classes are dealt
    so that the halves themselves are of like size.

    Raises
    ------
    SourceError
        If one half would be empty, or the seed is negative.
    """
    if seed < 0:
        raise SourceError(f"the seed {seed} is negative", hint="Give 0 or more.")
    rng = np.random.default_rng(seed)
    half_of = np.zeros(len(labelled.truth), dtype=np.int8)
    by_content: dict[str, int] = {}
    sizes = [0, 0]
    shuffled = rng.permutation(len(labelled.truth))
    by_class = shuffled[np.argsort(labelled.truth[shuffled], kind="stable")]
    here, of = [0, 0], -1
    for row in by_class:
        if labelled.truth[row] != of:
            here, of = [0, 0], int(labelled.truth[row])
        content = labelled.items[row].digest
        less = int(here[1] < here[0]) if here[0] != here[1] else int(sizes[1] < sizes[0])
        half = by_content.setdefault(content, less) if content else less
        half_of[row] = half
        here[half] += 1
        sizes[half] += 1
    if not all(sizes):
        raise SourceError(
            f"{len(labelled.truth)} labelled images cannot be halved: a half would be empty",
            hint="Use a gallery with at least two different labelled images.",
        )
    selecting, reporting = np.flatnonzero(half_of == 0), np.flatnonzero(half_of == 1)
    digests = _digest(labelled, selecting), _digest(labelled, reporting)
    return Halves(selecting, reporting, labelled.items, seed, digests)


def _digest(labelled: Labelled, rows: Rows) -> str:
    listed = [
        [labelled.items[row].id, labelled.items[row].path, int(labelled.truth[row]), labelled.items[row].digest]
        for row in rows
    ]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
