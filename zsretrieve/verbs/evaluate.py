"""Prec@1 and the rest: zero-shot classification scored as retrieval."""

from __future__ import annotations

from collections import Counter

import numpy as np

from zsretrieve.metrics import bootstrap_mean, hits_at, mean_per_class_recall, wilson
from zsretrieve.ports import Encoder
from zsretrieve.results import ClassScore, Confusion, EvalReport
from zsretrieve.sources import Source
from zsretrieve.store.indexes import Gallery, Prototypes, check_same_space
from zsretrieve.verbs.drawing import without_drawn
from zsretrieve.verbs.encode import OnProgress, encode_source
from zsretrieve.verbs.labelled import Labelled, class_ids, labelled_gallery, labelled_source

RANKS = (1, 5)


def evaluate_source(
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
) -> EvalReport:
    """Encode the labelled pictures of a source and score them, but for those that the prototypes were made from.

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
    return evaluate_labelled(without_drawn(labelled, prototypes, include=include_shots), prototypes)


def evaluate_gallery(
    gallery: Gallery, prototypes: Prototypes, *, where: str | None = None, include_shots: bool = False
) -> EvalReport:
    """Score the pictures of a labelled gallery, or those that pass a filter; nothing is encoded.

    Pictures that the prototypes were made from are left out unless ``include_shots``.

    Raises as ``evaluate_source`` does, and FilterError if the filter cannot be used, or nothing passes it.
    """
    check_same_space(gallery.space, "the gallery", prototypes.space, "the prototype index")
    labelled = labelled_gallery(gallery, prototypes.prompts, where=where)
    return evaluate_labelled(without_drawn(labelled, prototypes, include=include_shots), prototypes)


def evaluate_labelled(labelled: Labelled, prototypes: Prototypes) -> EvalReport:
    """Score labelled vectors against prototypes.

    Prec@1 is the number of pictures whose nearest prototype is their class, over the number scored; a picture
    without a label is not scored, and is counted as such.
    """
    truth = labelled.truth
    n_classes = len(prototypes.index)
    ranks = [k for k in RANKS if k <= n_classes]
    _, ranked = prototypes.search(labelled.vectors, max(ranks))
    correct = hits_at(ranked, truth, 1)
    names = prototypes.prompts.class_names
    per_class = tuple(
        ClassScore(int(c), names[c], int((truth == c).sum()), int(correct[truth == c].sum())) for c in np.unique(truth)
    )
    wrong = Counter((int(t), int(p)) for t, p in zip(truth[~correct], ranked[~correct, 0], strict=True))
    return EvalReport(
        n_scored=len(truth),
        n_correct=int(correct.sum()),
        prec_at={k: float(hits_at(ranked, truth, k).mean()) for k in ranks},
        prec_interval={k: wilson(int(hits_at(ranked, truth, k).sum()), len(truth)) for k in ranks},
        mean_per_class_recall=mean_per_class_recall(correct, truth),
        mean_interval=bootstrap_mean(np.array([score.recall for score in per_class])),
        n_classes=n_classes,
        per_class=per_class,
        confusions=tuple(
            Confusion(names[t], names[p], n, t, p)
            for (t, p), n in sorted(wrong.items(), key=lambda pair: (-pair[1], pair[0]))
        ),
        skipped=labelled.skipped,
        unlabelled=labelled.unlabelled,
        model=prototypes.space.model,
        templates=prototypes.manifest.templates_source or "",
        where=labelled.where,
        n_drawn=labelled.n_drawn,
        shots_included=labelled.shots_included,
    )
