"""Prec@1 and the rest: zero-shot classification scored as retrieval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from zsretrieve.errors import SourceError
from zsretrieve.labels import map_labels
from zsretrieve.metrics import hits_at, mean_per_class_recall
from zsretrieve.ports import Encoder
from zsretrieve.records import ClassScore, Confusion, EvalReport, Skipped
from zsretrieve.sources import Source
from zsretrieve.store.indexes import Gallery, Prototypes, check_same_space
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.encode import OnProgress, encode_source
from zsretrieve.verbs.selecting import selected

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
    on_progress: OnProgress | None = None,
) -> EvalReport:
    """Encode the labelled pictures of a source and score them.

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
    class_ids([file.label for file in source.files], prototypes)
    encoded = encode_source(
        source, encoder, exif=exif, strict=strict, max_pixels=max_pixels, fast=fast, on_progress=on_progress
    )
    return evaluate_vectors(encoded.vectors, [i.label for i in encoded.items], prototypes, skipped=encoded.skipped)


def evaluate_gallery(gallery: Gallery, prototypes: Prototypes, *, where: str | None = None) -> EvalReport:
    """Score the pictures of a labelled gallery, or those that pass a filter; nothing is encoded.

    Raises as ``evaluate_source`` does, and FilterError if the filter cannot be used, or nothing passes it.
    """
    check_same_space(gallery.space, "the gallery", prototypes.space, "the prototype index")
    rows = selected(gallery, where)
    labels = [item.label for item in gallery.items]
    vectors = gallery.vectors
    if rows is not None:
        labels, vectors = [labels[row] for row in rows], gallery.index.stored(rows)
    if not any(labels):
        which = "images of the gallery" if rows is None else "images that pass the filter"
        raise SourceError(
            f"none of the {which} has a label",
            hint="Labels are taken when a gallery is built: from folder names, or with --ground-truth FILE.",
        )
    report = evaluate_vectors(vectors, labels, prototypes, skipped=gallery.manifest.skipped)
    return replace(report, where=where)


def evaluate_vectors(
    vectors: Vectors,
    labels: Sequence[str | None],
    prototypes: Prototypes,
    *,
    skipped: tuple[Skipped, ...] = (),
) -> EvalReport:
    """Score labelled vectors against prototypes.

    Prec@1 is the number of pictures whose nearest prototype is their class, over the number scored; a picture
    without a label is not scored, and is counted as such.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
    labels : sequence of str or None, length n
        Class names, synset ids or numbers (``#65``).
    prototypes : Prototypes
    skipped : tuple of Skipped
        Inputs that never became vectors; reported beside the figures.
    """
    ids = class_ids(labels, prototypes)
    scored = np.flatnonzero([label is not None for label in labels])
    truth = np.array([ids[label] for label in labels if label is not None], dtype=np.int64)
    n_classes = len(prototypes.index)
    ranks = [k for k in RANKS if k <= n_classes]
    _, ranked = prototypes.index.search(np.ascontiguousarray(vectors[scored]), max(ranks))
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
        mean_per_class_recall=mean_per_class_recall(correct, truth),
        n_classes=n_classes,
        per_class=per_class,
        confusions=tuple(
            Confusion(names[t], names[p], n)
            for (t, p), n in sorted(wrong.items(), key=lambda pair: (-pair[1], pair[0]))
        ),
        skipped=skipped,
        unlabelled=len(labels) - len(truth),
        model=prototypes.space.model,
        templates=prototypes.manifest.templates_source or "",
    )


def class_ids(labels: Sequence[str | None], prototypes: Prototypes) -> dict[str, int]:
    """The class of every label. Raises SourceError if there is none, ClassMappingError if one has no class."""
    known = [label for label in labels if label is not None]
    if not known:
        raise SourceError(
            "none of the images has a label",
            hint="Put the images into one folder per class, or give --ground-truth FILE.",
        )
    return map_labels(known, prototypes.prompts)
