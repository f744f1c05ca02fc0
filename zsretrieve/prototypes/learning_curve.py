"""What a few labelled images are worth: zero-shot, multi-shot, a probe and adapters, by the images per class."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.plain import Result, Table, flat
from zsretrieve.domain.ports import IndexBackend, OnProgress
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.results import Interval
from zsretrieve.domain.shots import AdapterSettings, CurveSettings
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.domain.vectors import Vectors, augmented_rows
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.splits import Draw, draw, first, held_out, without
from zsretrieve.metrics.intervals import mean_over_draws
from zsretrieve.prototypes.adapters import Adaptation, adapt
from zsretrieve.prototypes.images import check_text, multi_shot
from zsretrieve.prototypes.probe import check_classes, probe_of
from zsretrieve.store.indexes import Prototypes


class Method(StrEnum):
    """How images and texts become classes: as text, means of images, both mixed, a trained classifier, adapters."""

    ZERO_SHOT = "zero-shot"
    MULTI_SHOT = "multi-shot"
    MIX = "mix"
    PROBE = "probe"
    TIP = "tip"
    TIP_F = "tip-f"
    LP = "lp++"


@dataclass(frozen=True)
class CurvePoint(Result):
    """One method with one number of images per class.

    Attributes
    ----------
    method : Method
    shots : int
    prec_at_1 : float
        The mean over the seeds, a fraction of the scored images.
    interval : Interval
        Of ``prec_at_1``, see ``zsretrieve.metrics.intervals.mean_over_draws``.
    spread : float
        The standard deviation over the seeds; 0 for one.
    n_scored, n_train : int
        Images that were scored, and images to draw from.
    n_correct : tuple of int
        One for each seed; one for zero-shot, which draws nothing.
    c : tuple of float
        The inverse strength of regularisation of each seed's probe.
    n_trained : tuple of int
        Images that each draw really trained on: fewer than classes times shots where a class has fewer; 0 for
        zero-shot.
    converged : bool
        Whether the last fit of every probe did.
    alpha, beta : tuple of float
        The weights of each seed's Tip-Adapter.
    """

    _keys: ClassVar = {"prec_at_1": "prec@1"}

    method: Method
    shots: int
    prec_at_1: float
    interval: Interval
    spread: float
    n_scored: int
    n_train: int
    n_correct: tuple[int, ...]
    c: tuple[float, ...] = ()
    converged: bool = True
    n_trained: tuple[int, ...] = ()
    alpha: tuple[float, ...] = ()
    beta: tuple[float, ...] = ()


@dataclass(frozen=True)
class FewShotCurve(Result, Table):
    """The points, by method and then shots. All were scored on the same ``n_scored`` images, none of which trained.

    ``n_train`` images of ``n_classes`` classes could be drawn. ``n_left_out`` images of a test gallery were left out,
    since they may train. ``fewer`` are the classes with fewer images than the most shots.
    """

    points: tuple[CurvePoint, ...]
    n_scored: int
    n_train: int
    n_classes: int
    n_left_out: int
    seeds: tuple[int, ...]
    text_weight: float | None
    fewer: tuple[str, ...]
    model: str
    templates: str
    skipped: tuple[Skipped, ...]
    unlabelled: int

    def __repr__(self) -> str:
        return f"FewShotCurve({len(self.points)} points, {self.n_scored} images scored, {self.model})"

    def rows(self) -> list[dict[str, Any]]:
        """One row for each point."""
        return [flat(point.to_dict()) for point in self.points]


@dataclass
class _Scores:
    """What the draws gave for one method and one number of shots."""

    n_correct: list[int] = field(default_factory=list)
    n_trained: list[int] = field(default_factory=list)
    c: list[float] = field(default_factory=list)
    alpha: list[float] = field(default_factory=list)
    beta: list[float] = field(default_factory=list)
    converged: bool = True


def few_shot_curve(
    labelled: Labelled,
    text: Prototypes,
    backend: IndexBackend,
    settings: CurveSettings | None = None,
    *,
    test: Labelled | None = None,
    on_progress: OnProgress | None = None,
) -> FewShotCurve:
    """Score zero-shot, multi-shot, a probe and adapters on the same images, for several numbers of shots and seeds.

    The draws of one seed are nested: what 2 shots train on, 4 shots train on too.

    Parameters
    ----------
    labelled : Labelled
        Of the classes of ``text``.
    text : Prototypes
        The zero-shot prototypes.
    backend : IndexBackend
    settings : CurveSettings, optional
    test : Labelled, optional
        What is scored, without the images that are also in ``labelled``; by default a share of ``labelled``, the same
        for every seed.
    on_progress : callable, optional
        Called with (draws done, draws in all).

    Raises
    ------
    SourceError
        If a class has no image to train on or too few, no image is left to score, or ``text`` was made from images.
    SpaceMismatchError
        If images and prototypes have different embedding spaces.
    """
    settings = settings or CurveSettings()
    check_same_images(labelled.space, "the images", text.space, "the prototype index")
    check_text(text)
    train, scored = _divided(labelled, test, settings.held_out)
    if settings.drawn:
        check_classes(len(text.prompts.class_names))
    scores: dict[tuple[Method, int], _Scores] = {}

    def score(method: Method, n: int, rows: Vectors, n_trained: int, made: Adaptation | None = None) -> _Scores:
        entry = scores.setdefault((method, n), _Scores())
        entry.n_trained.append(n_trained)
        entry.n_correct.append(_n_correct(rows, text, scored, backend, made))
        return entry

    # Errors in drawing come before anything is computed.
    draws = (
        [draw(train, settings.drawn[-1], seed, allow_fewer=settings.allow_fewer) for seed in settings.seeds]
        if settings.drawn
        else []
    )
    if 0 in settings.shots:
        score(Method.ZERO_SHOT, 0, text.vectors, 0)
    done = 0
    for seed, drawn in zip(settings.seeds, draws, strict=False):
        for n in settings.drawn:
            some = Draw(first(train, drawn.rows, n), (), ())
            score(Method.MULTI_SHOT, n, multi_shot(train, some, None, None), len(some.rows))
            if settings.text_weight is not None:
                mixed = multi_shot(train, some, text.vectors, settings.text_weight)
                score(Method.MIX, n, mixed, len(some.rows))
            sweep, linear = probe_of(train, some.rows, seed, settings.regularisation)
            probe = score(Method.PROBE, n, augmented_rows(linear.weights, linear.bias)[0], len(some.rows))
            probe.c.append(sweep.c)
            probe.converged &= linear.converged
            for adapter in settings.adapters:
                by = settings.regularisation
                how = AdapterSettings(adapter, validation=by.validation, by=by.by)
                made = adapt(train, some.rows, seed, text, how)
                adapted = score(Method(adapter), n, made.rows, len(some.rows), made)
                if made.keys is not None:
                    adapted.alpha.append(made.keys.alpha)
                    adapted.beta.append(made.keys.beta)
            done += 1
            if on_progress is not None:
                on_progress(done, len(draws) * len(settings.drawn))
    points = []
    for (method, n), entry in sorted(scores.items(), key=lambda item: (list(Method).index(item[0][0]), item[0][1])):
        mean, spread, interval = mean_over_draws(np.array(entry.n_correct), len(scored.truth))
        points.append(
            CurvePoint(
                method,
                n,
                mean,
                interval,
                spread,
                len(scored.truth),
                len(train.truth),
                tuple(entry.n_correct),
                tuple(entry.c),
                entry.converged,
                tuple(entry.n_trained),
                tuple(entry.alpha),
                tuple(entry.beta),
            )
        )
    return FewShotCurve(
        points=tuple(points),
        n_scored=len(scored.truth),
        n_train=len(train.truth),
        n_classes=len(text.prompts.class_names),
        n_left_out=0 if test is None else len(test.truth) - len(scored.truth),
        seeds=settings.seeds,
        text_weight=settings.text_weight,
        fewer=draws[0].fewer if draws else (),
        model=text.space.model,
        templates=text.manifest.templates_source or "",
        skipped=labelled.skipped,
        unlabelled=labelled.unlabelled,
    )


def _divided(labelled: Labelled, test: Labelled | None, share: float) -> tuple[Labelled, Labelled]:
    """The images to draw from and those to score: a share of the former, or a test set without any of them."""
    if test is None:
        train, scored = held_out(labelled, share)
        missing = "no class has two different images, so none can be held out"
    else:
        train, scored = labelled, without(test, labelled)
        missing = "every image of the test gallery is one of the training images"
    if not len(scored.truth):
        raise SourceError(missing, hint="Give other images to score as `test`.")
    return train, scored


def _n_correct(
    rows: Vectors, text: Prototypes, scored: Labelled, backend: IndexBackend, made: Adaptation | None
) -> int:
    """How many images are nearest to the row of their class, or have their best score there, by the exact search."""
    index = backend.create(rows.shape[1])
    index.add(rows)
    augmented = rows.shape[1] > text.space.dim
    manifest = replace(text.manifest, lifted=augmented, head=text.head if made is None else made.head)
    keys = None if made is None else made.keys
    prototypes = Prototypes(None, manifest, text.prompts, rows, index, keys=keys)
    return int((prototypes.search(scored.vectors, 1)[1][:, 0] == scored.truth).sum())
