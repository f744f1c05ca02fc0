"""One pass over labelled pictures: what a model says to each, and how far its probabilities can be believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zsretrieve.metrics import (
    expected_calibration_error,
    fit_sigmoid_scale,
    fit_softmax_scale,
    log_normaliser,
    probabilities,
    reliability,
    sigmoid_loss,
)
from zsretrieve.records import Head, ScoreHead
from zsretrieve.results import Calibration, Run
from zsretrieve.store.indexes import Prototypes
from zsretrieve.verbs.labelled import Labelled

# So many scores of pictures with classes are in memory at once, and at least one picture's.
CHUNK_ELEMENTS = 1 << 22
# A scale is fitted to so many pictures at most, and to so many scores unless the pictures would be too few.
_FITTED_IMAGES, _FITTED_ELEMENTS, _FEWEST_FITTED = 5_000, 1 << 24, 256
_SEED = 0


def scored(labelled: Labelled, prototypes: Prototypes, k: int) -> tuple[Run, Calibration]:
    """The k nearest classes of every picture with the model's probabilities, and how far these can be believed.

    Scores of all pictures with all classes are never in memory together. A scale is fitted to all pictures or, where
    there are more than 5,000 (fewer with more than 3,000 classes), to so many drawn by a fixed seed; errors and losses
    are of all pictures.

    Parameters
    ----------
    labelled : Labelled
    prototypes : Prototypes
    k : int
        From 1 to the number of classes.
    """
    own = prototypes.manifest.head
    softmax = own.kind is ScoreHead.SOFTMAX
    n, truth = len(labelled.truth), labelled.truth
    scores, ranked = np.empty((n, k), dtype=np.float32), np.empty((n, k), dtype=np.int64)
    fitted, fitted_on = _fitted_softmax(labelled, prototypes) if softmax else (own, None)
    heads = (own, fitted) if softmax else ()
    normalisers = np.empty((len(heads), n))
    of_truth = np.empty(n if softmax else 0)
    step = max(1, CHUNK_ELEMENTS // max(len(prototypes.index), prototypes.space.dim))
    for start in range(0, n, step):
        at = slice(start, start + step)
        part = labelled.vectors[at]
        scores[at], ranked[at] = prototypes.index.search(part, k)
        for row, head in enumerate(heads):
            normalisers[row, at] = log_normaliser(part, prototypes.vectors, head)
        if softmax:
            of_truth[at] = np.einsum("nd,nd->n", part, prototypes.vectors[truth[at]], dtype=np.float64)
    run = Run(
        paths=labelled.paths,
        digests=tuple(item.digest for item in labelled.items),
        truth=truth,
        ranked=ranked,
        scores=scores,
        probabilities=probabilities(scores, own, normalisers[0] if softmax else None),
        class_names=prototypes.prompts.class_names,
        class_keys=prototypes.prompts.class_keys,
        model=prototypes.space.model,
        templates=prototypes.manifest.templates_source or "",
    )
    correct = run.correct
    if softmax:
        # Scores and normalisers are rounded apart from one another, so a certain picture may miss 0 from below.
        losses = [
            float(np.maximum(0.0, total - head.scale * of_truth - head.bias).mean())
            for head, total in zip(heads, normalisers, strict=True)
        ]
        top = [probabilities(scores[:, :1], head, total)[:, 0] for head, total in zip(heads, normalisers, strict=True)]
    else:
        logits = own.scale * scores[:, 0].astype(np.float64) + own.bias
        factor = fit_sigmoid_scale(logits, correct, own.scale) / own.scale
        fitted = replace(own, scale=own.scale * factor, bias=own.bias * factor)
        losses = [sigmoid_loss(logits, correct), sigmoid_loss(factor * logits, correct)]
        top = [probabilities(scores[:, :1], head)[:, 0] for head in (own, fitted)]
    bins, fitted_bins = (reliability(values, correct) for values in top)
    return run, Calibration(
        kind=str(own.kind),
        scale=own.scale,
        error=expected_calibration_error(bins),
        loss=losses[0],
        bins=bins,
        fitted_scale=fitted.scale,
        fitted_error=expected_calibration_error(fitted_bins),
        fitted_loss=losses[1],
        fitted_bins=fitted_bins,
        fitted_on=fitted_on,
    )


def _fitted_softmax(labelled: Labelled, prototypes: Prototypes) -> tuple[Head, int | None]:
    """The head with the scale of least loss, and to how many pictures it was fitted if not to all."""
    n, n_classes = len(labelled.truth), len(prototypes.index)
    most = min(_FITTED_IMAGES, max(_FEWEST_FITTED, _FITTED_ELEMENTS // n_classes))
    own = prototypes.manifest.head
    rows = np.arange(n) if n <= most else np.sort(np.random.default_rng(_SEED).choice(n, most, replace=False))
    scores = labelled.vectors[rows] @ prototypes.vectors.T
    fitted = replace(own, scale=fit_softmax_scale(scores, labelled.truth[rows], own.scale))
    return fitted, None if n <= most else most
