"""The prompt lab: template sets side by side, and each template alone and left out. Only pooling changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import ClassMappingError
from zsretrieve.metrics import paired_difference, wilson
from zsretrieve.ports import IndexBackend
from zsretrieve.records import PromptSet
from zsretrieve.results import Interval, PairedDifference
from zsretrieve.vectors import unit_rows
from zsretrieve.verbs.encode import OnProgress
from zsretrieve.verbs.labelled import Labelled
from zsretrieve.verbs.prompt_vectors import PromptVectors
from zsretrieve.verbs.verdicts import verdicts


@dataclass(frozen=True)
class Pictures:
    """What was scored: ``n_scored`` labelled pictures of ``n_classes_scored`` of the ``n_classes`` classes.

    ``n_skipped`` never became vectors, ``n_unlabelled`` have no label; ``where`` is the filter, if there was one.
    """

    n_scored: int
    n_classes: int
    n_classes_scored: int
    n_unlabelled: int
    n_skipped: int
    model: str
    classes: str
    where: str | None


@dataclass(frozen=True)
class Share:
    """Prec@1: ``n_correct`` of ``n`` pictures, with its Wilson interval of 95 %."""

    n_correct: int
    n: int
    interval: Interval

    @property
    def prec_at_1(self) -> float:
        return self.n_correct / self.n


@dataclass(frozen=True)
class SetScore:
    """A template set, and its difference to the one it is compared with: None for that one itself.

    ``n_prompts`` are distinct.
    """

    name: str
    n_templates: int
    n_prompts: int
    share: Share
    difference: PairedDifference | None


@dataclass(frozen=True)
class Comparison:
    """Template sets side by side; differences are to the set named ``against``."""

    pictures: Pictures
    against: str
    sets: tuple[SetScore, ...]


@dataclass(frozen=True)
class TemplateScore:
    """A template alone, and the set without it; both None where they were not asked for, or it is the only one.

    ``adds`` is how much more often the whole set is right than the set without the template.
    """

    template: str
    alone: Share
    left_out: Share | None
    adds: PairedDifference | None


@dataclass(frozen=True)
class Ranking:
    """The templates of a set, the best alone first, and the score of all together."""

    pictures: Pictures
    name: str
    together: Share
    templates: tuple[TemplateScore, ...]


@dataclass(frozen=True)
class Sensitivity:
    """How far Prec@1 depends on the template: its spread over single templates, in fractions of ``n_scored``.

    ``sd`` is the sample standard deviation, 0 for one template; ``quartiles`` are the first, second and third, linearly
    interpolated. ``singles`` are all templates, the best first.
    """

    pictures: Pictures
    name: str
    together: Share
    mean: float
    sd: float
    least: float
    most: float
    quartiles: tuple[float, float, float]
    singles: tuple[TemplateScore, ...]


def pictures_of(labelled: Labelled) -> Pictures:
    """What is scored where these are."""
    return Pictures(
        len(labelled.truth),
        len(labelled.prompts.class_names),
        len(np.unique(labelled.truth)),
        labelled.unlabelled,
        len(labelled.skipped),
        labelled.space.model,
        labelled.prompts.classes_source,
        labelled.where,
    )


def share(right: NDArray[np.bool_]) -> Share:
    """Prec@1 of verdicts, bool of shape (n,)."""
    n_correct = int(right.sum())
    return Share(n_correct, len(right), wilson(n_correct, len(right)))


def check_same_classes(labelled: Labelled, prompts: PromptSet) -> None:
    """Raise ClassMappingError unless a set is of the classes that the pictures are labelled with."""
    if prompts.class_names != labelled.prompts.class_names:
        raise ClassMappingError(
            f"the set '{prompts.templates_source}' is of {len(prompts.class_names)} classes of "
            f"'{prompts.classes_source}', the pictures are of {len(labelled.prompts.class_names)} of "
            f"'{labelled.prompts.classes_source}', and the two differ",
            hint="Put one list of classes into all templates.",
        )


def compare(
    labelled: Labelled,
    sets: Sequence[PromptSet],
    texts: PromptVectors,
    backend: IndexBackend,
    *,
    against: int = 0,
    on_progress: OnProgress | None = None,
) -> Comparison:
    """Score prompt sets of the same classes on the same pictures.

    Parameters
    ----------
    labelled : Labelled
    sets : sequence of PromptSet
        Named by their ``templates_source``.
    texts : PromptVectors
        Of all sets.
    backend : IndexBackend
    against : int
        Which of the sets the others are compared with.
    on_progress : callable, optional
        Called with (sets scored, sets in all).

    Raises
    ------
    ClassMappingError
        If a set is of other classes than the pictures.
    """
    for prompts in sets:
        check_same_classes(labelled, prompts)
    right = []
    for number, prompts in enumerate(sets, start=1):
        right.append(verdicts(labelled.vectors, labelled.truth, texts.prototypes(prompts), backend))
        if on_progress is not None:
            on_progress(number, len(sets))
    scores = tuple(
        SetScore(
            prompts.templates_source,
            len(prompts.templates),
            len({text for group in prompts.prompts for text in group}),
            share(mine),
            None if number == against else paired_difference(right[against], mine),
        )
        for number, (prompts, mine) in enumerate(zip(sets, right, strict=True))
    )
    return Comparison(pictures_of(labelled), sets[against].templates_source, scores)


def rank(
    labelled: Labelled,
    prompts: PromptSet,
    texts: PromptVectors,
    backend: IndexBackend,
    *,
    on_progress: OnProgress | None = None,
) -> Ranking:
    """Score each template of a set alone, and the set without it.

    The sums of all templates are kept in float64, so that leaving one out is a subtraction.

    Parameters
    ----------
    labelled, texts, backend
        As for ``compare``.
    prompts : PromptSet
        Of templates.
    on_progress : callable, optional
        Called with (scores made, scores in all).
    """
    together, total, rows, every = _together(labelled, prompts, texts, backend)
    scores = []
    for number, mine in enumerate(rows):
        alone = verdicts(labelled.vectors, labelled.truth, unit_rows(texts.vectors[mine]), backend)
        left_out, adds = None, None
        if len(rows) > 1:
            without = unit_rows(total - texts.vectors[mine])
            right = verdicts(labelled.vectors, labelled.truth, without, backend)
            left_out, adds = share(right), paired_difference(right, every)
        scores.append(TemplateScore(prompts.templates[number], share(alone), left_out, adds))
        if on_progress is not None:
            on_progress(number + 1, len(rows))
    return Ranking(pictures_of(labelled), prompts.templates_source, together, _best_first(scores))


def sensitivity(
    labelled: Labelled,
    prompts: PromptSet,
    texts: PromptVectors,
    backend: IndexBackend,
    *,
    on_progress: OnProgress | None = None,
) -> Sensitivity:
    """The spread of Prec@1 over the single templates of a set. Parameters are those of ``rank``."""
    together, _, rows, _ = _together(labelled, prompts, texts, backend)
    scores = []
    for number, mine in enumerate(rows):
        alone = verdicts(labelled.vectors, labelled.truth, unit_rows(texts.vectors[mine]), backend)
        scores.append(TemplateScore(prompts.templates[number], share(alone), None, None))
        if on_progress is not None:
            on_progress(number + 1, len(rows))
    values = np.array([score.alone.prec_at_1 for score in scores])
    first, second, third = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return Sensitivity(
        pictures_of(labelled),
        prompts.templates_source,
        together,
        float(values.mean()),
        float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        float(values.min()),
        float(values.max()),
        (first, second, third),
        _best_first(scores),
    )


def _together(
    labelled: Labelled, prompts: PromptSet, texts: PromptVectors, backend: IndexBackend
) -> tuple[Share, NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """The score of a whole set, the sums of its templates' vectors, their rows, and who is right with all of them."""
    check_same_classes(labelled, prompts)
    rows = texts.by_template(prompts)
    total = np.zeros((rows.shape[1], texts.vectors.shape[1]))
    for mine in rows:
        total += texts.vectors[mine]
    right = verdicts(labelled.vectors, labelled.truth, texts.prototypes(prompts), backend)
    return share(right), total, rows, right


def _best_first(scores: Sequence[TemplateScore]) -> tuple[TemplateScore, ...]:
    """Templates in the order of their scores alone; equals stay in the order of the set."""
    return tuple(sorted(scores, key=lambda score: -score.alone.n_correct))
