"""Prototypes from pictures: of each class the mean of some, drawn at random, or of these and of its prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zsretrieve.errors import ClassMappingError, SourceError
from zsretrieve.pooling import mix, pool_images
from zsretrieve.ports import IndexBackend
from zsretrieve.prompts import duplicate_names, prompt_digest
from zsretrieve.records import Encoding, Head, IndexKind, Manifest, PromptSet, Skipped, Training, TrainingMethod
from zsretrieve.store.folder import creating, now
from zsretrieve.store.indexes import Digests, Prototypes, check_same_space, write_prototypes
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.drawing import Draw, check_counts, draw, drawn_digests
from zsretrieve.verbs.labelled import Labelled, class_ids
from zsretrieve.version import tool_version

_NUMBER = re.compile(r"#\d+")
_KEY = re.compile(r"n\d{8}")
LABELS = "labels of the images"


@dataclass(frozen=True)
class Trained:
    """Prototypes that were made from pictures. ``fewer`` are classes with fewer pictures than were asked for;
    ``empty`` those without any, for which their text prototypes stand. ``skipped`` and ``unlabelled`` are what was left
    out before.
    """

    prototypes: Prototypes
    training: Training
    fewer: tuple[str, ...]
    empty: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    unlabelled: int


def classes_of_labels(labels: Sequence[str | None]) -> PromptSet:
    """The labels that occur as classes without prompts, sorted.

    Raises
    ------
    SourceError
        If there is none.
    ClassMappingError
        If labels are numbers, which name no class.
    """
    names = sorted({label for label in labels if label is not None})
    if not names:
        raise SourceError(
            "none of the images has a label",
            hint="Put the images into one folder per class, or give --ground-truth FILE.",
        )
    number = next((name for name in names if _NUMBER.fullmatch(name)), None)
    if number is not None:
        raise ClassMappingError(
            f"the labels are numbers of classes, such as {number[1:]}, and not their names",
            hint="Name the classes with --classes.",
        )
    keys = tuple(name if _KEY.fullmatch(name) else None for name in names)
    return PromptSet(tuple(names), keys, ((),) * len(names), (), LABELS)


def check_labels_for(
    labels: Sequence[str | None],
    prompts: PromptSet,
    shots: int | None,
    *,
    allow_fewer: bool = False,
    fill: bool = False,
) -> None:
    """Raise, before anything is encoded, what is sure to be raised after it: there are too few pictures of a class, or
    labels that are no class. See ``zsretrieve.verbs.drawing.draw``.
    """
    ids = class_ids(labels, prompts)
    known = [ids[label] for label in labels if label is not None]
    counts = np.bincount(known, minlength=len(prompts.class_names))
    check_counts(counts, prompts, shots, allow_fewer=allow_fewer, fill=fill)


def image_prototypes(
    labelled: Labelled,
    head: Head,
    encoding: Encoding,
    backend: IndexBackend,
    *,
    source: str,
    shots: int | None = None,
    seed: int = 0,
    text: Prototypes | None = None,
    text_weight: float | None = None,
    allow_fewer: bool = False,
) -> Trained:
    """Prototypes that are means of pictures, in memory (Radford et al. 2021, section 3.1.4, with pictures for prompts).

    Parameters
    ----------
    labelled : Labelled
        Of the classes that the prototypes are to have.
    head : Head
        What makes probabilities of scores: the model's own.
    encoding : Encoding
        How the vectors of the pictures were computed.
    backend : IndexBackend
    source : str
        Where the pictures come from, to be noted.
    shots : int, optional
        Pictures of each class; all by default.
    seed : int
    text : Prototypes, optional
        Text prototypes of the same classes, to mix in.
    text_weight : float, optional
        Their weight, from 0 to 1; the pictures have the rest. A class without pictures has its text prototype alone.
    allow_fewer : bool
        Take all pictures of a class that has fewer than ``shots``.

    Raises
    ------
    SourceError
        If a class has no picture or too few, see ``zsretrieve.verbs.drawing.draw``; or ``text`` is not of text.
    SpaceMismatchError
        If pictures and text are of different spaces.
    """
    if text is not None:
        check_same_space(labelled.space, "the images", text.space, "the text prototypes")
        check_text(text)
    drawn = draw(labelled, shots, seed, allow_fewer=allow_fewer, fill=text is not None)
    vectors = multi_shot(labelled, drawn, text.vectors if text is not None else None, text_weight)
    training = Training(TrainingMethod.MEAN, source, shots, seed, len(drawn.rows), text_weight)
    named = labelled if text is not None else without_prompts(labelled)
    cut = text.manifest.cut_prompts if text is not None else 0
    return trained(named, drawn, vectors, training, head, encoding, backend, cut_prompts=cut)


def check_text(prototypes: Prototypes) -> None:
    """Raise SourceError if prototypes that should be of text were made from pictures."""
    if prototypes.manifest.training is not None:
        raise SourceError(
            "these prototypes were made from images, but prototypes of text are needed here",
            hint="Build some with: zsretrieve index prototypes OUT --classes SET",
        )


def multi_shot(labelled: Labelled, drawn: Draw, text: Vectors | None, text_weight: float | None) -> Vectors:
    """Means of the pictures drawn, mixed with text prototypes if there are any; float32 of shape (n_classes, dim)."""
    n_classes = len(labelled.prompts.class_names)
    images = pool_images(labelled.vectors, labelled.truth[drawn.rows], n_classes, drawn.rows)
    return images if text is None or text_weight is None else mix(text, images, text_weight)


def trained(
    labelled: Labelled,
    drawn: Draw,
    vectors: Vectors,
    training: Training,
    head: Head,
    encoding: Encoding,
    backend: IndexBackend,
    *,
    lifted: bool = False,
    cut_prompts: int = 0,
) -> Trained:
    """Prototypes in memory from vectors that were made of the pictures drawn."""
    prompts = replace(labelled.prompts, templates_source=words_for(training, labelled.prompts))
    index = backend.create(vectors.shape[1])
    index.add(vectors)
    manifest = Manifest(
        kind=IndexKind.PROTOTYPES,
        space=labelled.space,
        head=head,
        encoding=encoding,
        count=len(vectors),
        factory=index.factory,
        files={},
        created=now(),
        tool_version=tool_version(),
        verified=now(),
        prompt_digest=prompt_digest(prompts),
        classes_source=prompts.classes_source,
        templates_source=prompts.templates_source,
        duplicate_names=duplicate_names(prompts),
        cut_prompts=cut_prompts,
        training=training,
        lifted=lifted,
    )
    made = Prototypes(None, manifest, prompts, vectors, index, drawn_digests(labelled, drawn.rows))
    names = prompts.class_names
    empty = tuple(names[c] for c in drawn.empty)
    return Trained(made, training, drawn.fewer, empty, labelled.skipped, labelled.unlabelled)


def without_prompts(labelled: Labelled) -> Labelled:
    """Labelled pictures whose classes have no prompts, since these had no part in what is made of the pictures."""
    prompts = labelled.prompts
    return replace(labelled, prompts=replace(prompts, prompts=((),) * len(prompts.class_names), templates=()))


def words_for(training: Training, prompts: PromptSet) -> str:
    """What stands where templates stand for prototypes of texts."""
    images = "all images" if training.shots is None else f"{training.shots} images a class, seed {training.seed}"
    match training.method:
        case TrainingMethod.PROBE:
            return f"probe on {images}"
        case TrainingMethod.MEAN:
            if training.text_weight is None:
                return f"mean of {images}"
            return f"{training.text_weight:g} x {prompts.templates_source} + {1 - training.text_weight:g} x {images}"


def write_trained(out: Path, made: Trained, *, force: bool = False) -> Trained:
    """Write prototypes that were made from pictures to the folder ``out``.

    Raises
    ------
    OutputExistsError
        If ``out`` holds something already, unless it is an index and ``force`` is given.
    """
    held = made.prototypes
    digests: Digests | None = held.drawn
    with creating(out, force=force) as writer:
        manifest = write_prototypes(writer, held.manifest, held.prompts, held.vectors, held.index, digests)
    return replace(made, prototypes=replace(held, folder=out, manifest=manifest))
