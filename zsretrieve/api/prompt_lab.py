"""The prompt lab: which templates serve a labelled gallery, and which classes are near each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from zsretrieve import prompts as _prompts
from zsretrieve import wiring
from zsretrieve.api.lab_inputs import Classes, lab_classes, lab_gallery
from zsretrieve.api.models import load_encoder
from zsretrieve.api.opening import PathLike, cpu_backend
from zsretrieve.errors import PromptError, SourceError
from zsretrieve.ports import Encoder, PromptMemory
from zsretrieve.prompts import ClassList
from zsretrieve.records import PromptSet
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.verbs import prompt_lab as _lab
from zsretrieve.verbs import prompt_select as _select
from zsretrieve.verbs import similar as _similar
from zsretrieve.verbs.evaluate import take_labelled
from zsretrieve.verbs.halves import halves
from zsretrieve.verbs.labelled import Labelled, labelled_gallery
from zsretrieve.verbs.prompt_lab import Comparison, Ranking, Sensitivity
from zsretrieve.verbs.prompt_select import Selection
from zsretrieve.verbs.prompt_vectors import PromptVectors, encode_prompts
from zsretrieve.verbs.similar import Similar

Templates = PathLike | Sequence[str]
MakesEncoder = Encoder | Callable[[], Encoder] | None
# Called with (what is done, steps done, steps in all).
OnStage = Callable[[str, int, int], None]

_log = logging.getLogger("zsretrieve")

COMPARED = ("raw", "standard", "openai7", "openai80")
CANDIDATES = "openai80"


@dataclass(frozen=True)
class _Prompting:
    """How prompts become vectors, and who is told of the progress."""

    encoder: MakesEncoder
    memory: PromptMemory | None
    on_stage: OnStage | None

    def encode(self, labelled: Labelled, sets: Sequence[PromptSet]) -> PromptVectors:
        def make() -> Encoder:
            if self.encoder is None:
                return load_encoder(labelled.space.model)
            return self.encoder() if callable(self.encoder) else self.encoder

        memory = self.memory
        if memory is None and self.encoder is None:
            memory = wiring.prompt_memory(labelled.space)
        texts = encode_prompts(sets, labelled.space, make, memory=memory, on_progress=self.stage("encoding prompts"))
        if texts.cut:
            are = "1 prompt is" if len(texts.cut) == 1 else f"{len(texts.cut)} prompts are"
            room = labelled.space.text.context_length
            _log.warning(f"{are} longer than the model's {room} tokens and cut, first '{texts.cut[0]}'")
        return texts

    def stage(self, what: str) -> Callable[[int, int], None] | None:
        return None if self.on_stage is None else partial(self.on_stage, what)


def compare_templates(
    gallery: Gallery | PathLike,
    templates: Sequence[Templates] = COMPARED,
    encoder: MakesEncoder = None,
    *,
    classes: Classes = None,
    against: str | None = None,
    where: str | None = None,
    memory: PromptMemory | None = None,
    on_stage: OnStage | None = None,
) -> Comparison:
    """Template sets side by side on a labelled gallery: Prec@1 of each, and how it differs on the same pictures.

    Parameters
    ----------
    gallery : Gallery or path
    templates : sequence
        Each as ``read_prompts`` takes it. Prompts that the classes bring with them are compared, too.
    encoder : Encoder, or a function that gives one, optional
        By default the gallery's model, which is loaded if a prompt is not in the cache folder.
    classes : ClassList, str, path or sequence of str, optional
        By default what the labels of the gallery say, see ``lab_classes``.
    against : str, optional
        The set that the others are compared with; by default the first.
    where : str, optional
        Keep to the pictures that pass this filter, see ``zsretrieve.filters``.
    memory : PromptMemory, optional
        Where vectors of prompts are looked for, and kept; without it an ``encoder`` that is given is always asked.
    on_stage : callable, optional
        Called with (what is done, steps done, steps in all).

    Raises
    ------
    PromptError
        If classes or templates cannot be read, two sets have one name, or ``against`` is none of them.
    SourceError, ClassMappingError, FilterError
        If the gallery is empty, without labels, or of other classes; or by the filter.
    SpaceMismatchError
        If the encoder is not that of the gallery.
    """
    opened = lab_gallery(gallery)
    class_list = lab_classes(opened, classes)
    sets = [_set(class_list, spec) for spec in templates]
    if class_list.prompts:
        sets.insert(0, _prompts.expand(class_list, None))
    names = [prompts.templates_source for prompts in sets]
    twice = [name for name in names if names.count(name) > 1]
    if not sets or twice:
        raise PromptError(
            f"the template set '{twice[0]}' is given twice" if twice else "there is no template set to compare",
            hint="Give each set once.",
        )
    if against is not None and against not in names:
        raise PromptError(f"'{against}' is none of the sets that are compared", hint=f"Use one of: {', '.join(names)}.")
    labelled = labelled_gallery(opened, sets[0], where=where)
    prompting = _Prompting(encoder, memory, on_stage)
    return _lab.compare(
        labelled, sets, prompting.encode(labelled, sets), cpu_backend(),
        against=0 if against is None else names.index(against), on_progress=prompting.stage("scoring template sets"),
    )  # fmt: skip


def rank_templates(
    gallery: Gallery | PathLike,
    templates: Templates = CANDIDATES,
    encoder: MakesEncoder = None,
    *,
    classes: Classes = None,
    where: str | None = None,
    memory: PromptMemory | None = None,
    on_stage: OnStage | None = None,
) -> Ranking:
    """Each template of a set alone, and the set without it. Parameters and errors: see ``compare_templates``."""
    labelled, prompts = _one_set(gallery, templates, classes, where)
    prompting = _Prompting(encoder, memory, on_stage)
    texts = prompting.encode(labelled, [prompts])
    return _lab.rank(labelled, prompts, texts, cpu_backend(), on_progress=prompting.stage("scoring templates"))


def template_sensitivity(
    gallery: Gallery | PathLike,
    templates: Templates = CANDIDATES,
    encoder: MakesEncoder = None,
    *,
    classes: Classes = None,
    where: str | None = None,
    memory: PromptMemory | None = None,
    on_stage: OnStage | None = None,
) -> Sensitivity:
    """The spread of Prec@1 over the single templates of a set. Parameters and errors: see ``compare_templates``."""
    labelled, prompts = _one_set(gallery, templates, classes, where)
    prompting = _Prompting(encoder, memory, on_stage)
    texts = prompting.encode(labelled, [prompts])
    return _lab.sensitivity(labelled, prompts, texts, cpu_backend(), on_progress=prompting.stage("scoring templates"))


def select_templates(
    gallery: Gallery | PathLike,
    templates: Templates = CANDIDATES,
    encoder: MakesEncoder = None,
    *,
    classes: Classes = None,
    where: str | None = None,
    most: int = _select.MAX_TEMPLATES,
    images: int = _select.IMAGES,
    seed: int = 0,
    memory: PromptMemory | None = None,
    on_stage: OnStage | None = None,
) -> Selection:
    """Choose up to ``most`` templates of a set on one half of the pictures, and score them on the other.

    At most ``images`` pictures of the selecting half are looked at; ``seed`` deals the halves and draws these. The
    other parameters, and the errors, are those of ``compare_templates``; PromptError and SourceError also if nothing
    may be chosen, or there are too few pictures to halve. See ``zsretrieve.verbs.prompt_select``.
    """
    _select.check_limits(most, images)
    labelled, prompts = _one_set(gallery, templates, classes, where)
    split = halves(labelled, seed)
    prompting = _Prompting(encoder, memory, on_stage)
    texts = prompting.encode(labelled, [prompts])
    return _select.select(
        labelled, prompts, texts, cpu_backend(), split,
        most=most, images=images, on_progress=prompting.stage("trying templates"),
    )  # fmt: skip


def similar_classes(
    prototypes: Prototypes,
    *,
    pairs: int = _similar.PAIRS,
    gallery: Gallery | PathLike | None = None,
    where: str | None = None,
) -> Similar:
    """The most similar pairs of prototypes, and the nearest class of each class.

    With a labelled gallery, also how many of its pictures are taken for the other class; ``where`` filters them, and
    those that the prototypes were made from are left out.

    Raises
    ------
    RankError
        If there are fewer than two classes, or no pair is asked for.
    SpaceMismatchError, SourceError, ClassMappingError, FilterError
        If the gallery is of another space, empty, without labels, or of other classes; or by the filter; or if the
        prototypes are a probe, whose rows have a bias and no cosine similarity.
    """
    if prototypes.manifest.lifted:
        raise SourceError(
            "these prototypes are a probe, whose rows have a bias, so that they have no cosine similarity",
            hint="Give prototypes of text, or means of images.",
        )
    labelled = None
    if gallery is not None:
        opened = lab_gallery(gallery)
        labelled = take_labelled(opened, prototypes, where=where)
    return _similar.similar(
        prototypes.vectors, prototypes.prompts.class_names, pairs=pairs, labelled=labelled, index=prototypes.index
    )


def _one_set(
    gallery: Gallery | PathLike, templates: Templates, classes: Classes, where: str | None
) -> tuple[Labelled, PromptSet]:
    opened = lab_gallery(gallery)
    prompts = _set(lab_classes(opened, classes), templates)
    return labelled_gallery(opened, prompts, where=where), prompts


def _set(class_list: ClassList, spec: Templates) -> PromptSet:
    """Classes in the templates of a set, whatever prompts they bring with them; a single template is its own name."""
    read = _prompts.read_templates(Path(spec) if isinstance(spec, os.PathLike) else spec, wiring.provide)
    if read.source == "given template":
        read = replace(read, source=read.templates[0])
    return _prompts.expand(replace(class_list, prompts=()), read)
