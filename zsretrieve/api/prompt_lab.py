"""The prompt lab: which templates work best on a labelled gallery, and which classes are close to each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace

from zsretrieve.api.indexes import cpu_backend, is_index, open_gallery, open_prototypes
from zsretrieve.api.prompts import Prompts, names_of_labels, read_classes, read_templates
from zsretrieve.api.prototypes import make_prototypes
from zsretrieve.domain import prompts as _prompts
from zsretrieve.domain.arguments import Count, Seed
from zsretrieve.domain.errors import PromptError, SourceError, UsageError
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.prompts import ClassList
from zsretrieve.domain.records import PathLike, PromptSet
from zsretrieve.domain.wording import counted
from zsretrieve.encoders.image_sides import space_beside
from zsretrieve.encoders.loading import ModelLike, as_model
from zsretrieve.evaluation.labelled import Labelled, class_ids, labelled_gallery
from zsretrieve.evaluation.report import take_labelled
from zsretrieve.evaluation.splits import halves
from zsretrieve.prompt_lab import compare as _compare
from zsretrieve.prompt_lab import select as _select
from zsretrieve.prompt_lab import similar as _similar
from zsretrieve.prompt_lab.compare import Ranking, Sensitivity, TemplateComparison
from zsretrieve.prompt_lab.prompt_vectors import encode_prompts
from zsretrieve.prompt_lab.select import Selection
from zsretrieve.prompt_lab.similar import Similar
from zsretrieve.prompt_lab.top1 import Scorer
from zsretrieve.store.indexes import Gallery, Prototypes

Classes = Prompts | ClassList | Prototypes

_log = logging.getLogger("zsretrieve")

COMPARED = ("raw", "standard", "openai7", "openai80")
CANDIDATES = "openai80"

_SCORING = "scoring templates"


def compare_templates(
    gallery: Gallery | PathLike,
    templates: Sequence[Prompts] = COMPARED,
    model: ModelLike | None = None,
    *,
    classes: Classes | None = None,
    against: str | None = None,
    probabilities: bool = False,
    where: str | None = None,
    cached: bool = True,
    on_stage: OnStage | None = None,
) -> TemplateComparison:
    """Template sets side by side on a labelled gallery: Prec@1 of each, and the differences on the same images.

    Parameters
    ----------
    gallery : Gallery or path
    templates : sequence
        Each as ``read_prompts`` takes it. Prompts that come with the classes are compared, too.
    model : Model, Encoder or str, optional
        By default the one that the gallery names; it is loaded only if a prompt is not cached.
    classes : optional
        As ``read_prompts`` takes them, or prototypes, whose classes are used; by default the labels of the gallery, see
        ``lab_classes``.
    against : str, optional
        The set that the others are compared with; by default the first.
    probabilities : bool
        Also score sets of several templates by averaging the probabilities that each template gives.
    where : str, optional
        Only the images that pass this filter, see ``zsretrieve.domain.filters``.
    cached : bool
        Use the cache of prompts, and keep these there.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    PromptError
        If classes or templates cannot be read, two sets have one name, or ``against`` is not one of them.
    SourceError, ClassMappingError, FilterError
        If the gallery is empty, has no labels, or other classes; or by the filter.
    SpaceMismatchError
        If the model has another embedding space than the gallery.
    """
    opened = _lab_gallery(gallery)
    class_list = lab_classes(opened, classes)
    sets = [_expanded(class_list, spec) for spec in templates]
    if class_list.prompts:
        sets.insert(0, _prompts.expand(class_list, None))
    names = [prompts.templates_source for prompts in sets]
    if not names:
        raise PromptError("there is no template set to compare", hint="Give one or more sets.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PromptError(f"the template set '{twice}' is given twice", hint="Give each set once.")
    if against is not None and against not in names:
        raise PromptError(f"'{against}' is not one of the compared sets", hint=f"Use one of: {', '.join(names)}.")
    scorer = _scorer(labelled_gallery(opened, sets[0], where=where), sets, model, cached, on_stage)
    number = 0 if against is None else names.index(against)
    head = opened.manifest.head if probabilities else None
    on_progress = progress_of(on_stage, "scoring template sets")
    return _compare.compare(scorer, sets, against=number, head=head, on_progress=on_progress)


def rank_templates(
    gallery: Gallery | PathLike,
    templates: Prompts = CANDIDATES,
    model: ModelLike | None = None,
    *,
    classes: Classes | None = None,
    where: str | None = None,
    cached: bool = True,
    on_stage: OnStage | None = None,
) -> Ranking:
    """Each template of a set alone, and the set without it. Parameters and errors: see ``compare_templates``."""
    labelled = _labelled(gallery, templates, classes, where)
    scorer = _scorer(labelled, [labelled.prompts], model, cached, on_stage)
    return _compare.rank(scorer, labelled.prompts, on_progress=progress_of(on_stage, _SCORING))


def template_sensitivity(
    gallery: Gallery | PathLike,
    templates: Prompts = CANDIDATES,
    model: ModelLike | None = None,
    *,
    classes: Classes | None = None,
    where: str | None = None,
    cached: bool = True,
    on_stage: OnStage | None = None,
) -> Sensitivity:
    """The spread of Prec@1 over the single templates of a set. Parameters and errors: see ``compare_templates``."""
    labelled = _labelled(gallery, templates, classes, where)
    scorer = _scorer(labelled, [labelled.prompts], model, cached, on_stage)
    return _compare.sensitivity(scorer, labelled.prompts, on_progress=progress_of(on_stage, _SCORING))


def select_templates(
    gallery: Gallery | PathLike,
    templates: Prompts = CANDIDATES,
    model: ModelLike | None = None,
    *,
    classes: Classes | None = None,
    where: str | None = None,
    most: Count = _select.MAX_TEMPLATES,
    images: Count = _select.IMAGES,
    seed: Seed = 0,
    cached: bool = True,
    on_stage: OnStage | None = None,
) -> Selection:
    """Choose up to ``most`` templates of a set on one half of the images, and score them on the other.

    At most ``images`` images of the selecting half are used; ``seed`` divides the images and draws these. The other
    parameters, and the errors, are those of ``compare_templates``; PromptError and SourceError also if nothing may be
    chosen, or there are too few images to divide. See ``zsretrieve.prompt_lab.select``.
    """
    _select.check_limits(most, images)
    labelled = _labelled(gallery, templates, classes, where)
    split = halves(labelled, seed)
    scorer = _scorer(labelled, [labelled.prompts], model, cached, on_stage)
    return _select.select(
        scorer, labelled.prompts, split, most=most, images=images, on_progress=progress_of(on_stage, "trying templates")
    )


def similar_classes(
    prototypes: Prototypes | PathLike | PromptSet,
    model: ModelLike | None = None,
    *,
    pairs: Count = _similar.PAIRS,
    gallery: Gallery | PathLike | None = None,
    where: str | None = None,
    on_stage: OnStage | None = None,
) -> Similar:
    """The most similar pairs of prototypes, and the nearest class of each class.

    Parameters
    ----------
    prototypes : Prototypes, path or PromptSet
        Prompts become prototypes in memory.
    model : Model, Encoder or str, optional
        For prompts only; by default the gallery's model, or the default model where there is no gallery.
    pairs : int
        How many pairs to list, at most.
    gallery : Gallery or path, optional
        Labelled images, to count how many are mistaken for the other class. Those that the prototypes were made from
        are left out.
    where : str, optional
        Only the gallery's images that pass this filter, see ``zsretrieve.domain.filters``.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    UsageError
        If there is a filter without a gallery, or a model without prompts.
    RankError
        If there are fewer than two classes, or no pair is asked for.
    SpaceMismatchError, SourceError, ClassMappingError, FilterError
        If the gallery has another embedding space, is empty, has no labels or other classes; or by the filter; or if
        the prototypes are a probe or have an adapter, so their classes have no cosine similarity.
    """
    if where is not None and gallery is None:
        raise UsageError("`where` works only on a gallery", hint="Give a `gallery`, or leave `where` out.")
    images = None if gallery is None else _lab_gallery(gallery)
    if isinstance(prototypes, PromptSet):
        chosen = as_model(model)
        if images is not None:
            class_ids([item.label for item in images.items], prototypes)
            chosen = chosen.named(images.space.model)
        built = make_prototypes(prototypes, chosen, device="cpu", on_stage=on_stage)
        for line in built.notes():
            _log.info(line)
        opened = built.prototypes
    elif model is not None:
        raise UsageError("a prototype index has its own model", hint="Leave `model` out.")
    else:
        opened = prototypes if isinstance(prototypes, Prototypes) else open_prototypes(prototypes, device="cpu")
    if opened.manifest.lifted or opened.keys is not None:
        raise SourceError(
            "these prototypes are a probe or have an adapter, so their classes have no cosine similarity",
            hint="Give prototypes from text, or means of images.",
        )
    labelled = None if images is None else take_labelled(images, opened, where=where)
    return _similar.similar(opened, pairs=pairs, labelled=labelled)


def lab_classes(gallery: Gallery, classes: Classes | None = None) -> ClassList:
    """The classes that images are scored on.

    Parameters
    ----------
    gallery : Gallery
    classes : optional
        A list as ``read_prompts`` takes it, or prototypes, whose classes are used. By default the labels of the gallery
        are the names, underscores read as spaces; if all labels are synset ids of ImageNet-1k, its classes are.

    Raises
    ------
    PromptError
        If the list cannot be read.
    SourceError
        If no image has a label.
    ClassMappingError
        If the labels are not names.
    """
    if isinstance(classes, ClassList):
        return classes
    if isinstance(classes, Prototypes):
        prompts = classes.prompts
        return ClassList(prompts.class_names, prompts.class_keys, prompts.classes_source)
    if classes is not None:
        return read_classes(classes)
    labels = sorted({item.label for item in gallery.items if item.label is not None})
    if not labels:
        raise SourceError(
            "none of the images of the gallery has a label",
            hint="Labels are taken when a gallery is built: from folder names, or with a `ground_truth`.",
        )
    class_list = names_of_labels(labels)
    _log.info(f"classes: {len(class_list.names)}, from {class_list.source}; choose others as `classes`")
    return class_list


def _lab_gallery(gallery: Gallery | PathLike) -> Gallery:
    if isinstance(gallery, Gallery):
        return gallery
    if not is_index(gallery):
        raise SourceError(
            f"'{os.fspath(gallery)}' is not a gallery, and the prompt lab needs images that are encoded already",
            hint=f"Build one first: zsretrieve index gallery '{os.fspath(gallery)}' indexes/labelled",
        )
    return open_gallery(gallery, device="cpu")


def _labelled(gallery: Gallery | PathLike, templates: Prompts, classes: Classes | None, where: str | None) -> Labelled:
    """The labelled images of a gallery, with the prompts of one set."""
    opened = _lab_gallery(gallery)
    return labelled_gallery(opened, _expanded(lab_classes(opened, classes), templates), where=where)


def _expanded(class_list: ClassList, templates: Prompts) -> PromptSet:
    """Classes in the templates of a set, whatever prompts come with them; a single template is named by itself."""
    read = read_templates(templates)
    if read.source == _prompts.GIVEN_TEMPLATE:
        read = replace(read, source=read.templates[0])
    return _prompts.expand(replace(class_list, prompts=()), read)


def _scorer(
    labelled: Labelled, sets: Sequence[PromptSet], model: ModelLike | None, cached: bool, on_stage: OnStage | None
) -> Scorer:
    chosen = as_model(model).named(labelled.space.model)
    space = space_beside(chosen, labelled.space)
    chosen.check(space)
    texts = encode_prompts(sets, space, chosen, cached=cached, on_progress=progress_of(on_stage, "encoding prompts"))
    if texts.cut:
        are = counted(len(texts.cut), "prompt is", "prompts are")
        _log.warning(
            f"{are} longer than the model's {space.text.context_length} tokens and cut, first '{texts.cut[0]}'"
        )
    return Scorer(labelled, texts, cpu_backend())
