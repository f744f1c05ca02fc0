"""One pass over labelled images: the predictions for each, and how well calibrated their probabilities are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.records import Head, ScoreHead
from zsretrieve.domain.results import Calibration, Run
from zsretrieve.evaluation.answers import CHUNK_ELEMENTS, Ranked
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.metrics import (
    expected_calibration_error,
    fit_sigmoid_scale,
    fit_softmax_scale,
    probabilities,
    reliability,
    sigmoid_loss,
)
from zsretrieve.store.indexes import Prototypes

# A scale is fitted to at most this many images, and this many scores unless that leaves too few images.
_FITTED_IMAGES, _FITTED_ELEMENTS, _FEWEST_FITTED = 5_000, 1 << 24, 256
_SEED = 0


@dataclass(frozen=True, eq=False)
class _Pass:
    """``normalisers`` have the shape (heads, n); ``of_truth`` (n,) are the scores of the true classes."""

    run: Run
    normalisers: NDArray[np.float64]
    of_truth: NDArray[np.float64]


def run_of(labelled: Labelled, prototypes: Prototypes, k: int) -> Run:
    """The k nearest classes of every image, k from 1 to the number of classes, with the model's probabilities.

    The scores of all images with all classes are never in memory at once.
    """
    return _passed(labelled, prototypes, k, (prototypes.head,)).run


def scored(labelled: Labelled, prototypes: Prototypes, k: int) -> tuple[Run, Calibration]:
    """The run, see ``run_of``, and how well calibrated its probabilities are.

    The scale is fitted to all images or, if there are more than 5,000 (fewer with more than 3,000 classes), to that
    many drawn by a fixed seed; errors and losses cover all images.
    """
    own = prototypes.head
    if own.kind is ScoreHead.SIGMOID:
        run = run_of(labelled, prototypes, k)
        return run, _of_sigmoid(run, own)
    fitted, fitted_on = _fitted_softmax(labelled, prototypes)
    heads = (own, fitted)
    passed = _passed(labelled, prototypes, k, heads)
    best = passed.run.scores[:, :1]
    top = [probabilities(best, head, total)[:, 0] for head, total in zip(heads, passed.normalisers, strict=True)]
    # Rounding may take the loss of a certain image below 0.
    losses = [
        float(np.maximum(0.0, total - head.scale * passed.of_truth - head.bias).mean())
        for head, total in zip(heads, passed.normalisers, strict=True)
    ]
    return passed.run, _calibration(passed.run, heads, top, losses, fitted_on)


def _of_sigmoid(run: Run, own: Head) -> Calibration:
    correct = run.correct
    logits = own.scale * run.scores[:, 0].astype(np.float64) + own.bias
    factor = fit_sigmoid_scale(logits, correct, own.scale) / own.scale
    heads = (own, replace(own, scale=own.scale * factor, bias=own.bias * factor))
    top = [probabilities(run.scores[:, :1], head)[:, 0] for head in heads]
    return _calibration(run, heads, top, [sigmoid_loss(logits, correct), sigmoid_loss(factor * logits, correct)], None)


def _calibration(
    run: Run, heads: tuple[Head, Head], top: list[NDArray[np.float64]], losses: list[float], fitted_on: int | None
) -> Calibration:
    bins, fitted_bins = (reliability(values, run.correct) for values in top)
    return Calibration(
        kind=str(heads[0].kind),
        scale=heads[0].scale,
        error=expected_calibration_error(bins),
        loss=losses[0],
        bins=bins,
        fitted_scale=heads[1].scale,
        fitted_error=expected_calibration_error(fitted_bins),
        fitted_loss=losses[1],
        fitted_bins=fitted_bins,
        fitted_on=fitted_on,
    )


def _passed(labelled: Labelled, prototypes: Prototypes, k: int, heads: tuple[Head, ...]) -> _Pass:
    """Score the images once, in chunks; the first of the heads gives the run its probabilities."""
    softmax = heads[0].kind is ScoreHead.SOFTMAX
    n = len(labelled.truth)
    scores, ranked = np.empty((n, k), dtype=np.float32), np.empty((n, k), dtype=np.int64)
    normalisers, of_truth = np.empty((len(heads), n)), np.empty(n)
    step = max(1, CHUNK_ELEMENTS // max(len(prototypes.index), prototypes.space.dim))
    for start in range(0, n, step):
        at = slice(start, start + step)
        found = prototypes.against(labelled.vectors[at])
        scores[at], ranked[at] = found.best(k)
        truth, best = labelled.truth[at], scores[at, 0]
        # If the best class is the true one, both scores must be the same number, whatever the rounding.
        of_truth[at] = np.where(ranked[at, 0] == truth, best, found.of(truth))
        for row, head in enumerate(heads if softmax else ()):
            normalisers[row, at] = found.log_normaliser(head, best)
    chances = probabilities(scores, heads[0], normalisers[0] if softmax else None)
    run = as_run(labelled, prototypes, Ranked(scores, ranked, chances), prototypes.manifest.templates_source or "")
    return _Pass(run, normalisers, of_truth)


def as_run(labelled: Labelled, prototypes: Prototypes, answers: Ranked, templates: str) -> Run:
    """The answers for all images as a run; ``templates`` say what gave them."""
    return Run(
        paths=labelled.paths,
        digests=tuple(item.digest for item in labelled.items),
        truth=labelled.truth,
        ranked=answers.classes,
        scores=answers.scores,
        probabilities=answers.chances,
        class_names=prototypes.prompts.class_names,
        class_keys=prototypes.prompts.class_keys,
        model=prototypes.space.model,
        templates=templates,
    )


def _fitted_softmax(labelled: Labelled, prototypes: Prototypes) -> tuple[Head, int | None]:
    """The head with the scale of least loss, and the number of images that it was fitted to, None if all."""
    n, n_classes = len(labelled.truth), len(prototypes.index)
    most = min(_FITTED_IMAGES, max(_FEWEST_FITTED, _FITTED_ELEMENTS // n_classes))
    own = prototypes.head
    rows = np.arange(n) if n <= most else np.sort(np.random.default_rng(_SEED).choice(n, most, replace=False))
    scores = prototypes.against(labelled.vectors[rows]).all()
    fitted = replace(own, scale=fit_softmax_scale(scores, labelled.truth[rows], own.scale))
    return fitted, None if n <= most else most
