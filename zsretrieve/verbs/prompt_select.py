"""Choosing templates on one half of the pictures, and telling the score on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import PromptError
from zsretrieve.metrics import paired_difference
from zsretrieve.pooling import pool_prompts
from zsretrieve.ports import IndexBackend
from zsretrieve.records import PromptSet
from zsretrieve.results import PairedDifference
from zsretrieve.vectors import Rows, Vectors, unit_rows
from zsretrieve.verbs.encode import OnProgress
from zsretrieve.verbs.halves import Halves
from zsretrieve.verbs.labelled import Labelled
from zsretrieve.verbs.prompt_lab import Pictures, Share, check_same_classes, pictures_of, share
from zsretrieve.verbs.prompt_vectors import PromptVectors
from zsretrieve.verbs.verdicts import verdicts

MAX_TEMPLATES = 7
IMAGES = 10_000

_COPIED = 1 << 16


@dataclass(frozen=True)
class Step:
    """A template that was taken, and the score of all taken so far on the pictures that it was chosen on."""

    template: str
    share: Share


@dataclass(frozen=True, eq=False)
class Selection:
    """Templates chosen on one half, with their score on the other.

    Attributes
    ----------
    pictures : Pictures
        Of both halves.
    name : str
        The set chosen from, of ``n_candidates`` templates.
    halves : Halves
    n_looked_at : int
        Pictures of the selecting half that were looked at.
    steps : tuple of Step
        The templates in the order in which they were taken.
    chosen, every : Share
        Those, and all candidates, on the reporting half.
    difference : PairedDifference
        How much more often the chosen ones are right than all candidates, on the reporting half.
    """

    pictures: Pictures
    name: str
    n_candidates: int
    halves: Halves
    n_looked_at: int
    steps: tuple[Step, ...]
    chosen: Share
    every: Share
    difference: PairedDifference

    @property
    def templates(self) -> tuple[str, ...]:
        return tuple(step.template for step in self.steps)


def check_limits(most: int, images: int) -> None:
    """Raise PromptError unless at least one template may be chosen, by at least one picture."""
    for name, value in (("templates", most), ("images", images)):
        if value < 1:
            raise PromptError(f"{value} {name} are too few to choose", hint=f"Allow at least one of the {name}.")


def select(
    labelled: Labelled,
    prompts: PromptSet,
    texts: PromptVectors,
    backend: IndexBackend,
    split: Halves,
    *,
    most: int = MAX_TEMPLATES,
    images: int = IMAGES,
    on_progress: OnProgress | None = None,
) -> Selection:
    """Forward selection of templates, as in the CLIP authors' notebook on prompts for ImageNet, on one half only.

    The template that is best alone is taken first, then again and again the one that raises Prec@1 most together with
    those taken, until none does. Of equals the first of the set is taken.

    Parameters
    ----------
    labelled : Labelled
    prompts : PromptSet
        The candidates.
    texts : PromptVectors
        Of these prompts.
    backend : IndexBackend
    split : Halves
        Of ``labelled``.
    most : int
        Templates to take at most.
    images : int
        Pictures of the selecting half to look at, at most; they are drawn by the seed of the halves.
    on_progress : callable, optional
        Called with (candidates tried, candidates to try if it goes on to the end).

    Raises
    ------
    PromptError
        If ``most`` or ``images`` is below 1.
    ClassMappingError
        If the set is of other classes than the pictures.
    """
    check_limits(most, images)
    check_same_classes(labelled, prompts)
    looked_at = split.selecting
    if len(looked_at) > images:
        looked_at = np.sort(np.random.default_rng(split.seed).choice(looked_at, images, replace=False))
    rows = texts.by_template(prompts)
    steps = _forward(labelled, looked_at, prompts.templates, texts.vectors, rows, backend, most, on_progress)
    # Pooled as an index of the chosen templates would be, in the order in which they are written down.
    taken = [prompts.templates.index(step.template) for step in steps]
    pooled = pool_prompts(texts.vectors, [list(mine) for mine in rows[taken].T])
    chosen = _verdicts(labelled, split.reporting, pooled, backend)
    every = _verdicts(labelled, split.reporting, texts.prototypes(prompts), backend)
    return Selection(
        pictures_of(labelled), prompts.templates_source, len(rows), split, len(looked_at), steps,
        share(chosen), share(every), paired_difference(every, chosen),
    )  # fmt: skip


def _forward(
    labelled: Labelled,
    looked_at: Rows,
    templates: Sequence[str],
    vectors: Vectors,
    rows: NDArray[np.int64],
    backend: IndexBackend,
    most: int,
    on_progress: OnProgress | None,
) -> tuple[Step, ...]:
    """Forward selection on the pictures ``looked_at``, and no others. ``rows`` are those of each template's prompts.

    The sum of the templates taken is kept, so that to try one more is an addition.
    """
    pictures, truth = labelled.vectors[looked_at], labelled.truth[looked_at]
    to_try = sum(len(rows) - taken for taken in range(min(most, len(rows))))
    total = np.zeros((rows.shape[1], vectors.shape[1]))
    left = list(range(len(rows)))
    steps: list[Step] = []
    best, tried = -1, 0
    while left and len(steps) < most:
        step: Step | None = None
        winner = -1
        for number in left:
            right = verdicts(pictures, truth, unit_rows(total + vectors[rows[number]]), backend)
            if right.sum() > best:
                best, winner, step = int(right.sum()), number, Step(templates[number], share(right))
            tried += 1
            if on_progress is not None:
                on_progress(tried, to_try)
        if step is None:
            break
        total += vectors[rows[winner]]
        left.remove(winner)
        steps.append(step)
    return tuple(steps)


def _verdicts(labelled: Labelled, rows: Rows, prototypes: Vectors, backend: IndexBackend) -> NDArray[np.bool_]:
    """Who is right of some pictures, whose vectors are copied so many at a time."""
    parts = [rows[start : start + _COPIED] for start in range(0, len(rows), _COPIED)]
    return np.concatenate(
        [verdicts(labelled.vectors[part], labelled.truth[part], prototypes, backend) for part in parts]
    )
