"""What a few labelled pictures are worth: zero-shot, multi-shot and a probe, by the number of pictures of a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from zsretrieve.errors import SourceError
from zsretrieve.metrics.draws import mean_over_draws
from zsretrieve.ports import IndexBackend
from zsretrieve.records import Skipped
from zsretrieve.results import Interval
from zsretrieve.store.indexes import Prototypes, check_same_space
from zsretrieve.vectors import Rows, Vectors, lifted_rows
from zsretrieve.verbs.drawing import Draw, draw, first, held_out, without
from zsretrieve.verbs.few_shot import check_text, multi_shot
from zsretrieve.verbs.labelled import Labelled
from zsretrieve.verbs.probing import DEFAULT_VALIDATION, check_probe, probe_of

DEFAULT_SHOTS = (0, 1, 2, 4, 8, 16)
DEFAULT_SEEDS = 3
DEFAULT_HELD_OUT = 0.5

OnRun = Callable[[int, int], None]


class Method(StrEnum):
    """How classes become vectors: from text alone, as means of pictures, as both mixed, as a trained classifier."""

    ZERO_SHOT = "zero-shot"
    MULTI_SHOT = "multi-shot"
    MIX = "mix"
    PROBE = "probe"


@dataclass(frozen=True)
class CurvePoint:
    """One method with so many pictures of each class.

    Attributes
    ----------
    method : Method
    shots : int
    prec_at_1 : float
        The mean over the seeds, a fraction of the images scored.
    spread : float
        The standard deviation over the seeds; 0 for one.
    interval : Interval
        Of ``prec_at_1``, see ``zsretrieve.metrics.draws.mean_over_draws``.
    n_correct : tuple of int
        One for each seed; one for zero-shot, which draws nothing.
    c : tuple of float
        The inverse strength of regularisation of each seed's probe.
    converged : bool
        Whether every probe's last fit did.
    """

    method: Method
    shots: int
    prec_at_1: float
    spread: float
    interval: Interval
    n_correct: tuple[int, ...]
    c: tuple[float, ...] = ()
    converged: bool = True


@dataclass(frozen=True)
class FewShotCurve:
    """The points, by method and then shots. All were scored on the same ``n_scored`` images, none of which trained.

    ``n_train`` images were there to draw from, of ``n_classes`` classes. ``n_left_out`` images of a test gallery were
    left out, since they may train. ``fewer`` are the classes with fewer images than the most shots.
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


def divided(labelled: Labelled, test: Labelled | None, share: float) -> tuple[Labelled, Labelled]:
    """The pictures to draw from and those to score: a share of the former, or a test set without any of them.

    Raises
    ------
    SourceError
        If there is nothing left to score, or the share is none.
    """
    if test is None:
        if not 0.0 < share < 1.0:
            raise SourceError(f"{share} is no share of the images", hint="Give a number between 0 and 1, such as 0.5.")
        train, scored = held_out(labelled, share)
        missing = "no class has two different images, so none can be held out"
    else:
        train, scored = labelled, without(test, labelled)
        missing = "every image of the test gallery is one of the training images"
    if not len(scored.truth):
        raise SourceError(missing, hint="Give other images to score with --test GALLERY.")
    return train, scored


def few_shot_curve(
    labelled: Labelled,
    text: Prototypes,
    backend: IndexBackend,
    *,
    test: Labelled | None = None,
    share: float = DEFAULT_HELD_OUT,
    shots: Sequence[int] = DEFAULT_SHOTS,
    seeds: Sequence[int] = tuple(range(DEFAULT_SEEDS)),
    text_weight: float | None = None,
    c: float | None = None,
    validation: float = DEFAULT_VALIDATION,
    allow_fewer: bool = False,
    on_run: OnRun | None = None,
) -> FewShotCurve:
    """Score zero-shot, multi-shot and a probe on the same images, for several numbers of shots and several seeds.

    The draws of one seed are nested: what 2 shots train on, 4 shots train on too.

    Parameters
    ----------
    labelled : Labelled
        Of the classes of ``text``.
    text : Prototypes
        The zero-shot prototypes.
    backend : IndexBackend
    test : Labelled, optional
        What is scored, without what is among ``labelled``; by default a share of ``labelled``.
    share : float
        How much of each class is held out to be scored, where there is no ``test``; the same whatever the seed.
    shots : sequence of int
        Images of each class; 0 is zero-shot.
    seeds : sequence of int
        Each draws once.
    text_weight : float, optional
        Also score text and image prototypes mixed, the text by this weight.
    c, validation
        See ``zsretrieve.verbs.probing.train_probe``.
    allow_fewer : bool
        Take all images of a class that has fewer than the shots.
    on_run : callable, optional
        Called with (draws done, draws in all).

    Raises
    ------
    SourceError
        If a class has no image to train on or too few, none is left to score, or the prototypes are not of text.
    SpaceMismatchError
        If images and prototypes are of different spaces.
    """
    check_same_space(labelled.space, "the images", text.space, "the prototype index")
    check_text(text)
    wanted, drawing = _checked(shots, seeds)
    train, scored = divided(labelled, test, share)
    if drawing:
        check_probe(len(text.prompts.class_names), c, validation)
    found: dict[tuple[Method, int], list[int]] = {}
    chosen: dict[int, list[float]] = {}
    unfinished: set[int] = set()
    fewer: tuple[str, ...] = ()

    def score(method: Method, n: int, rows: Vectors, *, lifted: bool = False) -> None:
        found.setdefault((method, n), []).append(_n_correct(rows, text, scored, backend, lifted=lifted))

    # What cannot be drawn is told before anything is computed.
    drawn = [draw(train, max(drawing), seed, allow_fewer=allow_fewer) for seed in seeds] if drawing else []
    if 0 in wanted:
        found[Method.ZERO_SHOT, 0] = [int((text.search(scored.vectors, 1)[1][:, 0] == scored.truth).sum())]
    for number, most in enumerate(drawn):
        seed, fewer = seeds[number], most.fewer
        for place, n in enumerate(drawing):
            some = Draw(first(train, most.rows, n), (), ())
            score(Method.MULTI_SHOT, n, multi_shot(train, some, None, None))
            if text_weight is not None:
                score(Method.MIX, n, multi_shot(train, some, text.vectors, text_weight))
            sweep, linear = probe_of(train, some.rows, seed, c=c, validation=validation)
            score(Method.PROBE, n, lifted_rows(linear.weights, linear.bias)[0], lifted=True)
            chosen.setdefault(n, []).append(sweep.c)
            if not linear.converged:
                unfinished.add(n)
            if on_run is not None:
                on_run(number * len(drawing) + place + 1, len(seeds) * len(drawing))
    points = []
    for method, n in sorted(found, key=lambda one: (list(Method).index(one[0]), one[1])):
        mean, spread, interval = mean_over_draws(np.array(found[method, n]), len(scored.truth))
        probes = tuple(chosen[n]) if method is Method.PROBE else ()
        points.append(
            CurvePoint(
                method, n, mean, spread, interval, tuple(found[method, n]), probes, not (probes and n in unfinished)
            )
        )
    return FewShotCurve(
        points=tuple(points),
        n_scored=len(scored.truth),
        n_train=len(train.truth),
        n_classes=len(text.prompts.class_names),
        n_left_out=0 if test is None else len(test.truth) - len(scored.truth),
        seeds=tuple(seeds),
        text_weight=text_weight,
        fewer=fewer,
        model=text.space.model,
        templates=text.manifest.templates_source or "",
        skipped=labelled.skipped,
        unlabelled=labelled.unlabelled,
    )


def _checked(shots: Sequence[int], seeds: Sequence[int]) -> tuple[list[int], list[int]]:
    """The numbers of shots, ascending, and those of them that draw."""
    wanted = sorted(set(shots))
    if not wanted or wanted[0] < 0:
        raise SourceError("the shots must be 0 or more", hint="Give numbers such as 0,1,2,4,8,16.")
    if not seeds:
        raise SourceError("without a seed nothing is drawn", hint="Ask for 1 seed or more.")
    return wanted, [n for n in wanted if n]


def _n_correct(rows: Vectors, text: Prototypes, scored: Labelled, backend: IndexBackend, *, lifted: bool) -> int:
    """How many images are nearest to the row of their class, by the exact search."""
    index = backend.create(rows.shape[1])
    index.add(rows)
    prototypes = Prototypes(None, replace(text.manifest, lifted=lifted), text.prompts, rows, index)
    best: Rows = prototypes.search(scored.vectors, 1)[1][:, 0]
    return int((best == scored.truth).sum())
