"""Which labelled pictures train and which are scored: drawn by what the files hold, not by where they stand.

A picture is known by the digest of its file, so that equal files, under whatever names, are one picture: it counts
once, and never trains and is scored at once. The order of drawing is that of sha256 over seed and digest. It depends
neither on the order of a gallery nor on what else is in it, and fewer shots of a seed are among its more shots.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import SourceError
from zsretrieve.records import PromptSet
from zsretrieve.store.indexes import Digests, Prototypes
from zsretrieve.vectors import Rows
from zsretrieve.verbs.labelled import Labelled

_SHOWN = 5
# Of fixed length, so that the zeros which numpy strips from its end tell nothing.
_DIGEST = np.dtype("S32")


@dataclass(frozen=True, eq=False)
class Draw:
    """Pictures drawn for training.

    Attributes
    ----------
    rows : int64 of shape (n,)
        Of the labelled pictures; class by class, and within a class in the order they were drawn in.
    fewer : tuple of str
        Classes that had fewer pictures than were asked for.
    empty : tuple of int
        Ids of the classes that had none.
    """

    rows: Rows
    fewer: tuple[str, ...]
    empty: tuple[int, ...]


def identities(labelled: Labelled) -> Digests:
    """What each picture is known by: the sha256 of its file, or where that is not known, of its path.

    Returns
    -------
    uint8 of shape (n, 32)
    """
    found = b"".join(
        bytes.fromhex(item.digest) if item.digest else hashlib.sha256(b"path\0" + os.fsencode(path)).digest()
        for item, path in zip(labelled.items, labelled.paths, strict=True)
    )
    return np.frombuffer(found, dtype=np.uint8).reshape(len(labelled.items), 32)


def draw(labelled: Labelled, shots: int | None, seed: int, *, allow_fewer: bool = False, fill: bool = False) -> Draw:
    """Draw as many different pictures of every class.

    Parameters
    ----------
    labelled : Labelled
    shots : int or None
        Pictures of each class; None takes all.
    seed : int
        Equal seeds draw equal pictures.
    allow_fewer : bool
        Take all of a class that has fewer.
    fill : bool
        Let a class have none, since something else stands for it.

    Raises
    ------
    SourceError
        If a class has none, or fewer than asked for, unless that is allowed.
    """
    order = drawing_order(labelled, f"shots {seed}")
    kept = order[_places(labelled.truth[order]) < (shots or len(order))]
    names = labelled.prompts.class_names
    counts = np.bincount(labelled.truth[order], minlength=len(names))
    check_counts(counts, labelled.prompts, shots, allow_fewer=allow_fewer, fill=fill)
    fewer = tuple(names[c] for c in np.flatnonzero((counts > 0) & (counts < (shots or 0))))
    return Draw(kept, fewer, tuple(int(c) for c in np.flatnonzero(counts == 0)))


def check_counts(
    counts: NDArray[np.int64], prompts: PromptSet, shots: int | None, *, allow_fewer: bool, fill: bool
) -> None:
    """Raise SourceError if classes with so many pictures do not give as many as are asked for; see ``draw``."""
    if shots is not None and shots < 1:
        raise SourceError(f"{shots} shots are none", hint="Ask for 1 image of each class or more.")
    names = prompts.class_names
    empty = np.flatnonzero(counts == 0)
    if len(empty) and not fill:
        raise SourceError(
            f"{_count(len(empty), 'class has', 'classes have')} no image to train on: {_some(names, empty)}",
            hint="Give images of every class, or only classes that have images; where prototypes are means, text "
            "prototypes may stand for a class with --mix.",
        )
    fewer = np.flatnonzero((counts < (shots or 0)) & (counts > 0))
    if len(fewer) and not allow_fewer:
        told = ", ".join(f"'{names[c]}' ({counts[c]})" for c in fewer[:_SHOWN])
        more = f" and {len(fewer) - _SHOWN} more" if len(fewer) > _SHOWN else ""
        raise SourceError(
            f"{_count(len(fewer), 'class has', 'classes have')} fewer than {shots} different images: {told}{more}",
            hint=f"Ask for {counts[fewer].min()} or fewer, or take what there is with --allow-fewer.",
        )


def held_out(labelled: Labelled, share: float) -> tuple[Labelled, Labelled]:
    """Divide pictures into those to train on and those to score, class by class and always alike.

    Of every class with two different pictures or more at least one is scored and at least one trains, unless it is
    held out as a picture of another class too.

    Returns
    -------
    train, test : Labelled
    """
    known = identities(labelled)
    tests = _among(known, known[first_of(labelled, "held out", share)])
    return labelled.at(np.flatnonzero(~tests)), labelled.at(np.flatnonzero(tests))


def first_of(labelled: Labelled, purpose: str, share: float) -> Rows:
    """A share of the different pictures of each class, at least one and not all, in the drawing order of a purpose."""
    order = drawing_order(labelled, purpose)
    truth = labelled.truth[order]
    counts = np.bincount(truth)
    wanted = np.minimum(np.maximum(np.round(share * counts), 1), np.maximum(counts - 1, 0))
    return order[_places(truth) < wanted[truth]]


def drawing_order(labelled: Labelled, purpose: str) -> Rows:
    """One row of every different picture of each class, class by class, by the sha256 over purpose and digest.

    Of equal pictures of a class the one of the least path is taken.
    """
    known = identities(labelled)
    start = hashlib.sha256(purpose.encode() + b"\0")
    keys = bytearray()
    for digest in known:
        state = start.copy()
        state.update(digest)
        keys += state.digest()
    by_path = np.array(sorted(range(len(known)), key=labelled.paths.__getitem__), dtype=np.int64)
    hashed = np.frombuffer(bytes(keys), dtype=_DIGEST)[by_path]
    truth = labelled.truth[by_path]
    by = np.lexsort((hashed, truth))
    fresh = np.ones(len(by), dtype=bool)
    fresh[1:] = (hashed[by][1:] != hashed[by][:-1]) | (truth[by][1:] != truth[by][:-1])
    return by_path[by[fresh]]


def first(labelled: Labelled, rows: Rows, shots: int) -> Rows:
    """Of the rows of a draw, those that a draw of fewer shots holds."""
    return rows[_places(labelled.truth[rows]) < shots]


def repeated(labelled: Labelled) -> NDArray[np.bool_]:
    """Whether a picture is there more than once, bool of shape (n,)."""
    known = np.ascontiguousarray(identities(labelled)).view(_DIGEST).ravel()
    _, which, counts = np.unique(known, return_inverse=True, return_counts=True)
    found: NDArray[np.bool_] = counts[which] > 1
    return found


def drawn_digests(labelled: Labelled, rows: Rows) -> Digests:
    """The identities of some pictures, each once, ascending; uint8 of shape (n, 32)."""
    return np.unique(identities(labelled)[rows], axis=0)


def without_drawn(labelled: Labelled, prototypes: Prototypes, *, include: bool = False) -> Labelled:
    """Labelled pictures without those that the prototypes were made from, which are counted.

    ``include`` counts them only.

    Raises
    ------
    SourceError
        If none is left.
    """
    if prototypes.drawn is None:
        return labelled
    drawn = _among(identities(labelled), prototypes.drawn)
    if include or not drawn.any():
        return replace(labelled, n_drawn=int(drawn.sum()), shots_included=include)
    if drawn.all():
        raise SourceError(
            f"the prototypes were made from these very images, all {len(drawn)}, so none is left to be scored",
            hint="Score other images, or these with --include-shots.",
        )
    kept = labelled.at(np.flatnonzero(~drawn))
    return replace(kept, skipped=labelled.skipped, unlabelled=labelled.unlabelled, n_drawn=int(drawn.sum()))


def without(labelled: Labelled, others: Labelled) -> Labelled:
    """Pictures that are not among others."""
    return labelled.at(np.flatnonzero(~_among(identities(labelled), identities(others))))


def _among(some: Digests, all_: Digests) -> NDArray[np.bool_]:
    """Which digests are among others."""
    one, other = (np.ascontiguousarray(digests).view(_DIGEST).ravel() for digests in (some, all_))
    found: NDArray[np.bool_] = np.isin(one, other)
    return found


def _places(truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each within its class, of classes that stand one after the other."""
    starts = np.flatnonzero(np.diff(truth, prepend=-1))
    lengths = np.diff(starts, append=len(truth))
    return np.arange(len(truth)) - np.repeat(starts, lengths)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _some(names: Sequence[str], which: NDArray[np.int64]) -> str:
    shown = ", ".join(f"'{names[c]}'" for c in which[:_SHOWN])
    return f"{shown} and {len(which) - _SHOWN} more" if len(which) > _SHOWN else shown
