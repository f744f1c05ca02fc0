"""The prompt lab: template sets side by side, and each template alone and left out. Only pooling changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.plain import Result
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.records import Head, PromptSet
from zsretrieve.domain.results import Interval, PairedDifference
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.metrics import paired_difference, wilson
from zsretrieve.prompt_lab.top1 import Scorer

_T = TypeVar("_T")


@dataclass(frozen=True)
class ScoredImages(Result):
    """What was scored: ``n_scored`` labelled images of ``n_classes_scored`` of the ``n_classes`` classes.

    ``n_skipped`` have no vectors, ``n_unlabelled`` no label; ``where`` is the filter, if there was one.
    """

    model: str
    classes: str
    n_scored: int
    n_unlabelled: int
    n_skipped: int
    n_classes: int
    n_classes_scored: int
    where: str | None

    @classmethod
    def of(cls, labelled: Labelled) -> ScoredImages:
        return cls(
            labelled.space.model,
            labelled.prompts.classes_source,
            len(labelled.truth),
            labelled.unlabelled,
            len(labelled.skipped),
            len(labelled.prompts.class_names),
            len(np.unique(labelled.truth)),
            labelled.where,
        )


@dataclass(frozen=True)
class Score:
    """Prec@1: ``n_correct`` of ``n`` images, with its Wilson interval of 95 %."""

    n_correct: int
    n: int
    interval: Interval

    @classmethod
    def of(cls, correct: NDArray[np.bool_]) -> Score:
        """That of images which are correct or not, bool of shape (n,)."""
        n_correct = int(correct.sum())
        return cls(n_correct, len(correct), wilson(n_correct, len(correct)))

    @property
    def prec_at_1(self) -> float:
        return self.n_correct / self.n


class Pooled(StrEnum):
    """What is averaged over the templates of a class: the vectors of its prompts, or the probabilities they give."""

    VECTORS = "vectors"
    PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class SetScore:
    """A template set, and its difference to the one it is compared with: None for that one itself.

    ``n_prompts`` are distinct. ``pooled`` is what was averaged over the templates.
    """

    name: str
    n_templates: int
    n_prompts: int
    score: Score
    difference: PairedDifference | None
    pooled: Pooled = Pooled.VECTORS

    def to_dict(self) -> dict[str, Any]:
        return {
            "templates": self.name,
            "pooled": self.pooled,
            "n_templates": self.n_templates,
            "n_prompts": self.n_prompts,
            "prec@1": self.score.prec_at_1,
            "interval": self.score.interval.to_dict(),
            "n_correct": self.score.n_correct,
            "n_scored": self.score.n,
            **difference_to_dict("difference", self.difference),
        }


@dataclass(frozen=True)
class TemplateComparison:
    """Template sets side by side; differences are to the set named ``against``."""

    images: ScoredImages
    against: str
    sets: tuple[SetScore, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**self.images.to_dict(), "against": self.against, "sets": [row.to_dict() for row in self.sets]}


@dataclass(frozen=True)
class TemplateScore:
    """A template alone, and the set without it; both None if they were not computed, or it is the only one.

    ``adds`` is how much more often the whole set is right than the set without the template.
    """

    template: str
    alone: Score
    left_out: Score | None = None
    adds: PairedDifference | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "template": self.template,
            **score_to_dict("alone", self.alone),
            **score_to_dict("left_out", self.left_out),
            **difference_to_dict("adds", self.adds),
        }


@dataclass(frozen=True)
class Ranking:
    """The templates of a set, the best alone first, and the score of all together."""

    images: ScoredImages
    name: str
    together: Score
    templates: tuple[TemplateScore, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.images.to_dict(),
            "templates": self.name,
            **score_to_dict("all", self.together),
            "ranked": [row.to_dict() for row in self.templates],
        }


@dataclass(frozen=True)
class Sensitivity:
    """How much Prec@1 depends on the template: its spread over single templates, in fractions of ``n_scored``.

    ``sd`` is the sample standard deviation, 0 for one template; ``quartiles`` are the first, second and third, linearly
    interpolated. ``singles`` are all templates, the best first.
    """

    images: ScoredImages
    name: str
    together: Score
    mean: float
    sd: float
    least: float
    most: float
    quartiles: tuple[float, float, float]
    singles: tuple[TemplateScore, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.images.to_dict(),
            "templates": self.name,
            "n_templates": len(self.singles),
            **score_to_dict("all", self.together),
            "mean": self.mean,
            "sd": self.sd,
            "least": self.least,
            "most": self.most,
            "quartiles": list(self.quartiles),
            "singles": [{"template": row.template, **score_to_dict("alone", row.alone)} for row in self.singles],
        }


def score_to_dict(name: str, score: Score | None) -> dict[str, Any]:
    """A score, each key beginning with ``name``; all None if there is none."""
    values = (None,) * 4 if score is None else (score.prec_at_1, score.interval.to_dict(), score.n_correct, score.n)
    return {f"{name}_{key}": value for key, value in zip(("prec@1", "interval", "n_correct", "n"), values, strict=True)}


def difference_to_dict(name: str, paired: PairedDifference | None) -> dict[str, Any]:
    """A difference, likewise. ``gained`` and ``lost`` count images that only the second or the first gets right."""
    keys = (name, *(f"{name}_{key}" for key in ("interval", "p", "gained", "lost")))
    if paired is None:
        return dict.fromkeys(keys)
    values = paired.difference, paired.interval.to_dict(), paired.p_value, paired.only_second, paired.only_first
    return dict(zip(keys, values, strict=True))


def compare(
    scorer: Scorer,
    sets: Sequence[PromptSet],
    *,
    against: int = 0,
    head: Head | None = None,
    on_progress: OnProgress | None = None,
) -> TemplateComparison:
    """Score prompt sets of the same classes on the same images.

    Parameters
    ----------
    scorer : Scorer
        With the prompts of all sets.
    sets : sequence of PromptSet
        Named by their ``templates_source``.
    against : int
        Which of the sets the others are compared with.
    head : Head, optional
        Of the model. With it, sets of several templates are also scored by averaging probabilities.
    on_progress : callable, optional
        Called with (sets scored, sets in all).

    Raises
    ------
    ClassMappingError
        If a set has other classes than the images.
    """
    for prompts in sets:
        scorer.check_classes(prompts)
    ways = [(prompts, Pooled.VECTORS, number == against) for number, prompts in enumerate(sets)]
    if head is not None:
        ways += [(prompts, Pooled.PROBABILITIES, False) for prompts in sets if len(prompts.templates) > 1]
    correct = [
        scorer.correct(scorer.texts.prototypes(prompts))
        if head is None or pooled is Pooled.VECTORS
        else scorer.correct_by_probabilities(prompts, head)
        for prompts, pooled, _ in _counted(ways, on_progress)
    ]
    scores = tuple(
        SetScore(
            prompts.templates_source,
            len(prompts.templates),
            len({text for group in prompts.prompts for text in group}),
            Score.of(own),
            None if is_it else paired_difference(correct[against], own),
            pooled,
        )
        for (prompts, pooled, is_it), own in zip(ways, correct, strict=True)
    )
    return TemplateComparison(ScoredImages.of(scorer.labelled), sets[against].templates_source, scores)


def rank(
    scorer: Scorer, prompts: PromptSet, *, leave_out: bool = True, on_progress: OnProgress | None = None
) -> Ranking:
    """Score each template of a set alone and, unless ``leave_out`` is False, the set without it.

    The sums of all templates are kept in float64, so that leaving one out is a subtraction.

    Parameters
    ----------
    scorer : Scorer
        With the prompts of the set.
    prompts : PromptSet
        Of templates.
    leave_out : bool
    on_progress : callable, optional
        Called with (templates scored, templates in all).

    Raises
    ------
    ClassMappingError
        If the set has other classes than the images.
    """
    scorer.check_classes(prompts)
    vectors, rows = scorer.texts.vectors, scorer.texts.by_template(prompts)
    together = scorer.correct(scorer.texts.prototypes(prompts))
    total = np.zeros((rows.shape[1], vectors.shape[1]))
    for own in rows:
        total += vectors[own]
    scores = []
    for template, own in _counted(list(zip(prompts.templates, rows, strict=True)), on_progress):
        score = TemplateScore(template, Score.of(scorer.correct(unit_rows(vectors[own]))))
        if leave_out and len(rows) > 1:
            without = scorer.correct(unit_rows(total - vectors[own]))
            score = replace(score, left_out=Score.of(without), adds=paired_difference(without, together))
        scores.append(score)
    scores.sort(key=lambda score: -score.alone.n_correct)  # ties stay in the order of the set
    return Ranking(ScoredImages.of(scorer.labelled), prompts.templates_source, Score.of(together), tuple(scores))


def sensitivity(scorer: Scorer, prompts: PromptSet, *, on_progress: OnProgress | None = None) -> Sensitivity:
    """The spread of Prec@1 over the single templates of a set. Parameters and errors are those of ``rank``."""
    ranking = rank(scorer, prompts, leave_out=False, on_progress=on_progress)
    values = np.array([row.alone.prec_at_1 for row in ranking.templates])
    first, second, third = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return Sensitivity(
        images=ranking.images,
        name=ranking.name,
        together=ranking.together,
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        least=float(values.min()),
        most=float(values.max()),
        quartiles=(first, second, third),
        singles=ranking.templates,
    )


def _counted(items: Sequence[_T], on_progress: OnProgress | None) -> Iterator[_T]:
    """Items one after the other; each is reported as done when the next is asked for."""
    for number, item in enumerate(items, start=1):
        yield item
        if on_progress is not None:
            on_progress(number, len(items))
