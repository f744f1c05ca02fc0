"""Prec@1 and the other figures: zero-shot classification scored as retrieval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from zsretrieve.domain.errors import RankError
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.prediction_sets import Coverage, SetThreshold
from zsretrieve.domain.ranking import check_k
from zsretrieve.domain.results import (
    CONFIDENCES,
    Baseline,
    Calibration,
    ClassScore,
    Confusion,
    EvalReport,
    Merged,
    Reject,
    Rejection,
    Run,
)
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_source
from zsretrieve.evaluation.answers import OfPrototypes, OfShares, ranked_all
from zsretrieve.evaluation.class_retrieval import retrieval
from zsretrieve.evaluation.labelled import Labelled, class_ids, labelled_gallery, labelled_source
from zsretrieve.evaluation.paired import compare_runs
from zsretrieve.evaluation.prediction_sets import calibrate, score_sets
from zsretrieve.evaluation.run import as_run, run_of, scored
from zsretrieve.evaluation.splits import without_drawn
from zsretrieve.images.sources import Source
from zsretrieve.metrics import (
    bootstrap_mean,
    coverage_curve,
    hits_at,
    mean_per_class_recall,
    rejection,
    threshold_for,
    wilson,
)
from zsretrieve.store.indexes import Gallery, Prototypes

RANKS = (1, 5)
# A run keeps at least this many classes per image, or all there are.
_KEPT = 5


def encode_labelled(
    source: Source,
    prototypes: Prototypes,
    model: Model,
    reading: Reading,
    *,
    include_shots: bool = False,
    on_progress: OnProgress | None = None,
) -> Labelled:
    """Encode the labelled images of a source, to be scored against prototypes.

    Images that the prototypes were made from are left out unless ``include_shots``.

    Raises
    ------
    SpaceMismatchError
        If the model and the prototypes have different embedding spaces.
    ClassMappingError
        If a label is not a class of the prototypes; nothing is encoded then.
    SourceError
        If no image has a label.
    """
    class_ids([file.label for file in source.files], prototypes.prompts)
    encoded = encode_source(source, model, reading, space=prototypes.space, on_progress=on_progress)
    labelled = labelled_source(encoded, source.root, prototypes.prompts, prototypes.space)
    return without_drawn(labelled, prototypes, include=include_shots)


def take_labelled(
    gallery: Gallery, prototypes: Prototypes, *, where: str | None = None, include_shots: bool = False
) -> Labelled:
    """The labelled images of a gallery, or those that pass a filter, to be scored; nothing is encoded.

    Images that the prototypes were made from are left out unless ``include_shots``.

    Raises as ``encode_labelled`` does, and FilterError if the filter cannot be used, or nothing passes it.
    """
    check_same_images(gallery.space, "the gallery", prototypes.space, "the prototype index")
    labelled = labelled_gallery(gallery, prototypes.prompts, where=where)
    return without_drawn(labelled, prototypes, include=include_shots)


def calibrated(gallery: Gallery, prototypes: Prototypes, coverage: Coverage) -> SetThreshold:
    """The threshold of prediction sets, from the labelled images of a gallery that the prototypes were not made from.

    Raises as ``take_labelled`` and ``zsretrieve.evaluation.prediction_sets.calibrate`` do.
    """
    labelled = take_labelled(gallery, prototypes)
    return calibrate(OfPrototypes(labelled.vectors, prototypes), labelled.truth, coverage)


def check_ranks(n_classes: int, ranks: Sequence[int] | None, retrieval_at: Sequence[int]) -> None:
    """Raise RankError if a k of Prec@k does not fit the number of classes, or one of retrieval is below 1."""
    for k in ranks or ():
        check_k(k, n_classes, "classes", "there are")
    for k in retrieval_at:
        check_k(k, max(k, 1), "images")


def evaluate_labelled(
    labelled: Labelled,
    prototypes: Prototypes,
    *,
    ranks: Sequence[int] | None = None,
    retrieval_at: Sequence[int] = (),
    reject: Reject | None = None,
    coverage: Coverage | None = None,
    against: Prototypes | None = None,
    shares: OfShares | None = None,
) -> EvalReport:
    """Score labelled vectors against prototypes.

    Prec@1 is the number of images whose nearest prototype is their class, over the number scored; images without a
    label are counted, but not scored.

    Parameters
    ----------
    labelled : Labelled
    prototypes : Prototypes
    ranks : sequence of int, optional
        The k of Prec@k besides 1; by default 5 if there are as many classes.
    retrieval_at : sequence of int
        The k of class-to-image retrieval, which is reported if there is one.
    reject : Reject, optional
    coverage : Coverage, optional
        Also calibrate prediction sets on one half of the images, and score them on the other.
    against : Prototypes, optional
        Also compare with these on the same images.
    shares : OfShares, optional
        Answers for the images by propagation, which are scored in place of the prototypes' own.

    Raises
    ------
    RankError
        If a k does not fit the number of classes, or no threshold reaches the precision that is wanted.
    SourceError
        If there are too few images for the coverage.
    SpaceMismatchError, ClassMappingError
        If ``against`` does not fit the images.
    """
    n_classes = len(prototypes.index)
    check_ranks(n_classes, ranks, retrieval_at)
    ks = sorted({1, *(ranks if ranks is not None else (k for k in RANKS if k <= n_classes))})
    kept = min(n_classes, max(*ks, _KEPT))
    calibration: Calibration | None = None
    if shares is None:
        run, calibration = scored(labelled, prototypes, kept)
    else:
        templates = f"{prototypes.manifest.templates_source or ''}, propagated".removeprefix(", ")
        run = as_run(labelled, prototypes, ranked_all(shares, len(labelled.truth), kept), templates)
    n, truth, correct = len(run.truth), run.truth, run.correct
    hits = {k: int(hits_at(run.ranked, truth, k).sum()) for k in ks}
    per_class = scores_of_classes(run)
    return EvalReport(
        run=run,
        n_scored=n,
        n_correct=hits[1],
        prec_at={k: hits[k] / n for k in ks},
        prec_interval={k: wilson(hits[k], n) for k in ks},
        mean_per_class_recall=mean_per_class_recall(correct, truth),
        mean_interval=bootstrap_mean(np.array([score.recall for score in per_class])),
        n_classes=n_classes,
        per_class=per_class,
        confusions=confusions(run),
        skipped=labelled.skipped,
        unlabelled=labelled.unlabelled,
        model=run.model,
        templates=run.templates,
        where=labelled.where,
        n_drawn=labelled.n_drawn,
        n_tied=tied(run),
        n_by_number=labelled.n_by_number,
        shots_included=labelled.shots_included,
        merged=merged(run),
        calibration=calibration,
        coverage={by: coverage_curve(run.confidence(by), correct) for by in CONFIDENCES},
        rejection=None if reject is None else rejected(run, reject),
        retrieval=retrieval(labelled, prototypes, retrieval_at) if retrieval_at else None,
        prediction_sets=None
        if coverage is None
        else score_sets(shares or OfPrototypes(labelled.vectors, prototypes), labelled, coverage),
        baseline=None if against is None else _compared(run, labelled, against),
    )


def _compared(run: Run, labelled: Labelled, against: Prototypes) -> Baseline:
    """What other prototypes say of the same images, and the difference."""
    check_same_images(labelled.space, "the images", against.space, "the prototypes to compare with")
    known = class_ids([item.label for item in labelled.items], against.prompts)
    truth = np.array([known[item.label] for item in labelled.items if item.label is not None], dtype=np.int64)
    other = run_of(replace(labelled, truth=truth, prompts=against.prompts), against, min(2, len(against.index)))
    found = compare_runs(other, run)
    return Baseline(found.first.templates, found.first.n_correct, found.first.interval, found.difference)


def scores_of_classes(run: Run) -> tuple[ClassScore, ...]:
    """The recall of every class that occurs, by class id."""
    n_classes = len(run.class_names)
    counts = np.bincount(run.truth, minlength=n_classes).tolist()
    correct = np.bincount(run.truth[run.correct], minlength=n_classes).tolist()
    return tuple(
        ClassScore(class_id, name, n, n_correct, wilson(n_correct, n))
        for class_id, (name, n, n_correct) in enumerate(zip(run.class_names, counts, correct, strict=True))
        if n
    )


def tied(run: Run) -> int:
    """How many images have their best score from two classes of different names."""
    _, name_of = np.unique(run.class_names, return_inverse=True)
    ranked = name_of[run.ranked]
    is_tied = (run.scores == run.scores[:, :1]) & (ranked != ranked[:, :1])
    return int(is_tied.any(axis=1).sum())


def confusions(run: Run) -> tuple[Confusion, ...]:
    """Every pair of true and predicted class that differ, the most frequent first, then by class ids."""
    n_classes, names = len(run.class_names), run.class_names
    wrong = ~run.correct
    pairs, counts = np.unique(run.truth[wrong] * n_classes + run.ranked[wrong, 0], return_counts=True)
    by = np.argsort(-counts, kind="stable")
    return tuple(
        Confusion(names[t], names[p], n, t, p)
        for pair, n in zip(pairs[by].tolist(), counts[by].tolist(), strict=True)
        for t, p in [divmod(pair, n_classes)]
    )


def merged(run: Run) -> Merged | None:
    """The score with classes of equal names counted as one; None if no two classes share a name."""
    shared = tuple(name for name, n in Counter(run.class_names).items() if n > 1)
    if not shared:
        return None
    first: dict[str, int] = {}
    alike = np.array([first.setdefault(name, row) for row, name in enumerate(run.class_names)])
    n_correct = int((alike[run.ranked[:, 0]] == alike[run.truth]).sum())
    return Merged(n_correct / len(run.truth), wilson(n_correct, len(run.truth)), n_correct, shared)


def rejected(run: Run, reject: Reject) -> Rejection:
    """What is answered and right with a threshold. Raises RankError if none reaches the wanted precision."""
    confidence, correct = run.confidence(reject.by), run.correct
    threshold = reject.below
    if reject.wanted is not None:
        threshold = threshold_for(confidence, correct, reject.wanted)
    if threshold is None:
        best = max(coverage_curve(confidence, correct, len(confidence)), key=lambda point: point.accuracy)
        other = next(by for by in CONFIDENCES if by != reject.by)
        raise RankError(
            f"no {reject.by} threshold makes {100 * (reject.wanted or 0):g} % of the answers right; the best is "
            f"{100 * best.accuracy:.2f} % of {best.n_answered}, with a threshold of {best.threshold:.6g}",
            hint=f"Lower `wanted`, or try `by` {other}.",
        )
    return rejection(confidence, correct, threshold, by=reject.by, wanted=reject.wanted)
