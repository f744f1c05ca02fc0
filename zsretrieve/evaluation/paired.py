"""Two runs on the same images: which one is right more often, by how much, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.comparison import ClassChange, Comparison, Flip, Side
from zsretrieve.domain.errors import ClassMappingError, SourceError
from zsretrieve.domain.names import composed
from zsretrieve.domain.results import Run
from zsretrieve.domain.vectors import Rows
from zsretrieve.domain.wording import shorten
from zsretrieve.metrics import paired_difference, wilson

_SHOWN = 5


def compare_runs(first: Run, second: Run) -> Comparison:
    """Compare the best classes of two runs on the images that both have scored.

    Images are matched by the sha256 of their files if both runs have all of them, otherwise by path; several images
    with the same sha256 are paired in the order of their paths. Classes are matched by key if both runs have a key for
    each, otherwise by name, the n-th of a name with the n-th; their numbers do not matter.

    Raises
    ------
    ClassMappingError
        If the runs have different classes, or disagree about the class of an image.
    SourceError
        If they have no image in common.
    """
    to_first = _classes(first, second)
    by_digest = all(first.digests) and all(second.digests)
    rows, other = _pairs(_images(first, by_digest), _images(second, by_digest))
    if not len(rows):
        raise SourceError(
            f"the two runs have no image in common, compared by {'content' if by_digest else 'path'}",
            hint="Evaluate both on the same images.",
        )
    truth, truth_second = first.truth[rows], to_first[second.truth[other]]
    _check_truth(first, rows, truth, truth_second)
    best, best_second = first.ranked[rows, 0], to_first[second.ranked[other, 0]]
    right, right_second = best == truth, best_second == truth
    changes = _changes(first, truth, right, right_second)
    return Comparison(
        n=len(rows),
        matched_by="digest" if by_digest else "path",
        first=_side(first, right),
        second=_side(second, right_second),
        difference=paired_difference(right, right_second),
        both_right=int((right & right_second).sum()),
        both_wrong=int((~right & ~right_second).sum()),
        won=tuple(sorted((one for one in changes if one.change > 0), key=lambda one: (-one.change, one.class_id))),
        lost=tuple(sorted((one for one in changes if one.change < 0), key=lambda one: (one.change, one.class_id))),
        n_unchanged=sum(one.change == 0 for one in changes),
        flips=tuple(
            Flip(
                first.paths[rows[i]],
                first.class_names[truth[i]],
                first.class_names[best[i]],
                first.class_names[best_second[i]],
                bool(right_second[i]),
            )
            for i in np.flatnonzero(right != right_second)
        ),
    )


def _side(run: Run, right: NDArray[np.bool_]) -> Side:
    n, n_correct = len(right), int(right.sum())
    return Side(run.model, run.templates, n_correct, n_correct / n, wilson(n_correct, n), len(run.truth) - n)


def _changes(
    run: Run, truth: NDArray[np.int64], right: NDArray[np.bool_], right_second: NDArray[np.bool_]
) -> list[ClassChange]:
    n_classes = len(run.class_names)
    counts = np.bincount(truth, minlength=n_classes)
    ours, theirs = (np.bincount(truth[of], minlength=n_classes) for of in (right, right_second))
    return [
        ClassChange(int(c), run.class_names[c], int(counts[c]), int(ours[c]), int(theirs[c]))
        for c in np.flatnonzero(counts)
    ]


def _classes(first: Run, second: Run) -> NDArray[np.int64]:
    """The first run's number of each class of the second."""
    by_key = all(_distinct(run.class_keys) for run in (first, second))
    ours, theirs = (
        [*run.class_keys] if by_key else _numbered([*map(composed, run.class_names)]) for run in (first, second)
    )
    places = {identity: number for number, identity in enumerate(ours)}
    known = set(theirs)
    missing = [number for number, identity in enumerate(ours) if identity not in known]
    extra = [number for number, identity in enumerate(theirs) if identity not in places]
    if missing or extra:
        only = [
            f"{len(numbers)} only in the {which} ({shorten([run.class_names[number] for number in numbers], _SHOWN)})"
            for which, run, numbers in (("first", first, missing), ("second", second, extra))
            if numbers
        ]
        raise ClassMappingError(
            f"the two runs have different classes: {' and '.join(only)}",
            hint="Compare runs whose prototypes have the same classes, in any order.",
        )
    return np.array([places[identity] for identity in theirs], dtype=np.int64)


def _distinct(keys: Sequence[str | None]) -> bool:
    return None not in keys and len(set(keys)) == len(keys)


def _numbered(names: Sequence[Hashable]) -> list[Hashable]:
    """Each name with the number of times it occurred before, which makes equal names distinct."""
    seen: defaultdict[Hashable, int] = defaultdict(int)
    numbered: list[Hashable] = []
    for name in names:
        numbered.append((name, seen[name]))
        seen[name] += 1
    return numbered


def _images(run: Run, by_digest: bool) -> dict[Hashable, int]:
    """The row of every image by its identity, in the order of the run."""
    rows = range(len(run.paths))
    if not by_digest:
        return dict(zip(_numbered(run.paths), rows, strict=True))
    by_path = sorted(rows, key=lambda row: run.paths[row])
    known = dict(zip(by_path, _numbered([run.digests[row] for row in by_path]), strict=True))
    return {known[row]: row for row in rows}


def _pairs(ours: dict[Hashable, int], theirs: dict[Hashable, int]) -> tuple[Rows, Rows]:
    both = [(row, theirs[image]) for image, row in ours.items() if image in theirs]
    rows = np.array(both, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _check_truth(run: Run, rows: Rows, truth: NDArray[np.int64], truth_second: NDArray[np.int64]) -> None:
    differ = np.flatnonzero(truth != truth_second)
    if len(differ):
        i = differ[0]
        raise ClassMappingError(
            f"the two runs disagree about the class of {len(differ)} of {len(rows)} images; the first is "
            f"'{run.paths[rows[i]]}': '{run.class_names[truth[i]]}' and '{run.class_names[truth_second[i]]}'",
            hint="Evaluate both with the same labels.",
        )
