"""Text prototypes adapted by a few labelled images: Tip-Adapter, Tip-Adapter-F and LP++, as indexes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zsretrieve.domain.plain import plain
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.records import Head, ScoreHead
from zsretrieve.domain.shots import AdapterSettings, Shots
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.domain.training import Training, TrainingMethod
from zsretrieve.domain.vectors import Rows, Vectors, augmented_rows
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.splits import draw
from zsretrieve.prototypes.images import TrainedPrototypes, TrainingImages, check_text, of_training
from zsretrieve.prototypes.lp import blend
from zsretrieve.prototypes.probe import check_classes
from zsretrieve.prototypes.tip import AdapterSearch, tip_of
from zsretrieve.store.indexes import Prototypes
from zsretrieve.store.key_values import KeyValues


@dataclass(frozen=True)
class Adaptation:
    """An adapter before it is an index: rows of prototypes with their head, and keys or a search where there are any.

    ``losses`` are the mean losses of the training images before and after what was learnt; None for Tip-Adapter.
    """

    rows: Vectors
    head: Head
    keys: KeyValues | None
    search: AdapterSearch | None
    losses: tuple[float, float] | None


@dataclass(frozen=True)
class TrainedAdapter(TrainedPrototypes):
    """Adapted text prototypes; ``search`` and ``losses`` as in ``Adaptation``."""

    search: AdapterSearch | None
    losses: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """What was chosen and learnt; accuracies are fractions of ``n_validation`` images."""
        search, adapter = self.search, self.prototypes.manifest.adapter
        return {
            "method": str(self.training.method),
            "alpha": None if adapter is None else adapter.alpha,
            "beta": None if adapter is None else adapter.beta,
            "n_images": self.training.n_images,
            "n_classes": len(self.prototypes.vectors),
            "shots": self.training.shots,
            "seed": self.training.seed,
            "n_fit": self.training.n_images if search is None else search.n_fit,
            "n_validation": 0 if search is None else search.n_validation,
            "search": plain(() if search is None else search.steps),
            "losses": plain(self.losses),
        }


def adapt(labelled: Labelled, rows: Rows, seed: int, text: Prototypes, settings: AdapterSettings) -> Adaptation:
    """Adapt text prototypes by some images; see ``zsretrieve.prototypes.tip`` and ``lp`` for the parameters."""
    if settings.method == TrainingMethod.LP:
        blended = blend(labelled.vectors[rows], labelled.truth[rows], text.vectors)
        augmented, scale = augmented_rows(blended.weights, np.zeros(len(blended.weights)))
        ends = blended.losses[0], blended.losses[-1]
        return Adaptation(augmented, Head(ScoreHead.SOFTMAX, scale), None, None, ends)
    adapted = tip_of(labelled, rows, seed, text, settings)
    return Adaptation(text.vectors, text.head, adapted.keys, adapted.search, adapted.losses)


def train_adapter(
    images: TrainingImages, shots: Shots, text: Prototypes, backend: IndexBackend, settings: AdapterSettings
) -> TrainedAdapter:
    """Adapt text prototypes by images that are drawn, in memory.

    Raises
    ------
    SourceError
        If a class has no image or too few, there is only one class, or ``text`` was made from images.
    SpaceMismatchError
        If images and text have different embedding spaces.
    """
    labelled = images.labelled
    check_same_images(labelled.space, "the images", text.space, "the text prototypes")
    check_text(text)
    check_classes(len(labelled.prompts.class_names), "an adapter")
    drawn = draw(labelled, shots.per_class, shots.seed, allow_fewer=shots.allow_fewer)
    made = adapt(labelled, drawn.rows, shots.seed, text, settings)
    training = Training(TrainingMethod(settings.method), images.source, shots.per_class, shots.seed, len(drawn.rows))
    prototypes = of_training(
        images,
        drawn,
        made.rows,
        replace(labelled.prompts, templates_source=text.manifest.templates_source or ""),
        training,
        backend,
        head=made.head,
        augmented=made.keys is None,
        keys=made.keys,
        cut_prompts=text.manifest.cut_prompts,
    )
    return TrainedAdapter.of(prototypes, images, drawn, search=made.search, losses=made.losses)
