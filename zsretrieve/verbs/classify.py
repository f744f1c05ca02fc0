"""Zero-shot classification: top-k image-to-text retrieval against a prototype index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zsretrieve import addresses
from zsretrieve.errors import RankError
from zsretrieve.metrics import probabilities
from zsretrieve.ports import Encoder
from zsretrieve.ranking import check_k
from zsretrieve.records import Classified, Prediction, ScoreHead, Skipped
from zsretrieve.results import Reject
from zsretrieve.sources import Source
from zsretrieve.store.indexes import Gallery, Prototypes, check_same_space
from zsretrieve.vectors import Vectors
from zsretrieve.verbs import rejecting
from zsretrieve.verbs.encode import OnProgress, encode_source
from zsretrieve.verbs.selecting import selected

DEFAULT_K = 5


@dataclass(frozen=True)
class Classification:
    """The classified pictures of a source, and what was skipped."""

    results: tuple[Classified, ...]
    skipped: tuple[Skipped, ...]


def classify_vectors(vectors: Vectors, prototypes: Prototypes, k: int | None = None) -> list[tuple[Prediction, ...]]:
    """The k nearest classes of each vector, best first.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
    prototypes : Prototypes
    k : int, optional
        Five by default, or as many as there are classes.

    Raises
    ------
    RankError
        If k is below 1 or above the number of classes.
    """
    k = min(DEFAULT_K, len(prototypes.index)) if k is None else k
    check_k(k, len(prototypes.index), "classes")
    scores, rows = prototypes.search(vectors, k)
    head = prototypes.manifest.head
    softmax = head.kind is ScoreHead.SOFTMAX
    total = prototypes.log_normaliser(vectors, scores[:, 0]) if softmax else None
    chances = probabilities(scores, head, total)
    names = prototypes.prompts.class_names
    return [
        tuple(
            Prediction(
                rank + 1, int(rows[i, rank]), names[rows[i, rank]], float(scores[i, rank]), float(chances[i, rank])
            )
            for rank in range(k)
        )
        for i in range(len(vectors))
    ]


def classify_source(
    source: Source,
    prototypes: Prototypes,
    encoder: Encoder,
    *,
    k: int | None = None,
    reject: Reject | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast: bool = False,
    on_progress: OnProgress | None = None,
) -> Classification:
    """Encode and classify the pictures of a source; those that ``reject`` tells are marked as rejected.

    Raises
    ------
    SpaceMismatchError
        If the encoder and the prototypes are of different spaces.
    RankError
        If k does not fit the number of classes, or ``reject`` has no threshold.
    """
    check_reject(reject)
    check_same_space(prototypes.space, "the prototype index", encoder.space, "the encoder")
    if k is not None:
        check_k(k, len(prototypes.index), "classes")
    encoded = encode_source(
        source, encoder, exif=exif, strict=strict, max_pixels=max_pixels, fast=fast, on_progress=on_progress
    )
    paths = [addresses.join(source.root, item.path) for item in encoded.items]
    labels = [item.label for item in encoded.items]
    return _classified(paths, labels, encoded.vectors, prototypes, k, reject, encoded.skipped)


def classify_gallery(
    gallery: Gallery,
    prototypes: Prototypes,
    *,
    k: int | None = None,
    reject: Reject | None = None,
    where: str | None = None,
) -> Classification:
    """Classify the pictures of a gallery, or those that pass a filter; nothing is encoded.

    Raises
    ------
    RankError
        As ``classify_source`` does.
    SpaceMismatchError
        If gallery and prototypes are of different spaces.
    SourceError
        If the gallery is empty.
    FilterError
        If the filter cannot be used, or nothing passes it.
    """
    check_reject(reject)
    check_same_space(gallery.space, "the gallery", prototypes.space, "the prototype index")
    rows = selected(gallery, where)
    items = gallery.items if rows is None else [gallery.items[row] for row in rows]
    vectors = gallery.vectors if rows is None else gallery.index.stored(rows)
    paths = [gallery.path_of(item) for item in items]
    return _classified(paths, [item.label for item in items], vectors, prototypes, k, reject, gallery.manifest.skipped)


def check_reject(reject: Reject | None) -> None:
    """Raise RankError unless a threshold is given: without labels none can be chosen."""
    if reject is None:
        return
    if reject.wanted is not None:
        raise RankError(
            "a threshold for a wanted precision is chosen on labelled images",
            hint="Choose it with: zsretrieve evaluate ... --wanted-precision P",
        )
    rejecting.check(reject)


def _classified(
    paths: Sequence[str],
    labels: Sequence[str | None],
    vectors: Vectors,
    prototypes: Prototypes,
    k: int | None,
    reject: Reject | None,
    skipped: tuple[Skipped, ...],
) -> Classification:
    n_classes = len(prototypes.index)
    shown = min(DEFAULT_K, n_classes) if k is None else k
    check_k(shown, n_classes, "classes")
    # The margin is that to the second class, whether it is asked for or not.
    predicted = classify_vectors(vectors, prototypes, shown if reject is None else max(shown, min(2, n_classes)))
    results = tuple(
        Classified(path, label, found[:shown], reject is not None and _is_rejected(found, reject))
        for path, label, found in zip(paths, labels, predicted, strict=True)
    )
    return Classification(results, skipped)


def _is_rejected(predictions: tuple[Prediction, ...], reject: Reject) -> bool:
    if reject.by == "probability":
        sure = predictions[0].probability
    else:
        sure = predictions[0].score - predictions[1].score if len(predictions) > 1 else 1.0
    assert reject.below is not None
    return sure < reject.below
