"""Suites: several labelled data sets evaluated one after the other."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

from zsretrieve.api.evaluation import evaluate, open_run, save_run
from zsretrieve.api.indexes import open_prototypes
from zsretrieve.api.sources import refuse_compute, source_or_gallery
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.image_sides import space_beside
from zsretrieve.encoders.loading import Model, ModelLike, as_model
from zsretrieve.evaluation import run_file
from zsretrieve.evaluation.labelled import class_ids
from zsretrieve.evaluation.suite import DataSet, Suite, read_suite, suite_of
from zsretrieve.images.sources import Source
from zsretrieve.reproduction.run import data_digest
from zsretrieve.store.indexes import Gallery, Prototypes


def evaluate_suite(
    suite: PathLike,
    model: ModelLike | None = None,
    *,
    work: PathLike | None = None,
    reading: Reading | None = None,
    on_stage: OnStage | None = None,
) -> Suite:
    """Prec@1 on every data set of a suite. After an interruption the same call continues with the next data set.

    Parameters
    ----------
    suite : path
        A TOML file, see docs/evaluation.md.
    model : Model, Encoder or str, optional
        By default the ones that the prototypes name.
    work : path, optional
        The folder that keeps the run of each data set, for ``compare`` as well; by default ``FILE.runs`` beside it.
    reading : Reading, optional
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    SourceError
        If the suite cannot be read, or a data set has no labelled image.
    ClassMappingError, SpaceMismatchError
        See ``evaluate``. All data sets are opened and checked before the first is encoded.
    """
    reading, chosen, suite = reading or Reading(), as_model(model), Path(suite)
    folder = suite.with_name(f"{suite.name}.runs") if work is None else Path(work)
    sets = read_suite(suite)
    opened = [_open(one, reading, chosen) for one in sets]
    if all(isinstance(images, Gallery) for images, _ in opened):
        refuse_compute(chosen.compute)
    runs = []
    for one, (images, prototypes) in zip(sets, opened, strict=True):
        plain = re.sub(r"[^\w.-]+", "-", one.name)
        place = folder / f"{plain}-{_key(images, prototypes, chosen, reading)}.run"
        if not run_file.is_run(place):
            compute = () if isinstance(images, Gallery) else (chosen,)
            report = evaluate(images, prototypes, *compute, reading=reading, on_stage=on_stage)
            save_run(report.run, place)
        runs.append(open_run(place))
    return suite_of([one.name for one in sets], runs)


def _open(one: DataSet, reading: Reading, model: Model) -> tuple[Source | Gallery, Prototypes]:
    device = model.compute.device
    images = source_or_gallery(one.source, reading, ground_truth=one.ground_truth, where=None, device=device)
    prototypes = open_prototypes(one.prototypes, device=device)
    model.check(space_beside(model, prototypes.space))
    labels = [item.label for item in (images.items if isinstance(images, Gallery) else images.files)]
    class_ids(labels, prototypes.prompts)
    return images, prototypes


def _key(images: Source | Gallery, prototypes: Prototypes, model: Model, reading: Reading) -> str:
    """Everything that decides the predictions, so that no other run is taken for this one."""
    data = _files(images) if isinstance(images, Gallery) else data_digest(images)
    scale = prototypes.manifest.fitted_scale
    content = [data, _files(prototypes), scale, asdict(model.compute), asdict(reading)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _files(index: Gallery | Prototypes) -> list[str]:
    return sorted(entry.sha256 for entry in index.manifest.files.values())
