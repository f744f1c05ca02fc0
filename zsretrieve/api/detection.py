"""Finding objects in images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from zsretrieve.api.prompts import read_prompts
from zsretrieve.api.sources import SourceLike, as_source
from zsretrieve.detection import queries as _queries
from zsretrieve.detection.finding import find
from zsretrieve.detection.ground_truth import GroundTruth, coco_results
from zsretrieve.detection.queries import Queries
from zsretrieve.domain.arguments import Between, check_fields
from zsretrieve.domain.detections import EXAMPLE_THRESHOLD, TEXT_THRESHOLD, BoxLimits, Detections, Example
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.records import PathLike, PromptSet
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.detection import DetectionModel
from zsretrieve.system import extras
from zsretrieve.system.atomic import OutputKind, begins_with, check_apart, check_output, replacing

# COCO's form has no place for a mark of ours, so what others wrote is only replaced if that is wanted.
_RESULTS = OutputKind(False, lambda file: begins_with(file, b"[", 1), "list of results")


@dataclass(frozen=True)
class DetectionOutputs:
    """Files that ``detect`` writes.

    Parameters
    ----------
    page : path, optional
        The images with their boxes: an HTML file. An earlier report is replaced.
    results : path, optional
        COCO's results: a JSON list of boxes with ``image_id``, ``category_id``, ``bbox`` and ``score``. IDs are those
        of the ground truth, or count from 1 in the order of images and classes.
    images : int
        At most this many images on the page.
    force : bool
        Replace an earlier list of results.
    """

    page: PathLike | None = None
    results: PathLike | None = None
    images: Annotated[int, Between(0, 100_000)] = 120
    force: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self) -> None:
        """Raise UsageError if one would overwrite the other.

        Raises OutputExistsError, IndexFolderError or ReportError if one cannot be written.
        """
        check_apart(self.page, self.results)
        if self.results is not None:
            check_output(Path(self.results), _RESULTS, force=self.force)
        if self.page is not None:
            from zsretrieve.reports import check_report

            check_report(self.page, hint="Give another path.")


def detect(
    source: SourceLike,
    model: DetectionModel | str | None = None,
    *,
    classes: PathLike | Sequence[str] | PromptSet | None = None,
    templates: PathLike | Sequence[str] | None = None,
    like: Example | PathLike | Sequence[Example | PathLike] | None = None,
    limits: BoxLimits | None = None,
    ground_truth: PathLike | None = None,
    outputs: DetectionOutputs | None = None,
    reading: Reading | None = None,
    on_stage: OnStage | None = None,
) -> Detections:
    """Find objects in images, by the names of their classes or by examples, with OWL-ViT or OWLv2.

    What was found is cached: a second run, also with another threshold or overlap, reads the images and needs no model.

    Parameters
    ----------
    source : path, sequence of path or Source
        See ``open_source``.
    model : DetectionModel or str, optional
        By default OWLv2, ``google/owlv2-base-patch16-ensemble``.
    classes, templates : optional
        What to find, see ``read_prompts``. The vectors of the prompts of a class are averaged, as in prototypes.
    like : Example or str, or several, optional
        Find objects like these instead, each a class of its own. A str is read as ``Example.parse`` does:
        ``photo.jpg[10,20,64,48]``.
    limits : BoxLimits, optional
        Which boxes are kept.
    ground_truth : path, optional
        COCO's JSON with the objects of the images, for the average precision.
    outputs : DetectionOutputs, optional
        Files to write as well. Whether they can be written is checked before anything is found.
    reading : Reading, optional
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    UsageError
        If not exactly one of classes and examples is given.
    ModelNameError
        If the model is not a detector.
    QueryError
        If an example cannot be read, or its box is not inside its image.
    ClassMappingError
        If a class is not in the ground truth.
    OutputExistsError, IndexFolderError, ReportError
        If an output cannot be written, see ``DetectionOutputs``.
    WeightsUnavailableError, PromptError, SourceError, SkippedInputError, OptionalDependencyError, DeviceError
        See ``DetectionModel``, ``read_prompts``, ``open_source`` and ``Reading``.
    """
    outputs, reading, limits = outputs or DetectionOutputs(), reading or Reading(), limits or BoxLimits()
    outputs.check()
    if (classes is None) == (like is None):
        raise UsageError(
            "`classes` and `like` both say what to find" if like is not None else "nothing says what to find",
            hint="Name `classes`, or give an example with `like`; not both.",
        )
    if like is not None and templates is not None:
        raise UsageError("`templates` are for `classes`", hint="Leave `templates` out.")
    if not isinstance(model, DetectionModel):
        model = DetectionModel(model)
    name = model.open()
    if ground_truth is not None:
        extras.require_coco()
    truth = None if ground_truth is None else GroundTruth.read(Path(ground_truth))
    queries = _queries_of(classes, templates, like, reading, pads=name.pads)
    if limits.threshold is None:
        limits = replace(limits, threshold=TEXT_THRESHOLD if like is None else EXAMPLE_THRESHOLD)
    images = as_source(source)
    if truth is not None:
        truth.check(queries.class_names, images)
    found, skipped = find(images, model, queries, limits, reading, on_progress=progress_of(on_stage, "finding objects"))
    done = Detections(queries.class_names, found, skipped, images.root, name.name.in_manifest)
    if truth is not None:
        done = replace(done, average_precision=truth.compare(found, queries.class_names))
    if outputs.results is not None:
        _write_results(Path(outputs.results), done, truth, force=outputs.force)
    if outputs.page is not None:
        from zsretrieve.reports.detections import write_detections

        if on_stage is not None:
            on_stage("writing the report", 0, 1)
        write_detections(Path(outputs.page), done, limits, reading, images=outputs.images)
    return done


def _queries_of(
    classes: PathLike | Sequence[str] | PromptSet | None,
    templates: PathLike | Sequence[str] | None,
    like: Example | PathLike | Sequence[Example | PathLike] | None,
    reading: Reading,
    *,
    pads: bool,
) -> Queries:
    if classes is not None:
        return _queries.of_prompts(classes if isinstance(classes, PromptSet) else read_prompts(classes, templates))
    several = like if isinstance(like, Sequence) and not isinstance(like, str) else [like]
    examples = [
        one if isinstance(one, Example) else Example.parse(one) if isinstance(one, str) else Example(one)
        for one in several
        if one is not None
    ]
    return _queries.of_examples(examples, reading, pads=pads)


def _write_results(path: Path, found: Detections, truth: GroundTruth | None, *, force: bool) -> None:
    if truth is not None:
        results = truth.results(found.images)
    else:
        results = coco_results(enumerate(found.images, start=1), lambda one: one.class_id + 1)
    with replacing(path, _RESULTS, force=force) as beside:
        beside.write_text(json.dumps(results), encoding="utf-8")
