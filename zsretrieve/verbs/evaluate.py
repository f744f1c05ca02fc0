"""Prec@1 and the rest: zero-shot classification scored as retrieval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from zsretrieve.metrics import (
    bootstrap_mean,
    coverage_curve,
    hits_at,
    mean_per_class_recall,
    wilson,
)
from zsretrieve.ports import Encoder
from zsretrieve.ranking import check_k
from zsretrieve.results import ClassScore, Confusion, EvalReport, Merged, Reject, Run
from zsretrieve.sources import Source
from zsretrieve.store.indexes import Gallery, Prototypes, check_same_space
from zsretrieve.verbs import rejecting
from zsretrieve.verbs.drawing import without_drawn
from zsretrieve.verbs.encode import OnProgress, encode_source
from zsretrieve.verbs.labelled import Labelled, class_ids, labelled_gallery, labelled_source
from zsretrieve.verbs.retrieving import retrieval
from zsretrieve.verbs.scoring import scored

RANKS = (1, 5)
RETRIEVAL_AT = (1, 5, 10, 100)
# A run keeps at least so many classes of every picture, or as many as there are.
_KEPT = 5


def encode_labelled(
    source: Source,
    prototypes: Prototypes,
    encoder: Encoder,
    *,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast: bool = False,
    include_shots: bool = False,
    on_progress: OnProgress | None = None,
) -> Labelled:
    """Encode the labelled pictures of a source, to be scored against prototypes.

    Those that the prototypes were made from are left out unless ``include_shots``.

    Raises
    ------
    SpaceMismatchError
        If the encoder and the prototypes are of different spaces.
    ClassMappingError
        If a label is no class of the prototypes; nothing is encoded then.
    SourceError
        If no picture has a label.
    """
    check_same_space(prototypes.space, "the prototype index", encoder.space, "the encoder")
    class_ids([file.label for file in source.files], prototypes.prompts)
    encoded = encode_source(
        source, encoder, exif=exif, strict=strict, max_pixels=max_pixels, fast=fast, on_progress=on_progress
    )
    labelled = labelled_source(encoded, source.root, prototypes.prompts, encoder.space)
    return without_drawn(labelled, prototypes, include=include_shots)


def take_labelled(
    gallery: Gallery, prototypes: Prototypes, *, where: str | None = None, include_shots: bool = False
) -> Labelled:
    """The pictures of a labelled gallery, or those that pass a filter, to be scored; nothing is encoded.

    Those that the prototypes were made from are left out unless ``include_shots``.

    Raises as ``encode_labelled`` does, and FilterError if the filter cannot be used, or nothing passes it.
    """
    check_same_space(gallery.space, "the gallery", prototypes.space, "the prototype index")
    labelled = labelled_gallery(gallery, prototypes.prompts, where=where)
    return without_drawn(labelled, prototypes, include=include_shots)


def check_asked(
    n_classes: int, ranks: Sequence[int] | None = None, retrieval_at: Sequence[int] = (), reject: Reject | None = None
) -> None:
    """Raise RankError, before anything is scored, if what is asked for cannot be told with so many classes."""
    for k in ranks or ():
        check_k(k, n_classes, "classes", "there are")
    for k in retrieval_at:
        check_k(k, max(k, 1), "images")
    if reject is not None:
        rejecting.check(reject)


def evaluate_labelled(
    labelled: Labelled,
    prototypes: Prototypes,
    *,
    ranks: Sequence[int] | None = None,
    retrieval_at: Sequence[int] = (),
    reject: Reject | None = None,
) -> EvalReport:
    """Score labelled vectors against prototypes. See ``run_and_report``."""
    return run_and_report(labelled, prototypes, ranks=ranks, retrieval_at=retrieval_at, reject=reject)[1]


def run_and_report(
    labelled: Labelled,
    prototypes: Prototypes,
    *,
    ranks: Sequence[int] | None = None,
    retrieval_at: Sequence[int] = (),
    reject: Reject | None = None,
) -> tuple[Run, EvalReport]:
    """Score labelled vectors against prototypes: what is said to every picture, and all figures of it.

    Prec@1 is the number of pictures whose nearest prototype is their class, over the number scored; a picture
    without a label is not scored, and is counted as such.

    Parameters
    ----------
    labelled : Labelled
    prototypes : Prototypes
    ranks : sequence of int, optional
        The k of Prec@k, beside 1; by default 5, or as it is with fewer classes, 1 alone.
    retrieval_at : sequence of int
        The k of the other direction, which is reported if there is one.
    reject : Reject, optional

    Raises
    ------
    RankError
        If a k does not fit the number of classes, or no threshold reaches the precision that is wanted.
    """
    n_classes = len(prototypes.index)
    check_asked(n_classes, ranks, retrieval_at, reject)
    ks = sorted({1, *(ranks if ranks is not None else (k for k in RANKS if k <= n_classes))})
    run, calibration = scored(labelled, prototypes, min(n_classes, max(*ks, _KEPT)))
    n, truth, correct = len(run.truth), run.truth, run.correct
    hits = {k: int(hits_at(run.ranked, truth, k).sum()) for k in ks}
    per_class = scores_of_classes(run)
    return run, EvalReport(
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
        shots_included=labelled.shots_included,
        merged=merged(run),
        calibration=calibration,
        coverage={by: coverage_curve(rejecting.confidence(run, by), correct) for by in rejecting.WAYS},
        rejection=None if reject is None else rejecting.rejected(run, reject),
        retrieval=retrieval(labelled, prototypes, retrieval_at) if retrieval_at else None,
    )


def scores_of_classes(run: Run) -> tuple[ClassScore, ...]:
    """The recall of every class that occurs, by class id."""
    n_classes = len(run.class_names)
    counts = np.bincount(run.truth, minlength=n_classes)
    right = np.bincount(run.truth[run.correct], minlength=n_classes)
    return tuple(ClassScore(int(c), run.class_names[c], int(counts[c]), int(right[c])) for c in np.flatnonzero(counts))


def tied(run: Run) -> int:
    """How many pictures have their best score from two classes of different names."""
    _, name_of = np.unique(run.class_names, return_inverse=True)
    ranked = name_of[run.ranked]
    found = (run.scores == run.scores[:, :1]) & (ranked != ranked[:, :1])
    return int(found.any(axis=1).sum())


def confusions(run: Run) -> tuple[Confusion, ...]:
    """Every pair of a class and another that some of its images were given, most frequent first, then by class ids."""
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
    """The score where classes of the very same name count as one; None where no two share a name."""
    shared = tuple(name for name, n in Counter(run.class_names).items() if n > 1)
    if not shared:
        return None
    first: dict[str, int] = {}
    alike = np.array([first.setdefault(name, row) for row, name in enumerate(run.class_names)])
    n_correct = int((alike[run.ranked[:, 0]] == alike[run.truth]).sum())
    return Merged(n_correct / len(run.truth), wilson(n_correct, len(run.truth)), n_correct, shared)
