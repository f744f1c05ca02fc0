"""Zero-shot classification: top-k image-to-text retrieval against a prototype index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from zsretrieve.domain.errors import RankError
from zsretrieve.domain.plain import Result, Table, plain
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.ranking import check_k
from zsretrieve.domain.records import Classified, Item, Prediction, ScoreHead, Skipped
from zsretrieve.domain.results import Reject
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.domain.vectors import Scores, Vectors
from zsretrieve.domain.wording import counted
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_source
from zsretrieve.evaluation.run import CHUNK_ELEMENTS
from zsretrieve.gallery.search import selected
from zsretrieve.images import opening
from zsretrieve.images.sources import Source
from zsretrieve.metrics import probabilities
from zsretrieve.store.indexes import Gallery, Prototypes

DEFAULT_K = 5


@dataclass(frozen=True)
class Classification(Result, Table):
    """The classified images of a source, and what was skipped.

    ``scores``, if they were asked for, are those of every result with every class, float32 of shape (n, n_classes);
    ``class_names`` are their columns.
    """

    results: tuple[Classified, ...]
    skipped: tuple[Skipped, ...]
    class_names: tuple[str, ...] = ()
    scores: Scores | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The answers and what was skipped; all scores go to a file of their own."""
        return {"results": plain(self.results), "skipped": plain(self.skipped)}

    def __repr__(self) -> str:
        return f"Classification({counted(len(self.results), 'image')}, {len(self.skipped)} skipped)"

    def rows(self) -> list[dict[str, Any]]:
        """One row for each prediction, as CSV has them."""
        return [row for result in self.results for row in result.rows()]

    def _shown(self) -> list[dict[str, Any]]:
        return [
            {
                "image": result.path,
                "class": "unknown" if result.rejected else result.predictions[0].class_name,
                "probability": result.predictions[0].probability,
            }
            for result in self.results
        ]


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
    scores, rows = prototypes.search(vectors, k)
    head = prototypes.head
    softmax = head.kind is ScoreHead.SOFTMAX
    total = prototypes.log_normaliser(vectors, scores[:, 0]) if softmax else None
    chances = probabilities(scores, head, total)
    names = prototypes.prompts.class_names
    return [
        tuple(
            Prediction(rank, class_id, names[class_id], score, probability)
            for rank, (class_id, score, probability) in enumerate(zip(*row, strict=True), start=1)
        )
        for row in zip(rows.tolist(), scores.tolist(), chances.tolist(), strict=True)
    ]


def check_request(n_classes: int, k: int | None, reject: Reject | None) -> None:
    """Raise RankError if k does not fit the number of classes, or ``reject`` has no threshold: without labels, none can
    be chosen.
    """
    if k is not None:
        check_k(k, n_classes, "classes")
    if reject is not None and reject.below is None:
        raise RankError(
            "a threshold for a wanted precision is chosen on labelled images",
            hint="Choose it with: zsretrieve evaluate ... --wanted-precision P",
        )


def classify_source(
    source: Source,
    prototypes: Prototypes,
    model: Model,
    reading: Reading,
    *,
    k: int | None = None,
    reject: Reject | None = None,
    all_scores: bool = False,
    on_progress: OnProgress | None = None,
) -> Classification:
    """Encode and classify the images of a source; ``reject`` says which of them are answered with "unknown".

    ``all_scores`` also keeps the score of each image with each class.

    Raises
    ------
    RankError
        See ``check_request``.
    SpaceMismatchError
        If the model and the prototypes have different embedding spaces.
    """
    check_request(len(prototypes.index), k, reject)
    encoded = encode_source(source, model, reading, space=prototypes.space, on_progress=on_progress)
    paths = [opening.join(source.root, item.path) for item in encoded.items]
    results = _classified(encoded.items, paths, encoded.vectors, prototypes, k, reject)
    return _with_scores(Classification(results, encoded.skipped), encoded.vectors, prototypes, all_scores=all_scores)


def classify_gallery(
    gallery: Gallery,
    prototypes: Prototypes,
    *,
    k: int | None = None,
    reject: Reject | None = None,
    where: str | None = None,
    all_scores: bool = False,
) -> Classification:
    """Classify the images of a gallery, or those that pass a filter; nothing is encoded.

    ``all_scores`` as for ``classify_source``.

    Raises
    ------
    RankError
        See ``check_request``.
    SpaceMismatchError
        If gallery and prototypes have different embedding spaces.
    SourceError
        If the gallery is empty.
    FilterError
        If the filter cannot be used, or nothing passes it.
    """
    check_request(len(prototypes.index), k, reject)
    check_same_images(gallery.space, "the gallery", prototypes.space, "the prototype index")
    rows = selected(gallery, where)
    items = gallery.items if rows is None else [gallery.items[row] for row in rows]
    vectors = gallery.vectors if rows is None else gallery.index.stored(rows)
    paths = [gallery.path_of(item) for item in items]
    results = _classified(items, paths, vectors, prototypes, k, reject)
    return _with_scores(Classification(results, gallery.manifest.skipped), vectors, prototypes, all_scores=all_scores)


def _with_scores(done: Classification, vectors: Vectors, prototypes: Prototypes, *, all_scores: bool) -> Classification:
    if not all_scores:
        return done
    scores = np.empty((len(vectors), len(prototypes.index)), dtype=np.float32)
    wide = prototypes.vectors.astype(np.float64)
    step = max(1, CHUNK_ELEMENTS // sum(wide.shape))
    for start in range(0, len(vectors), step):
        scores[start : start + step] = prototypes.queries(vectors[start : start + step]).astype(np.float64) @ wide.T
    return replace(done, class_names=prototypes.prompts.class_names, scores=scores)


def _classified(
    items: Sequence[Item],
    paths: Sequence[str],
    vectors: Vectors,
    prototypes: Prototypes,
    k: int | None,
    reject: Reject | None,
) -> tuple[Classified, ...]:
    n_classes = len(prototypes.index)
    shown = min(DEFAULT_K, n_classes) if k is None else k
    # The margin needs the second class even if only the best one is shown.
    predicted = classify_vectors(vectors, prototypes, shown if reject is None else max(shown, min(2, n_classes)))
    return tuple(
        Classified(path, item.label, predictions[:shown], None if reject is None else _is_rejected(predictions, reject))
        for item, path, predictions in zip(items, paths, predicted, strict=True)
    )


def _is_rejected(predictions: tuple[Prediction, ...], reject: Reject) -> bool:
    assert reject.below is not None
    if reject.by == "probability":
        return predictions[0].probability < reject.below
    return (predictions[0].score - predictions[1].score if len(predictions) > 1 else 1.0) < reject.below
