"""Choosing templates on one half of the images, and reporting the score on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import PromptError
from zsretrieve.domain.pooling import pool_prompts
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.records import PromptSet
from zsretrieve.domain.results import PairedDifference
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.evaluation.splits import Halves
from zsretrieve.metrics import paired_difference
from zsretrieve.prompt_lab.compare import Score, ScoredImages, difference_to_dict, score_to_dict
from zsretrieve.prompt_lab.top1 import Scorer

MAX_TEMPLATES = 7
IMAGES = 10_000


@dataclass(frozen=True)
class Step:
    """A template that was chosen, and the score of all chosen so far on the selecting images."""

    template: str
    score: Score


@dataclass(frozen=True, eq=False)
class Selection:
    """Templates chosen on one half, with their score on the other.

    Attributes
    ----------
    images : ScoredImages
        Of both halves.
    name : str
        The set chosen from, of ``n_candidates`` templates.
    halves : Halves
    n_looked_at : int
        Images of the selecting half that were used.
    steps : tuple of Step
        The templates in the order in which they were chosen.
    chosen, every : Score
        Those, and all candidates, on the reporting half.
    difference : PairedDifference
        How much more often the chosen ones are right than all candidates, on the reporting half.
    """

    images: ScoredImages
    name: str
    n_candidates: int
    halves: Halves
    n_looked_at: int
    steps: tuple[Step, ...]
    chosen: Score
    every: Score
    difference: PairedDifference

    @property
    def templates(self) -> tuple[str, ...]:
        return tuple(step.template for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        selecting, reporting = self.halves.selecting, self.halves.reporting
        digests = self.halves.digests
        return {
            **self.images.to_dict(),
            "candidates": self.name,
            "n_candidates": self.n_candidates,
            "seed": self.halves.seed,
            "selecting": {"n": len(selecting), "n_looked_at": self.n_looked_at, "sha256": digests[0]},
            "reporting": {"n": len(reporting), "sha256": digests[1]},
            "steps": [{"template": step.template, **score_to_dict("selecting", step.score)} for step in self.steps],
            **score_to_dict("chosen", self.chosen),
            **score_to_dict("all", self.every),
            **difference_to_dict("difference", self.difference),
        }


def check_limits(most: int, images: int) -> None:
    """Raise PromptError unless at least one template may be chosen, on at least one image."""
    for name, value in (("templates", most), ("images", images)):
        if value < 1:
            raise PromptError(f"cannot choose with {value} {name}", hint=f"Allow at least one of the {name}.")


def select(
    scorer: Scorer,
    prompts: PromptSet,
    halves: Halves,
    *,
    most: int = MAX_TEMPLATES,
    images: int = IMAGES,
    on_progress: OnProgress | None = None,
) -> Selection:
    """Forward selection of templates on one half only, as in the CLIP authors' notebook on prompts for ImageNet.

    The best template alone is chosen first, then again and again the one that raises Prec@1 most together with those
    chosen, until none does. Ties go to the first of the set.

    Parameters
    ----------
    scorer : Scorer
        With the prompts of the set.
    prompts : PromptSet
        The candidates.
    halves : Halves
        Of the scorer's images.
    most : int
        Templates to choose at most.
    images : int
        Images of the selecting half to use at most; they are drawn by the seed of the halves.
    on_progress : callable, optional
        Called with (candidates tried, candidates to try if it goes on to the end).

    Raises
    ------
    PromptError
        If ``most`` or ``images`` is below 1.
    ClassMappingError
        If the set has other classes than the images.
    """
    check_limits(most, images)
    scorer.check_classes(prompts)
    looked_at = halves.selecting
    if len(looked_at) > images:
        looked_at = np.sort(np.random.default_rng(halves.seed).choice(looked_at, images, replace=False))
    rows = scorer.texts.by_template(prompts)
    selecting = replace(scorer, labelled=scorer.labelled.at(looked_at))
    steps = _forward(selecting, prompts.templates, rows, most, on_progress)
    # Pooled as an index of the chosen templates would be, in the order in which they are written.
    numbers = [prompts.templates.index(step.template) for step in steps]
    pooled = pool_prompts(scorer.texts.vectors, [list(own) for own in rows[numbers].T])
    chosen = scorer.correct(pooled, halves.reporting)
    every = scorer.correct(scorer.texts.prototypes(prompts), halves.reporting)
    return Selection(
        images=ScoredImages.of(scorer.labelled),
        name=prompts.templates_source,
        n_candidates=len(rows),
        halves=halves,
        n_looked_at=len(looked_at),
        steps=steps,
        chosen=Score.of(chosen),
        every=Score.of(every),
        difference=paired_difference(every, chosen),
    )


def _forward(
    selecting: Scorer, templates: Sequence[str], rows: NDArray[np.int64], most: int, on_progress: OnProgress | None
) -> tuple[Step, ...]:
    """Forward selection on the scorer's images. ``rows`` are those of each template's prompts.

    The sum of the chosen templates is kept, so that trying one more is an addition.
    """
    vectors = selecting.texts.vectors
    to_try = sum(len(rows) - chosen for chosen in range(min(most, len(rows))))
    total = np.zeros((rows.shape[1], vectors.shape[1]))
    left = list(range(len(rows)))
    steps: list[Step] = []
    best, tried = -1, 0
    while left and len(steps) < most:
        step: Step | None = None
        winner = -1
        for number in left:
            correct = selecting.correct(unit_rows(total + vectors[rows[number]]))
            if correct.sum() > best:
                best, winner, step = int(correct.sum()), number, Step(templates[number], Score.of(correct))
            tried += 1
            if on_progress is not None:
                on_progress(tried, to_try)
        if step is None:
            break
        total += vectors[rows[winner]]
        left.remove(winner)
        steps.append(step)
    return tuple(steps)
