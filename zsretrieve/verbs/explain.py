"""Why our figure is not the published one: the usual causes, one by one, on a sample."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import SourceError
from zsretrieve.metrics import paired_difference, wilson
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.prompts import duplicate_names
from zsretrieve.records import PromptSet
from zsretrieve.results import Interval, PairedDifference
from zsretrieve.sources import Source
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.build import make_prototypes
from zsretrieve.verbs.encode import encode_source
from zsretrieve.verbs.labelled import class_ids

OnStage = Callable[[str, int, int], None]

# What may be changed in a model, and whether it concerns pictures, texts or both.
PICTURES, TEXTS, BOTH = "pictures", "texts", "both"
CHANGES = {
    "resizing": PICTURES,
    "interpolation": PICTURES,
    "antialiasing": PICTURES,
    "activation": BOTH,
    "case": TEXTS,
    "punctuation": TEXTS,
    "padding": TEXTS,
}


class DoesNotApplyError(Exception):
    """A change that a model has no room for; the message says why."""


class ChangeableEncoder(Encoder, Protocol):
    """A model of which one thing at a time can be changed."""

    def changed(self, change: str) -> AbstractContextManager[str]:
        """Change one of ``CHANGES`` for as long as the context lasts; gives words for it.

        Raises DoesNotApplyError.
        """
        ...


@dataclass(frozen=True)
class Effect:
    """What one change does to Prec@1. ``difference`` is that of the changed way to the baseline, as a fraction.

    ``n_changed`` images have another best class than in the baseline.
    """

    cause: str
    change: str
    n_correct: int
    difference: PairedDifference
    n_changed: int


@dataclass(frozen=True)
class Untested:
    """A cause that does not apply, and why."""

    cause: str
    reason: str


@dataclass(frozen=True)
class Explanation:
    """How much each usual cause moves Prec@1, the largest effect first.

    The baseline is the papers' way: the model's own preprocessing, activation and tokens, no EXIF, exact decoding.
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
    def interval(self) -> Interval:
        """The Wilson interval of the baseline's Prec@1."""
        return wilson(self.n_correct, self.n_scored)


def explain(
    encoder: ChangeableEncoder,
    source: Source,
    prompts: Mapping[str, PromptSet],
    templates: str,
    backend: IndexBackend,
    *,
    sample: int,
    seed: int = 0,
    on_stage: OnStage | None = None,
) -> Explanation:
    """Change one thing at a time, and compare on the same pictures.

    Parameters
    ----------
    encoder : ChangeableEncoder
    source : Source
        Labelled pictures.
    prompts : mapping of str to PromptSet
        The classes with several sets of templates.
    templates : str
        Which of these is the baseline.
    backend : IndexBackend
    sample : int
        How many pictures, as equally from all classes as there are.
    seed : int
        Equal seeds take equal samples.
    on_stage : callable, optional
        Called with (what is done, count, of how many).

    Raises
    ------
    ClassMappingError
        If a label is none of the classes.
    SourceError
        If no picture has a label, or none can be read.
    """
    run = _Run(encoder, source, prompts, templates, backend, sample, seed, on_stage)
    effects: list[Effect] = []
    untested: list[Untested] = []
    for cause, concerns in CHANGES.items():
        try:
            with encoder.changed(cause) as words:
                pictures = run.pictures(cause) if concerns in (PICTURES, BOTH) else run.baseline
                prototypes = run.prototypes(templates, cause) if concerns in (TEXTS, BOTH) else run.classes
        except DoesNotApplyError as reason:
            untested.append(Untested(cause, str(reason)))
            continue
        run.compare(cause, words, pictures, prototypes, effects, untested)
    for name in prompts:
        if prompts[name].prompts != prompts[templates].prompts:
            words = f"{name} instead of {templates}"
            run.compare("templates", words, run.baseline, run.prototypes(name, name), effects, untested)
    for cause, words, exif, fast in (
        ("EXIF", "turned upright by it", True, False),
        ("decoding", "large JPEG files at a part of their size", False, True),
    ):
        run.compare(cause, words, run.pictures(cause, exif=exif, fast=fast), run.classes, effects, untested)
    run.merge(effects, untested)
    effects.sort(key=lambda effect: -abs(effect.difference.difference))
    return Explanation(
        encoder.space.model, templates, seed, len(run.truth), int(run.correct.sum()), run.n_skipped, tuple(effects),
        tuple(untested),
    )  # fmt: skip


def check(source: Source, prompts: PromptSet, sample: int) -> None:
    """Raise what ``explain`` would raise of labels, classes and the sample, before a model is loaded."""
    if sample < 1:
        raise SourceError(f"a sample of {sample} images is none", hint="Take at least one.")
    class_ids([file.label for file in source.files], prompts)


def stratified(labels: list[str | None], count: int, seed: int) -> list[int]:
    """Places of ``count`` labels, or of all there are, as equally from all labels as there are; None is no label.

    Ascending; equal seeds give equal places.
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
class _Pictures:
    """Vectors of the sample by the places of their files; what could not be read is not there."""

    places: NDArray[np.int64]
    vectors: Vectors


class _Run:
    """The sample, the baseline on it, and what comparing with it needs."""

    def __init__(
        self,
        encoder: ChangeableEncoder,
        source: Source,
        prompts: Mapping[str, PromptSet],
        templates: str,
        backend: IndexBackend,
        sample: int,
        seed: int,
        on_stage: OnStage | None,
    ) -> None:
        check(source, prompts[templates], sample)
        ids = class_ids([file.label for file in source.files], prompts[templates])
        places = stratified([file.label for file in source.files], sample, seed)
        self._encoder = encoder
        self._prompts = prompts
        self._backend = backend
        self._on_stage = on_stage
        self._source = replace(source, files=tuple(source.files[place] for place in places), skipped=())
        self.names = np.unique(prompts[templates].class_names, return_inverse=True)[1]
        self.duplicates = duplicate_names(prompts[templates])
        self.baseline = self.pictures("baseline")
        self.classes = self.prototypes(templates, "baseline")
        self.n_skipped = len(places) - len(self.baseline.places)
        labels = [self._source.files[int(place)].label for place in self.baseline.places]
        self.truth = np.array([ids[label] for label in labels if label is not None], dtype=np.int64)
        self.predicted = self._nearest(self.baseline, self.classes)
        self.correct = self.predicted == self.truth

    def pictures(self, cause: str, *, exif: bool = False, fast: bool = False) -> _Pictures:
        encoded = encode_source(
            self._source, self._encoder, exif=exif, fast=fast,
            on_progress=lambda done, total: self._tell(f"{cause}: images", done, total),
        )  # fmt: skip
        return _Pictures(np.array([item.id for item in encoded.items], dtype=np.int64), encoded.vectors)

    def prototypes(self, templates: str, cause: str) -> Vectors:
        return make_prototypes(
            self._prompts[templates], self._encoder, self._backend,
            on_progress=lambda done, total: self._tell(f"{cause}: prompts", done, total),
        ).prototypes.vectors  # fmt: skip

    def compare(
        self,
        cause: str,
        change: str,
        pictures: _Pictures,
        classes: Vectors,
        effects: list[Effect],
        untested: list[Untested],
    ) -> None:
        """Put what a change does to the effects, or to what is not tested where it changes nothing at all."""
        if np.array_equal(pictures.vectors, self.baseline.vectors) and np.array_equal(classes, self.classes):
            untested.append(Untested(cause, f"{change}: not one vector of this sample becomes another"))
            return
        # A picture may be readable one way and not the other; pairs are of those that are both ways.
        _, ours, theirs = np.intersect1d(self.baseline.places, pictures.places, return_indices=True)
        predicted = self._nearest(pictures, classes)[theirs]
        correct = predicted == self.truth[ours]
        self._add(effects, cause, change, self.correct[ours], correct, int((predicted != self.predicted[ours]).sum()))

    def merge(self, effects: list[Effect], untested: list[Untested]) -> None:
        """Count classes of the same name as one."""
        if not self.duplicates:
            untested.append(Untested("duplicate classes", "no two classes have the same name"))
            return
        correct = self.names[self.predicted] == self.names[self.truth]
        change = f"classes of the same name count as one: {', '.join(self.duplicates)}"
        self._add(effects, "duplicate classes", change, self.correct, correct, 0)

    def _add(
        self,
        effects: list[Effect],
        cause: str,
        change: str,
        before: NDArray[np.bool_],
        after: NDArray[np.bool_],
        n_changed: int,
    ) -> None:
        effects.append(Effect(cause, change, int(after.sum()), paired_difference(before, after), n_changed))

    def _nearest(self, pictures: _Pictures, classes: Vectors) -> NDArray[np.int64]:
        index = self._backend.create(classes.shape[1])
        index.add(classes)
        return index.search(pictures.vectors, 1)[1][:, 0]

    def _tell(self, what: str, done: int, total: int) -> None:
        if self._on_stage is not None:
            self._on_stage(what, done, total)
