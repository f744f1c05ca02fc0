"""Zero-shot classification: top-k image-to-text retrieval against a prototype index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from zsretrieve.domain.annotations import AnnotatedImage, Annotation, Annotations
from zsretrieve.domain.errors import RankError
from zsretrieve.domain.plain import Result, Table, plain
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.prediction_sets import SetThreshold
from zsretrieve.domain.ranking import check_k
from zsretrieve.domain.records import Classified, Item, Prediction, Skipped
from zsretrieve.domain.results import Reject
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.domain.vectors import Scores, Vectors
from zsretrieve.domain.wording import counted
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_source
from zsretrieve.evaluation.answers import Answers, OfPrototypes, parts
from zsretrieve.evaluation.prediction_sets import set_sizes
from zsretrieve.evaluation.propagation import Graph
from zsretrieve.gallery.search import selected
from zsretrieve.images import opening
from zsretrieve.images.sources import Source
from zsretrieve.store.indexes import Gallery, Prototypes

DEFAULT_K = 5


@dataclass(frozen=True)
class Classification(Result, Table):
    """The classified images of a source, and what was skipped.

    ``scores``, if they were asked for, are those of every result with every class, float32 of shape (n, n_classes);
    ``class_names`` are their columns. ``root`` is that of the source, and ``model`` the name of the model.
    """

    results: tuple[Classified, ...]
    skipped: tuple[Skipped, ...]
    class_names: tuple[str, ...] = ()
    scores: Scores | None = field(default=None, repr=False, compare=False)
    root: str = ""
    model: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The answers and what was skipped; all scores go to a file of their own."""
        return {"results": plain(self.results), "skipped": plain(self.skipped)}

    def __repr__(self) -> str:
        return f"Classification({counted(len(self.results), 'image')}, {len(self.skipped)} skipped)"

    def rows(self) -> list[dict[str, Any]]:
        """One row for each prediction, as CSV has them."""
        return [row for result in self.results for row in result.rows()]

    def annotations(self) -> Annotations:
        """The best class of every image, for labelling tools; a rejected image has none."""
        images = tuple(
            AnnotatedImage(
                one.path,
                one.width,
                one.height,
                () if one.rejected else (Annotation(one.predictions[0].class_id, one.predictions[0].probability),),
                bool(one.rejected),
            )
            for one in self.results
        )
        return Annotations(self.class_names, images, has_boxes=False, root=self.root, model=self.model)

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
    answers = OfPrototypes(vectors, prototypes)
    return answers.ranked(slice(None), k).predictions(answers.names)


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


@dataclass(frozen=True)
class Asking:
    """What is wanted of each image: the ``k`` nearest classes, five by default, or those of a prediction set; perhaps
    the answer "unknown"; and with ``all_scores`` also the scores with all classes.
    """

    k: int | None = None
    reject: Reject | None = None
    sets: SetThreshold | None = None
    all_scores: bool = False


def classify_source(
    source: Source,
    prototypes: Prototypes,
    model: Model,
    reading: Reading,
    *,
    asking: Asking | None = None,
    graph: Graph | None = None,
    on_progress: OnProgress | None = None,
) -> Classification:
    """Encode and classify the images of a source, by the prototypes or by their neighbours in a graph.

    Raises
    ------
    RankError
        See ``check_request``.
    SpaceMismatchError
        If the model and the prototypes have different embedding spaces.
    """
    encoded = encode_source(source, model, reading, space=prototypes.space, on_progress=on_progress)
    paths = [opening.join(source.root, item.path) for item in encoded.items]
    answers = OfPrototypes(encoded.vectors, prototypes) if graph is None else graph.others(encoded.vectors)
    done = _classification(encoded.items, paths, answers, asking, encoded.skipped)
    return replace(done, root=source.root, model=prototypes.space.model)


def classify_gallery(
    gallery: Gallery,
    prototypes: Prototypes,
    *,
    asking: Asking | None = None,
    graph: Graph | None = None,
    where: str | None = None,
) -> Classification:
    """Classify the images of a gallery, or those that pass a filter; nothing is encoded.

    ``graph``: of these very images, or of another gallery.

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
    check_same_images(gallery.space, "the gallery", prototypes.space, "the prototype index")
    rows = selected(gallery, where)
    items = gallery.items if rows is None else [gallery.items[row] for row in rows]
    paths = [gallery.path_of(item) for item in items]
    vectors = gallery.vectors if rows is None else gallery.index.stored(rows)
    answers: Answers
    if graph is None:
        answers = OfPrototypes(vectors, prototypes)
    elif graph.gallery is gallery:
        answers = graph.own(gallery.ids if rows is None else gallery.ids[rows])
    else:
        answers = graph.others(vectors)
    done = _classification(items, paths, answers, asking, gallery.manifest.skipped)
    return replace(done, root=gallery.manifest.root or "", model=prototypes.space.model)


def _classification(
    items: Sequence[Item], paths: Sequence[str], answers: Answers, asking: Asking | None, skipped: tuple[Skipped, ...]
) -> Classification:
    asking = asking or Asking()
    n_classes, reject, found = len(answers.names), asking.reject, asking.sets
    shown = min(DEFAULT_K if found is None else 1, n_classes) if asking.k is None else asking.k
    # The margin needs the second class even if only the best one is shown.
    needed = shown if reject is None else max(shown, min(2, n_classes))
    results = []
    for part in parts(len(items), n_classes):
        ranked = answers.ranked(part, n_classes if found is not None else needed)
        sizes = None if found is None else set_sizes(ranked, found).tolist()
        predicted = ranked.first(max([needed, *(sizes or ())])).predictions(answers.names)
        for place, (item, path, predictions) in enumerate(zip(items[part], paths[part], predicted, strict=True)):
            size = None if sizes is None else sizes[place]
            is_rejected = None if reject is None else _is_rejected(predictions, reject)
            kept = predictions[: max(shown, size or 0)]
            results.append(Classified(path, item.label, kept, is_rejected, size, item.width, item.height))
    done = Classification(tuple(results), skipped, answers.names)
    if not asking.all_scores:
        return done
    scores = np.empty((len(items), n_classes), dtype=np.float32)
    for part in parts(len(items), n_classes):
        scores[part] = answers.scores(part)
    return replace(done, scores=scores)


def _is_rejected(predictions: tuple[Prediction, ...], reject: Reject) -> bool:
    assert reject.below is not None
    if reject.by == "probability":
        return predictions[0].probability < reject.below
    return (predictions[0].score - predictions[1].score if len(predictions) > 1 else 1.0) < reject.below
