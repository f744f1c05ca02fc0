"""Prototypes from images: the mean of some images of each class, drawn at random, or that mixed with text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from zsretrieve.domain.errors import ClassMappingError, SourceError
from zsretrieve.domain.names import SYNSET, composed, number_in
from zsretrieve.domain.pooling import mix, pool_images
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.records import Encoding, Head, PromptSet, Skipped
from zsretrieve.domain.shots import Shots
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.domain.training import ADAPTERS, Training, TrainingMethod
from zsretrieve.domain.vectors import Vectors
from zsretrieve.evaluation.labelled import NO_LABEL, Labelled, class_ids
from zsretrieve.evaluation.splits import Draw, check_counts, draw, drawn_digests
from zsretrieve.prototypes.text import in_memory, write
from zsretrieve.store.folder import creating
from zsretrieve.store.indexes import Prototypes
from zsretrieve.store.key_values import KeyValues

LABELS = "labels of the images"


@dataclass(frozen=True)
class TrainingImages:
    """Labelled images to make prototypes from.

    ``head`` is that of the model, ``encoding`` how the vectors were computed, ``source`` where the images come from.
    """

    labelled: Labelled
    head: Head
    encoding: Encoding
    source: str


@dataclass(frozen=True)
class TrainedPrototypes:
    """Prototypes that were made from images.

    ``fewer`` are classes with fewer images than were asked for; ``empty`` those without any, for which their text
    prototypes stand. ``skipped`` and ``unlabelled`` images were left out.
    """

    prototypes: Prototypes
    fewer: tuple[str, ...]
    empty: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    unlabelled: int

    @classmethod
    def of(cls, prototypes: Prototypes, images: TrainingImages, drawn: Draw, **more: Any) -> Self:
        empty = tuple(prototypes.prompts.class_names[c] for c in drawn.empty)
        return cls(prototypes, drawn.fewer, empty, images.labelled.skipped, images.labelled.unlabelled, **more)

    @property
    def training(self) -> Training:
        training = self.prototypes.manifest.training
        assert training is not None
        return training


_Trained = TypeVar("_Trained", bound=TrainedPrototypes)


def classes_of_labels(labels: Sequence[str | None]) -> PromptSet:
    """The labels that occur as classes without prompts, sorted.

    Raises
    ------
    SourceError
        If there is none.
    ClassMappingError
        If labels are numbers, which name no class.
    """
    names = sorted({composed(label): label for label in labels if label is not None}.values())
    if not names:
        raise SourceError(
            "none of the images has a label",
            hint=NO_LABEL,
        )
    number = next((name for name in names if name.startswith("#") and number_in(name)), None)
    if number is not None:
        raise ClassMappingError(
            f"the labels are class numbers, such as {number[1:]}, not names", hint="Name the classes with `classes`."
        )
    keys = tuple(name if SYNSET.fullmatch(name) else None for name in names)
    return PromptSet(tuple(names), keys, ((),) * len(names), (), LABELS)


def check_labels(labels: Sequence[str | None], prompts: PromptSet, shots: Shots, *, fill: bool = False) -> None:
    """Raise, before anything is encoded, the errors that are certain to follow: a class with too few images, or a label
    without a class. See ``zsretrieve.evaluation.splits.draw``.
    """
    ids = class_ids(labels, prompts)
    known = [ids[label] for label in labels if label is not None]
    counts = np.bincount(known, minlength=len(prompts.class_names))
    check_counts(counts, prompts, shots.per_class, allow_fewer=shots.allow_fewer, fill=fill)


def image_prototypes(
    images: TrainingImages,
    shots: Shots,
    backend: IndexBackend,
    *,
    text: Prototypes | None = None,
    text_weight: float | None = None,
) -> TrainedPrototypes:
    """Prototypes that are means of images, in memory (Radford et al. 2021, section 3.1.4, with images for prompts).

    Parameters
    ----------
    images : TrainingImages
        Of the classes that the prototypes are to have.
    shots : Shots
    backend : IndexBackend
    text : Prototypes, optional
        Text prototypes of the same classes, to mix in.
    text_weight : float, optional
        Their weight, from 0 to 1. A class without images has its text prototype alone.

    Raises
    ------
    SourceError
        If a class has no image or too few, see ``zsretrieve.evaluation.splits.draw``; or ``text`` was made from images.
    SpaceMismatchError
        If images and text have different embedding spaces.
    """
    labelled = images.labelled
    if text is not None:
        check_same_images(labelled.space, "the images", text.space, "the text prototypes")
        check_text(text)
        images = replace(images, labelled=replace(labelled, space=text.space))  # which repairs and texts belong to
    drawn = draw(labelled, shots.per_class, shots.seed, allow_fewer=shots.allow_fewer, fill=text is not None)
    vectors = multi_shot(labelled, drawn, text.vectors if text is not None else None, text_weight)
    training = Training(TrainingMethod.MEAN, images.source, shots.per_class, shots.seed, len(drawn.rows), text_weight)
    prompts = without_prompts(labelled.prompts) if text is None else labelled.prompts
    cut_prompts = 0 if text is None else text.manifest.cut_prompts
    prototypes = of_training(images, drawn, vectors, prompts, training, backend, cut_prompts=cut_prompts)
    return TrainedPrototypes.of(prototypes, images, drawn)


def check_text(prototypes: Prototypes) -> None:
    """Raise SourceError if prototypes that should be of text were made from images."""
    if prototypes.manifest.training is not None:
        raise SourceError(
            "these prototypes were made from images, but text prototypes are needed here",
            hint="Build some with: zsretrieve index prototypes OUT --classes SET",
        )


def multi_shot(labelled: Labelled, drawn: Draw, text: Vectors | None, text_weight: float | None) -> Vectors:
    """Means of the drawn images, mixed with text prototypes if there are any; float32 of shape (n_classes, dim)."""
    n_classes = len(labelled.prompts.class_names)
    images = pool_images(labelled.vectors, labelled.truth[drawn.rows], n_classes, drawn.rows)
    return images if text is None or text_weight is None else mix(text, images, text_weight)


def of_training(
    images: TrainingImages,
    drawn: Draw,
    vectors: Vectors,
    prompts: PromptSet,
    training: Training,
    backend: IndexBackend,
    *,
    head: Head | None = None,
    augmented: bool = False,
    keys: KeyValues | None = None,
    cut_prompts: int = 0,
) -> Prototypes:
    """Prototypes in memory from vectors that were made of the drawn images, by default with the model's head."""
    prompts = replace(prompts, templates_source=_describe(training, prompts))
    return in_memory(
        vectors,
        prompts,
        backend,
        images.labelled.space,
        head or images.head,
        images.encoding,
        cut_prompts=cut_prompts,
        training=training,
        augmented=augmented,
        drawn=drawn_digests(images.labelled, drawn.rows),
        keys=keys,
    )


def without_prompts(prompts: PromptSet) -> PromptSet:
    """The classes alone, for prototypes in which their prompts have no part."""
    return replace(prompts, prompts=((),) * len(prompts.class_names), templates=())


def write_trained(out: Path, trained: _Trained, *, scale: float | None = None, force: bool = False) -> _Trained:
    """Write prototypes that were made from images to the folder ``out``, perhaps with a ``scale`` of their own.

    Raises
    ------
    OutputExistsError
        If ``out`` holds something already, unless it is an index and ``force`` is given.
    """
    with creating(out, force=force) as writer:
        return replace(trained, prototypes=write(writer, trained.prototypes, scale))


def _describe(training: Training, prompts: PromptSet) -> str:
    """What an index of images says in place of its templates."""
    images = "all images" if training.shots is None else f"{training.shots} images per class, seed {training.seed}"
    if training.method is TrainingMethod.PROBE:
        return f"probe on {images}"
    if training.method in ADAPTERS:
        return f"{prompts.templates_source} with {training.method} on {images}"
    if training.text_weight is None:
        return f"mean of {images}"
    return f"{training.text_weight:g} x {prompts.templates_source} + {1 - training.text_weight:g} x {images}"
