"""Which labelled images train and which are scored, drawn by the content of the files, not by their order.

An image is identified by the digest of its file, so that equal files, under any name, are one image: it counts once,
and never both trains and is scored. Images are drawn in the order of sha256 over seed and digest. That depends neither
on the order of a gallery nor on the rest of it, and the draws of fewer shots are subsets of those of more.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Item, PromptSet
from zsretrieve.domain.vectors import Rows
from zsretrieve.domain.wording import counted, shorten
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.store.indexes import Prototypes
from zsretrieve.store.prototype_files import Digests

_SHOWN = 5
# Of fixed length, so that it does not matter that numpy strips zeros from the end.
_DIGEST = np.dtype("S32")


@dataclass(frozen=True, eq=False)
class Draw:
    """Images drawn for training.

    Attributes
    ----------
    rows : int64 of shape (n,)
        Of the labelled images; class by class, and within a class in the order drawn.
    fewer : tuple of str
        Classes with fewer images than requested.
    empty : tuple of int
        Ids of the classes without images.
    """

    rows: Rows
    fewer: tuple[str, ...]
    empty: tuple[int, ...]


def identities(labelled: Labelled) -> Digests:
    """The identity of each image: the sha256 of its file or, if that is unknown, of its path.

    Returns
    -------
    uint8 of shape (n, 32)
    """
    digests = b"".join(
        bytes.fromhex(item.digest) if item.digest else hashlib.sha256(b"path\0" + os.fsencode(path)).digest()
        for item, path in zip(labelled.items, labelled.paths, strict=True)
    )
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(labelled.items), 32)


def draw(labelled: Labelled, shots: int | None, seed: int, *, allow_fewer: bool = False, fill: bool = False) -> Draw:
    """Draw the same number of different images of every class.

    Parameters
    ----------
    labelled : Labelled
    shots : int or None
        Images of each class; None takes all.
    seed : int
        The same seed draws the same images.
    allow_fewer : bool
        Take all of a class that has fewer.
    fill : bool
        Let a class have none, because something else makes its prototype.

    Raises
    ------
    SourceError
        If a class has none, or fewer than requested, unless that is allowed.
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
    """Raise SourceError if classes with this many images do not have the shots requested; see ``draw``."""
    if shots is not None and shots < 1:
        raise SourceError(f"there must be at least 1 shot, got {shots}", hint="Give the number of images per class.")
    names = prompts.class_names
    empty = np.flatnonzero(counts == 0)
    if len(empty) and not fill:
        raise SourceError(
            f"{counted(len(empty), 'class has', 'classes have')} no image to train on: "
            f"{shorten([names[c] for c in empty], _SHOWN)}",
            hint="Give images of every class, or leave out classes without images; with `text_weight`, text prototypes "
            "take their place where prototypes are means.",
        )
    fewer = np.flatnonzero((counts < (shots or 0)) & (counts > 0))
    if len(fewer) and not allow_fewer:
        listed = shorten([f"'{names[c]}' ({counts[c]})" for c in fewer], _SHOWN, "")
        raise SourceError(
            f"{counted(len(fewer), 'class has', 'classes have')} fewer than {shots} different images: {listed}",
            hint=f"Use {counts[fewer].min()} or fewer, or take what there is with `allow_fewer`.",
        )


def held_out(labelled: Labelled, share: float) -> tuple[Labelled, Labelled]:
    """Divide images into those to train on and those to score, class by class and always the same way.

    Of every class with two or more different images, at least one is scored and at least one trains, unless it is held
    out as an image of another class too.

    Returns
    -------
    train, test : Labelled
    """
    known = identities(labelled)
    tests = _among(known, known[first_of(labelled, "held out", share)])
    return labelled.at(np.flatnonzero(~tests)), labelled.at(np.flatnonzero(tests))


def first_of(labelled: Labelled, purpose: str, share: float) -> Rows:
    """A fraction of the different images of each class, at least one and not all, in the drawing order of a purpose."""
    order = drawing_order(labelled, purpose)
    truth = labelled.truth[order]
    counts = np.bincount(truth)
    wanted = np.minimum(np.maximum(np.round(share * counts), 1), np.maximum(counts - 1, 0))
    return order[_places(truth) < wanted[truth]]


def drawing_order(labelled: Labelled, purpose: str) -> Rows:
    """One row of every different image of each class, class by class, by the sha256 over purpose and digest.

    Of equal images of a class, it is the one whose path sorts first.
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
    """Of the rows of a draw, those of a draw of fewer shots."""
    return rows[_places(labelled.truth[rows]) < shots]


def random_halves(labelled: Labelled, seed: int) -> tuple[Rows, Rows]:
    """Two halves of the different images, drawn without regard to their classes, so that they are exchangeable; the
    first has the odd one. Neither depends on the order of the images.
    """
    order = drawing_order(labelled, f"halves {seed}")
    shuffled = order[np.random.default_rng(seed).permutation(len(order))]
    middle = (len(order) + 1) // 2
    return shuffled[:middle], shuffled[middle:]


def validation_of(some: Labelled, seed: int, share: float) -> Rows:
    """Training images to judge by instead: a share of each class that has two or more, and none that would be on both
    sides because it has labels of two classes.
    """
    held = first_of(some, f"validation {seed}", share)
    return held[~repeated(some)[held]]


def repeated(labelled: Labelled) -> NDArray[np.bool_]:
    """Whether an image occurs more than once, bool of shape (n,)."""
    known = np.ascontiguousarray(identities(labelled)).view(_DIGEST).ravel()
    _, which, counts = np.unique(known, return_inverse=True, return_counts=True)
    return np.asarray(counts[which] > 1)


def drawn_digests(labelled: Labelled, rows: Rows) -> Digests:
    """The identities of some images, each once, ascending; uint8 of shape (n, 32)."""
    return np.unique(identities(labelled)[rows], axis=0)


def without_drawn(labelled: Labelled, prototypes: Prototypes, *, include: bool = False) -> Labelled:
    """Labelled images without those that the prototypes were made from, which are counted; ``include`` keeps them.

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
            f"the prototypes were made from these very images, all {len(drawn)}, so none is left to score",
            hint="Score other images, or these with `include_shots`.",
        )
    kept = labelled.at(np.flatnonzero(~drawn))
    return replace(kept, skipped=labelled.skipped, unlabelled=labelled.unlabelled, n_drawn=int(drawn.sum()))


def without(labelled: Labelled, others: Labelled) -> Labelled:
    """Images that are not among others."""
    return labelled.at(np.flatnonzero(~_among(identities(labelled), identities(others))))


def _among(some: Digests, all_: Digests) -> NDArray[np.bool_]:
    """Which digests are among others."""
    one, other = (np.ascontiguousarray(digests).view(_DIGEST).ravel() for digests in (some, all_))
    return np.isin(one, other)


def _places(truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each within its class, for rows sorted by class."""
    starts = np.flatnonzero(np.diff(truth, prepend=-1))
    lengths = np.diff(starts, append=len(truth))
    return np.arange(len(truth)) - np.repeat(starts, lengths)


@dataclass(frozen=True, eq=False)
class Halves:
    """Which labelled images are in which half.

    Attributes
    ----------
    selecting, reporting : int64 of shape (n,)
        Rows of the labelled images, ascending; together all of them, and none twice.
    items : tuple of Item
        Those of all rows.
    seed : int
    digests : pair of str
        The sha256 of the two lists of images, each by its id, path, class and content: whoever draws the halves again
        can check that they are the same.
    """

    selecting: Rows
    reporting: Rows
    items: tuple[Item, ...]
    seed: int
    digests: tuple[str, str]


def halves(labelled: Labelled, seed: int = 0) -> Halves:
    """Divide the images of each class into two halves by a seed.

    Images of equal content stay together, since the half that is reported on must not be seen while choosing. So the
    halves of a class differ by at most one image, or by more if it has copies. The odd images of all classes are
    divided so that the halves have similar sizes.

    Raises
    ------
    SourceError
        If one half would be empty, or the seed is negative.
    """
    if seed < 0:
        raise SourceError(f"the seed must not be negative, got {seed}", hint="Give 0 or more.")
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
