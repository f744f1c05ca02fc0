"""Running a published table model by model, resumably, to compare our figures with the published ones."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from zsretrieve.domain.errors import ClassMappingError, ImageError, OutputExistsError, WeightsUnavailableError
from zsretrieve.domain.plain import Result, plain
from zsretrieve.domain.ports import IndexBackend, OnStage, progress_of
from zsretrieve.domain.prompts import prompt_digest
from zsretrieve.domain.records import PromptSet, Skipped
from zsretrieve.domain.results import Interval
from zsretrieve.domain.settings import EXACT, Compute, Reading
from zsretrieve.encoders.baseline import SupervisedEncoder, is_supervised
from zsretrieve.encoders.loading import Model
from zsretrieve.evaluation.labelled import class_ids, labelled_gallery
from zsretrieve.gallery.build import build_gallery
from zsretrieve.gallery.ingest import Ingest
from zsretrieve.images import opening
from zsretrieve.images.sources import Source
from zsretrieve.metrics import hits_at, wilson
from zsretrieve.prototypes.text import make_prototypes
from zsretrieve.reproduction.tables import SUPERVISED, Figure, Table, TableModel
from zsretrieve.store import manifest as manifests
from zsretrieve.store.indexes import Gallery, open_gallery
from zsretrieve.system.atomic import write_file

_FORMAT = 1
_RESULT = "result.json"
_GALLERY = "gallery"
# As the papers did: no EXIF orientation, decoded in full.
_READING = Reading(exif=False)


@dataclass(frozen=True)
class Row(Result):
    """One model with one set of templates: our figure and the published ones.

    ``comparable`` means that the figures are of equally many images and every class occurs. Differences are in points,
    to the first of ``figures``. ``n_tied`` images have several best classes, whose names are ``tied``; None if the
    counts were stored before ties were counted.
    """

    model: str
    title: str
    templates: str
    n_correct: int
    n_scored: int
    n_skipped: int
    figures: tuple[Figure, ...]
    tolerance: float
    comparable: bool
    n_tied: int | None = None
    tied: tuple[str, ...] = ()

    @property
    def prec_at_1(self) -> float:
        return self.n_correct / self.n_scored

    @property
    def interval(self) -> Interval:
        """The Wilson interval of Prec@1."""
        return wilson(self.n_correct, self.n_scored)

    @property
    def difference(self) -> float | None:
        return 100 * self.prec_at_1 - self.figures[0].percent if self.figures else None

    @property
    def off(self) -> bool | None:
        """Whether the difference exceeds the tolerance; None if there is nothing to compare with."""
        if self.difference is None or not self.comparable:
            return None
        # Both figures are decimal: 63.6 is not more than 0.3 above 63.3.
        return round(abs(self.difference) - self.tolerance, 9) > 0

    def to_dict(self) -> dict[str, Any]:
        """The row as machine formats have it; ``published`` is in percent, by source."""
        return {
            "model": self.model,
            "title": self.title,
            "templates": self.templates,
            "prec@1": self.prec_at_1,
            "interval": self.interval.to_dict(),
            "n_correct": self.n_correct,
            "n_scored": self.n_scored,
            "n_skipped": self.n_skipped,
            "n_tied": self.n_tied,
            "tied": plain(self.tied),
            "difference_points": self.difference,
            "comparable": self.comparable,
            "off": self.off,
            "published": {figure.source: figure.percent for figure in self.figures},
        }


@dataclass(frozen=True)
class Failed(Result):
    """A model that could not be loaded, and why."""

    model: str
    reason: str


@dataclass(frozen=True)
class Reproduction:
    """The results of running a table.

    ``compute`` is as requested, ``auto`` included. ``n_images`` counts the images of the source, with and without
    labels, and ``n_classes_scored`` the classes of the scored ones; ``data`` is what ``data_digest`` returns.
    """

    table: Table
    compute: Compute
    rows: tuple[Row, ...]
    failed: tuple[Failed, ...]
    n_images: int
    n_classes: int
    n_classes_scored: int
    data: str
    skipped: tuple[Skipped, ...]

    def to_dict(self) -> dict[str, Any]:
        """The results as ``--format json`` prints them."""
        return {
            "table": self.table.name,
            "classes": self.table.classes,
            "n_images": self.n_images,
            "n_classes": self.n_classes,
            "n_classes_scored": self.n_classes_scored,
            "tolerance": self.table.tolerance,
            "precision": self.compute.precision,
            "engine": self.compute.engine,
            "device": self.compute.device,
            "data": self.data,
            "sources": self.table.sources,
            "rows": plain(self.rows),
            "failed": plain(self.failed),
        }


@dataclass(frozen=True)
class Job:
    """What the models of a table have in common.

    ``model_of`` makes a model by its name, and ``work`` is the folder that keeps vectors and counts.
    """

    source: Source
    work: Path
    compute: Compute
    model_of: Callable[[str], Model]
    backend: IndexBackend
    on_stage: OnStage | None = None


def reproduce(table: Table, job: Job, prompts: Mapping[str, PromptSet]) -> Reproduction:
    """Run every model of a table with every set of templates.

    The work folder has a folder for each combination of model, images and settings. It holds a gallery, whose build is
    resumable, and the counts of each set of templates. The same call takes them up and returns the same figures.

    Parameters
    ----------
    table : Table
    job : Job
        With labelled images.
    prompts : mapping of str to PromptSet
        The classes of the table with each of its templates.

    Raises
    ------
    ClassMappingError
        If a label is not one of the classes.
    SourceError
        If no image has a label, or none can be read.
    WeightsUnavailableError
        If none of the models can be loaded; otherwise the result lists those that failed.
    """
    first = next(iter(prompts.values()))
    class_ids([file.label for file in job.source.files], first)  # refuses wrong labels before hours are spent
    n_classes, n_classes_scored = len(first.class_names), 0
    data = data_digest(job.source)
    rows: list[Row] = []
    failed: list[Failed] = []
    skipped: tuple[Skipped, ...] = job.source.skipped
    for row in table.models:
        try:
            counts, left_out = _run(job, row, data, {SUPERVISED: first} if is_supervised(row.name) else prompts)
        except (WeightsUnavailableError, ClassMappingError) as error:
            failed.append(Failed(row.name, error.message))
            continue
        skipped = max(skipped, left_out, key=len)
        for templates, count in counts.items():
            n_classes_scored = max(n_classes_scored, count.n_classes)
            comparable = count.n_classes == n_classes and table.images in (None, count.n_scored)
            figures = tuple(figure for figure in row.figures if figure.templates == templates)
            counted = count.n_correct, count.n_scored, count.n_skipped
            ties = count.n_tied, tuple(count.tied)
            rows.append(Row(row.name, row.title, templates, *counted, figures, table.tolerance, comparable, *ties))
    if not rows:
        raise WeightsUnavailableError(
            f"none of the {len(failed)} models can be loaded; the first is '{failed[0].model}': {failed[0].reason}",
            hint="Check the network and HF_HUB_OFFLINE, or run models on disk, with `models` none and `model` "
            "local-dir:PATH.",
        )
    n_images = len(job.source.files)
    return Reproduction(
        table, job.compute, tuple(rows), tuple(failed), n_images, n_classes, n_classes_scored, data, skipped
    )


def data_digest(source: Source) -> str:
    """The sha256 of the names, labels, sizes and times of the images of a source, in their order."""
    digest = hashlib.sha256()
    for file in source.files:
        try:
            on_disk = opening.state(source.address(file))
            state = f"{on_disk.bytes}\0{on_disk.mtime_ns}"
        except ImageError:
            state = "unreadable"
        digest.update(os.fsencode(file.path) + b"\0" + os.fsencode(file.label or "") + f"\0{state}\0".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Count:
    templates: str
    n_correct: int
    n_scored: int
    n_skipped: int
    n_classes: int
    n_tied: int | None = None
    tied: Sequence[str] = ()


def _run(
    job: Job, row: TableModel, data: str, prompts: Mapping[str, PromptSet]
) -> tuple[dict[str, _Count], tuple[Skipped, ...]]:
    """The counts of one model and what was skipped; the model is out of memory before the next one is loaded."""
    run = _ModelRun(job, row, data)
    return run.counts(prompts), run.skipped


class _ModelRun:
    """One model of the table."""

    def __init__(self, job: Job, row: TableModel, data: str) -> None:
        self._job = job
        self._row = row
        self._model = job.model_of(row.name)
        self._gallery: Gallery | None = None
        self.skipped: tuple[Skipped, ...] = ()
        compute = job.compute
        # Work folders of earlier versions are found by these keys and values.
        self._decided_by: dict[str, Any] = {
            "format": _FORMAT, "weights": self._model.identity or self._model.load().space.weights, "data": data,
            "device": compute.device, "precision": str(compute.precision), "engine": str(compute.engine),
            "exif": _READING.exif, "decoding": EXACT,
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(self._decided_by, sort_keys=True).encode()).hexdigest()[:12]
        # A name may be a path, whose end says more than its beginning.
        plain = re.sub(r"[^\w.-]+", "-", row.name)[-60:].strip("-.")
        self._folder = job.work / f"{plain}-{key}"

    def counts(self, prompts: Mapping[str, PromptSet]) -> dict[str, _Count]:
        """The counts of each set of templates, stored as soon as they are known."""
        stored = self._read()
        for templates, group in prompts.items():
            digest = prompt_digest(group)
            if digest not in stored:
                stored[digest] = self._count(templates, group)
                self._write(stored)
        return {templates: stored[prompt_digest(group)] for templates, group in prompts.items()}

    def _count(self, templates: str, prompts: PromptSet) -> _Count:
        encoder, backend = self._model.load(), self._job.backend
        if templates == SUPERVISED:
            # Before the images, so that classes it does not know are refused at once.
            vectors = cast(SupervisedEncoder, encoder).class_vectors(prompts.class_keys)
            index = backend.create(vectors.shape[1])
            index.add(vectors)
            gallery = self._built()
        else:
            gallery = self._built()
            on_progress = progress_of(self._job.on_stage, f"{self._row.title}: prompts, {templates}")
            index = make_prototypes(prompts, encoder, backend, on_progress=on_progress).prototypes.index
        labelled = labelled_gallery(gallery, prompts)
        scores, ranked = index.search(labelled.vectors, min(2, len(index)))
        ties = ranked[scores[:, 0] == scores[:, -1]] if len(index) > 1 else ranked[:0]
        tied = sorted({prompts.class_names[c] for c in np.unique(ties)})
        n_correct = int(hits_at(ranked, labelled.truth, 1).sum())
        n_classes = len(np.unique(labelled.truth))
        counted = n_correct, len(labelled.truth), len(labelled.skipped), n_classes
        return _Count(templates, *counted, len(ties), tied)

    def _built(self) -> Gallery:
        if self._gallery is None:
            out = self._folder / _GALLERY
            self._gallery = open_gallery(out, self._job.backend) if manifests.is_index(out) else self._build(out)
            self.skipped = self._gallery.manifest.skipped
        return self._gallery

    def _build(self, out: Path) -> Gallery:
        self._folder.mkdir(parents=True, exist_ok=True)
        on_progress = progress_of(self._job.on_stage, f"{self._row.title}: images")
        try:
            how = Ingest(self._model, self._job.backend, _READING, on_progress=on_progress)
            return build_gallery(out, self._job.source, how)
        except OutputExistsError as error:
            # Begun from another folder with the same images, or on a machine with another engine.
            raise OutputExistsError(
                error.message,
                hint=f"Finish it with the command that started it, or delete '{self._folder}' and start again.",
            ) from error

    def _read(self) -> dict[str, _Count]:
        try:
            content = json.loads((self._folder / _RESULT).read_text(encoding="utf-8"))
            if content["decided_by"] != self._decided_by:
                return {}
            counts = {digest: _Count(**count) for digest, count in content["counts"].items()}
            self.skipped = tuple(Skipped(str(path), str(reason)) for path, reason in content["skipped"])
            return counts
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def _write(self, counts: Mapping[str, _Count]) -> None:
        content = {
            "model": self._row.name,
            "decided_by": self._decided_by,
            "counts": {digest: asdict(count) for digest, count in counts.items()},
            "skipped": [[one.path, one.reason] for one in self.skipped],
        }
        write_file(self._folder / _RESULT, json.dumps(content, indent=1).encode())
