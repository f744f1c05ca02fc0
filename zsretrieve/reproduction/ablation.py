"""Finding out why a figure is not the published one: the usual causes, one by one, on a sample."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import DoesNotApplyError, SourceError
from zsretrieve.domain.plain import Result, plain
from zsretrieve.domain.ports import Encoder, IndexBackend, OnStage, progress_of
from zsretrieve.domain.prompts import duplicate_names
from zsretrieve.domain.records import PromptSet, ScoreHead
from zsretrieve.domain.results import Interval, PairedDifference
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_source, encode_texts_once
from zsretrieve.evaluation.labelled import class_ids
from zsretrieve.images.sources import Source
from zsretrieve.metrics import paired_difference, wilson
from zsretrieve.prototypes.text import make_prototypes

# What can be changed in a model, and whether it affects images, texts or both.
IMAGES, TEXTS, BOTH = "images", "texts", "both"
CHANGES = {
    "resizing": IMAGES,
    "interpolation": IMAGES,
    "antialiasing": IMAGES,
    "activation": BOTH,
    "case": TEXTS,
    "punctuation": TEXTS,
    "padding": TEXTS,
}
# Makes the encoder return texts as its tower does, which the causes need that are about normalising.
_NORMALISATION = "normalisation"
_TUTORIAL_SCALE = 100.0
_AS_PUBLISHED = Reading(exif=False)


class AblatableEncoder(Encoder, Protocol):
    """A model in which one thing at a time can be changed."""

    def ablate(self, change: str) -> AbstractContextManager[str]:
        """Apply one of ``CHANGES``, or leave out the ``normalisation`` of texts, within the context, which yields its
        description.

        Raises DoesNotApplyError.
        """
        ...


@dataclass(frozen=True)
class Experiment:
    """What is tested, and on what.

    Attributes
    ----------
    source : Source
        Labelled images.
    prompts : mapping of str to PromptSet
        The classes with several sets of templates.
    templates : str
        The set of the baseline.
    sample : int
        The number of images, spread as evenly over the classes as possible.
    seed : int
        Equal seeds draw equal samples.
    """

    source: Source
    prompts: Mapping[str, PromptSet]
    templates: str
    sample: int
    seed: int = 0

    @property
    def baseline(self) -> PromptSet:
        return self.prompts[self.templates]

    def check(self) -> dict[str, int]:
        """The class id of each label.

        Raises
        ------
        ClassMappingError
            If a label is not one of the classes.
        SourceError
            If no image has a label, or the sample is below one.
        """
        if self.sample < 1:
            raise SourceError(f"the sample must be at least one image, got {self.sample}", hint="Use more images.")
        return class_ids([file.label for file in self.source.files], self.baseline)


@dataclass(frozen=True)
class Effect(Result):
    """The effect of one change on Prec@1: ``difference`` is the changed figure less the baseline, as a fraction.

    ``n_changed`` images have another best class than in the baseline.
    """

    cause: str
    change: str
    n_correct: int
    difference: PairedDifference
    n_changed: int

    def to_dict(self) -> dict[str, Any]:
        """The effect as machine formats have it."""
        return {
            "cause": self.cause,
            "change": self.change,
            "prec@1": self.n_correct / self.difference.n,
            "difference": self.difference.difference,
            "interval": self.difference.interval.to_dict(),
            "p_value": self.difference.p_value,
            "n": self.difference.n,
            "n_changed": self.n_changed,
        }


@dataclass(frozen=True)
class Untested(Result):
    """A cause that does not apply, and why."""

    cause: str
    reason: str


@dataclass(frozen=True)
class Explanation:
    """How much each usual cause moves Prec@1, the largest effect first.

    The baseline is the papers' setup: the model's own preprocessing, activation and tokens, no EXIF, exact decoding.
    """

    model: str
    templates: str
    seed: int
    n_scored: int
    n_correct: int
    n_skipped: int
    effects: tuple[Effect, ...]
    untested: tuple[Untested, ...]

    @property
    def prec_at_1(self) -> float:
        return self.n_correct / self.n_scored

    @property
    def interval(self) -> Interval:
        """The Wilson interval of the baseline's Prec@1."""
        return wilson(self.n_correct, self.n_scored)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as ``--format json`` prints it."""
        return {
            "model": self.model,
            "templates": self.templates,
            "seed": self.seed,
            "prec@1": self.prec_at_1,
            "interval": self.interval.to_dict(),
            "n_correct": self.n_correct,
            "n_scored": self.n_scored,
            "n_skipped": self.n_skipped,
            "effects": plain(self.effects),
            "untested": plain(self.untested),
        }


def explain(
    encoder: AblatableEncoder, experiment: Experiment, backend: IndexBackend, *, on_stage: OnStage | None = None
) -> Explanation:
    """Change one thing at a time, and compare on the same images.

    Parameters
    ----------
    encoder : AblatableEncoder
    experiment : Experiment
    backend : IndexBackend
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    ClassMappingError
        If a label is not one of the classes.
    SourceError
        If no image has a label, or none can be read.
    """
    run = _Run(encoder, experiment, backend, on_stage)
    for cause, affects in CHANGES.items():
        try:
            with encoder.ablate(cause) as change:
                images = run.baseline if affects == TEXTS else run.images(cause)
                classes = run.classes if affects == IMAGES else run.prototypes(experiment.templates, cause)
        except DoesNotApplyError as reason:
            run.untested.append(Untested(cause, str(reason)))
            continue
        run.compare(cause, change, images, classes)
    for name, prompts in experiment.prompts.items():
        if prompts.prompts != experiment.baseline.prompts:
            change = f"{name} instead of {experiment.templates}"
            run.compare("templates", change, run.baseline, run.prototypes(name, name))
    upright = run.images("EXIF", replace(_AS_PUBLISHED, exif=True))
    run.compare("EXIF", "rotated upright", upright, run.classes)
    fast = run.images("decoding", replace(_AS_PUBLISHED, fast=True))
    run.compare("decoding", "large JPEG files at reduced size", fast, run.classes)
    run.merge_duplicate_classes()
    run.normalise_otherwise()
    run.change_scale()
    run.effects.sort(key=lambda effect: -abs(effect.difference.difference))
    return Explanation(
        encoder.space.model, experiment.templates, experiment.seed, len(run.truth), int(run.correct.sum()),
        run.n_skipped, tuple(run.effects), tuple(run.untested),
    )  # fmt: skip


def stratified(labels: list[str | None], count: int, seed: int) -> list[int]:
    """Positions of ``count`` labels, or of all, spread over the labels as evenly as possible; None is not a label.

    Ascending; equal seeds give equal positions.
    """
    rng = random.Random(seed)
    groups: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        if label is not None:
            groups.setdefault(label, []).append(place)
    turns = []
    for group in groups.values():
        rng.shuffle(group)
        turns += [(turn, rng.random(), place) for turn, place in enumerate(group)]
    return sorted(place for _, _, place in sorted(turns)[:count])


@dataclass(frozen=True)
class _Images:
    """Vectors of the sample by the positions of their files; unreadable ones are missing."""

    places: NDArray[np.int64]
    vectors: Vectors


class _Run:
    """The sample, the baseline on it, and the effects so far."""

    def __init__(
        self, encoder: AblatableEncoder, experiment: Experiment, backend: IndexBackend, on_stage: OnStage | None
    ) -> None:
        ids = experiment.check()
        source = experiment.source
        places = stratified([file.label for file in source.files], experiment.sample, experiment.seed)
        self._encoder = encoder
        self._experiment = experiment
        self._backend = backend
        self._on_stage = on_stage
        self._source = replace(source, files=tuple(source.files[place] for place in places), skipped=())
        self.effects: list[Effect] = []
        self.untested: list[Untested] = []
        self.baseline = self.images("baseline")
        self.classes = self.prototypes(experiment.templates, "baseline")
        self.n_skipped = len(places) - len(self.baseline.places)
        labels = [str(self._source.files[int(place)].label) for place in self.baseline.places]
        self.truth = np.array([ids[label] for label in labels], dtype=np.int64)
        self._predicted = self._nearest(self.baseline, self.classes)
        self.correct = self._predicted == self.truth

    def images(self, cause: str, reading: Reading = _AS_PUBLISHED) -> _Images:
        on_progress = progress_of(self._on_stage, f"{cause}: images")
        encoded = encode_source(self._source, Model.of(self._encoder), reading, on_progress=on_progress)
        return _Images(np.array([item.id for item in encoded.items], dtype=np.int64), encoded.vectors)

    def prototypes(self, templates: str, cause: str) -> Vectors:
        prompts, on_progress = self._experiment.prompts[templates], progress_of(self._on_stage, f"{cause}: prompts")
        return make_prototypes(prompts, self._encoder, self._backend, on_progress=on_progress).prototypes.vectors

    def compare(self, cause: str, change: str, images: _Images, classes: Vectors) -> None:
        """Record the effect of a change, or that it cannot be tested if it leaves every vector as it was."""
        if np.array_equal(images.vectors, self.baseline.vectors) and np.array_equal(classes, self.classes):
            self.untested.append(Untested(cause, f"{change}: changes no vector of this sample"))
            return
        # An image may be readable one way and not the other; pairs need both.
        _, before, after = np.intersect1d(self.baseline.places, images.places, return_indices=True)
        predicted = self._nearest(images, classes)[after]
        n_changed = int((predicted != self._predicted[before]).sum())
        self._add(cause, change, self.correct[before], predicted == self.truth[before], n_changed)

    def merge_duplicate_classes(self) -> None:
        """Count classes with the same name as one."""
        duplicates = duplicate_names(self._experiment.baseline)
        if not duplicates:
            self.untested.append(Untested("duplicate classes", "no two classes have the same name"))
            return
        names = np.unique(self._experiment.baseline.class_names, return_inverse=True)[1]
        correct = names[self._predicted] == names[self.truth]
        change = f"classes with the same name count as one: {', '.join(duplicates)}"
        self._add("duplicate classes", change, self.correct, correct, 0)

    def normalise_otherwise(self) -> None:
        """Class vectors as some tutorials make them; the length of an image's vector changes no order of classes."""
        groups = self._experiment.baseline.prompts
        on_progress = progress_of(self._on_stage, f"{_NORMALISATION}: prompts")
        try:
            with self._encoder.ablate(_NORMALISATION):
                texts = encode_texts_once(self._encoder, groups, on_progress=on_progress)
        except DoesNotApplyError as reason:
            self.untested.append(Untested(_NORMALISATION, str(reason)))
            return
        classes = np.stack([texts.vectors[rows].mean(axis=0, dtype=np.float64) for rows in texts.rows])
        by_dimension = classes / np.linalg.norm(classes, axis=0)
        for change, vectors in (
            ("class vectors divided along axis=0, each dimension by its norm over the classes", by_dimension),
            ("class vectors not normalised", classes),
        ):
            predicted = (self.baseline.vectors @ vectors.T).argmax(axis=1)
            n_changed = int((predicted != self._predicted).sum())
            self._add(_NORMALISATION, change, self.correct, predicted == self.truth, n_changed)

    def change_scale(self) -> None:
        """A literal 100 in place of the model's scale moves probabilities alone."""
        head = self._encoder.head
        if head.kind is ScoreHead.SIGMOID:
            reason = "a softmax with 100 instead of the model's sigmoid changes probabilities, and no answer"
        else:
            scores = self.baseline.vectors.astype(np.float64) @ self.classes.T
            behind = scores - scores.max(axis=1, keepdims=True)
            own, other = (float((1 / np.exp(s * behind).sum(axis=1)).mean()) for s in (head.scale, _TUTORIAL_SCALE))
            reason = (
                f"100 instead of the model's {head.scale:.4g} changes no answer; the best class has a probability of "
                f"{100 * other:.1f} % instead of {100 * own:.1f} % on average"
            )
        self.untested.append(Untested("scale", reason))

    def _add(
        self, cause: str, change: str, before: NDArray[np.bool_], after: NDArray[np.bool_], n_changed: int
    ) -> None:
        self.effects.append(Effect(cause, change, int(after.sum()), paired_difference(before, after), n_changed))

    def _nearest(self, images: _Images, classes: Vectors) -> NDArray[np.int64]:
        index = self._backend.create(classes.shape[1])
        index.add(classes)
        return index.search(images.vectors, 1)[1][:, 0]
