"""Classification, evaluation and comparison."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve.api.classes import Classes
from zsretrieve.api.indexes import open_gallery, open_prototypes
from zsretrieve.api.outputs import Outputs
from zsretrieve.api.propagation import Through, check_propagation
from zsretrieve.api.sources import SourceLike, source_or_gallery
from zsretrieve.domain.arguments import Scale
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.prediction_sets import Coverage
from zsretrieve.domain.prompts import bundled_sets
from zsretrieve.domain.propagation import Propagation
from zsretrieve.domain.records import PathLike, PromptSet
from zsretrieve.domain.results import EvalReport, Reject, Run
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.loading import ModelLike, as_model
from zsretrieve.evaluation import classify as _classify
from zsretrieve.evaluation import csv_tables, matrix_file, run_file
from zsretrieve.evaluation import report as _report
from zsretrieve.evaluation.classify import Asking, Classification
from zsretrieve.evaluation.labelled import class_ids
from zsretrieve.evaluation.report import calibrated
from zsretrieve.images.sources import Source
from zsretrieve.store.index_files import keep_scale
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.system import atomic

if TYPE_CHECKING:
    from zsretrieve.reports import Asked

_log = logging.getLogger("zsretrieve")

_ENCODING = "encoding images"


def classify(
    source: SourceLike | Gallery,
    prototypes: Prototypes | PathLike | Sequence[str] | None = None,
    model: ModelLike | None = None,
    *,
    classes: PathLike | Sequence[str] | PromptSet | None = None,
    templates: PathLike | Sequence[str] | None = None,
    k: int | None = None,
    reject: Reject | None = None,
    scale: Scale | None = None,
    matrix: PathLike | None = None,
    coverage: Coverage | None = None,
    calibrate: Gallery | PathLike | None = None,
    propagate: Propagation | None = None,
    graph: Gallery | PathLike | None = None,
    reading: Reading | None = None,
    where: str | None = None,
    half: bool = False,
    on_stage: OnStage | None = None,
) -> Classification:
    """The k nearest classes of every image. Those of a gallery, and of files that were classified or evaluated before,
    are not encoded again.

    Parameters
    ----------
    source : path, sequence of path, Source or Gallery
        See ``open_source``.
    prototypes : Prototypes, path or sequence of str
        A list of class names is taken for ``classes``.
    model : Model, Encoder or str, optional
        By default the one that the prototypes or, with ``classes``, the gallery name. Its device also searches indexes
        that are opened here.
    classes, templates : optional
        Classes and templates in place of prototypes, see ``read_prompts``.
    k : int, optional
        Five by default, or as many as there are classes.
    reject : Reject, optional
        Which images are answered with "unknown".
    scale : float, optional
        For probabilities, in place of the model's own or the fitted one; it changes no order of classes.
    matrix : path, optional
        A ``.npy`` or ``.parquet`` file for the scores of all images with all classes. An earlier one is replaced.
    coverage : Coverage, optional
        Answer with sets of classes, calibrated on the labelled images of the gallery ``calibrate``. Without ``k``, the
        predictions are those of the set, and at least the best.
    calibrate : Gallery or path, optional
    propagate : Propagation, optional
        Spread the classes over the images of a gallery, in place of each image by itself.
    graph : Gallery or path, optional
        The gallery over which they spread, if it is not ``source`` itself.
    reading : Reading, optional
    where : str, optional
        Only the images of a gallery that pass a filter, see ``zsretrieve.domain.filters``.
    half : bool
        Keep the GPU's copy of indexes that are opened here in float16.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    UsageError
        If not exactly one of prototypes and classes is given, or options contradict the source.
    SpaceMismatchError, RankError, SourceError, FilterError, PromptError
        See ``zsretrieve.evaluation.classify`` and ``read_prompts``.
    """
    if matrix is not None:
        matrix_file.check_suffix(Path(matrix))
        atomic.check_output(Path(matrix), matrix_file.KIND, force=True)
    if (coverage is None) != (calibrate is None):
        raise UsageError(
            "prediction sets need both a `coverage` and a labelled gallery to `calibrate` on",
            hint="Give both, or see what evaluate says of a `coverage`.",
        )
    if coverage is not None and propagate is not None:
        raise UsageError(
            "images that calibrate a `coverage` are not in the graph of those that are classified",
            hint="Leave out `coverage` or `propagate`; evaluate takes both.",
        )
    check_propagation(propagate, graph, scale)
    reading, model = reading or Reading(), as_model(model)
    chosen = Classes.open(prototypes, classes, templates, device=model.compute.device, half=half)
    chosen.check_installed(source, model)
    images = source_or_gallery(source, reading, where=where, device=model.compute.device, half=half)
    _classify.check_request(len(chosen.prompts.class_names), k, reject)
    through = Through.open(images, propagate, graph, where=where, device=model.compute.device)
    calibrating = open_gallery(calibrate) if isinstance(calibrate, str | os.PathLike) else calibrate
    opened, model = chosen.prototypes(images, model, reading, half=half, on_stage=on_stage)
    if scale is not None:
        opened = opened.at_scale(scale)
    sets = None if coverage is None or calibrating is None else calibrated(calibrating, opened, coverage)
    asking = Asking(k, reject, sets, matrix is not None)
    solved = None if through is None else through.solved(opened, on_stage)
    if isinstance(images, Gallery):
        done = _classify.classify_gallery(images, opened, asking=asking, graph=solved, where=where)
    else:
        on_progress = progress_of(on_stage, _ENCODING)
        done = _classify.classify_source(
            images, opened, model, reading, asking=asking, graph=solved, on_progress=on_progress
        )
    if matrix is not None:
        matrix_file.write(Path(matrix), done)
    return done


def evaluate(
    source: SourceLike | Gallery,
    prototypes: Prototypes | PathLike | None = None,
    model: ModelLike | None = None,
    *,
    classes: PathLike | Sequence[str] | PromptSet | None = None,
    templates: PathLike | Sequence[str] | None = None,
    ranks: Sequence[int] | None = None,
    retrieval_at: Sequence[int] = (),
    reject: Reject | None = None,
    include_shots: bool = False,
    scale: Scale | None = None,
    fit_scale: bool = False,
    coverage: Coverage | None = None,
    propagate: Propagation | None = None,
    graph: Gallery | PathLike | None = None,
    against: Prototypes | PathLike | None = None,
    reading: Reading | None = None,
    ground_truth: PathLike | None = None,
    where: str | None = None,
    outputs: Outputs | None = None,
    half: bool = False,
    on_stage: OnStage | None = None,
) -> EvalReport:
    """Prec@k, mean per-class recall, calibration and more of a labelled source or gallery, and the predictions.

    Images of a gallery, and of files that were classified or evaluated before, are not encoded again.

    Parameters
    ----------
    source : path, sequence of path, Source or Gallery
        See ``open_source``.
    prototypes : Prototypes or path
        Or ``classes``.
    model : Model, Encoder or str, optional
        As for ``classify``.
    classes, templates : optional
        Classes and templates in place of prototypes, see ``read_prompts``.
    ranks : sequence of int, optional
        The k of Prec@k besides 1; by default 5 if there are as many classes.
    retrieval_at : sequence of int
        The k of class-to-image retrieval, which is reported if there is one.
    reject : Reject, optional
        Which images are answered with "unknown".
    include_shots : bool
        Also score the images that the prototypes were made from, which are left out otherwise.
    scale : float, optional
        See ``classify``.
    fit_scale : bool
        Store the scale that is fitted to these images in the prototype index, whose probabilities use it from then on.
    coverage : Coverage, optional
        Calibrate prediction sets on one half of the images and score them on the other.
    propagate, graph : optional
        As for ``classify``; the prototypes by themselves are then what is compared with.
    against : Prototypes or path, optional
        Also compare with these prototypes of the same classes, on the same images.
    reading : Reading, optional
    ground_truth : path, optional
        Labels for a flat folder or an archive, see ``open_source``.
    where : str, optional
        Only the images of a gallery that pass a filter, see ``zsretrieve.domain.filters``.
    outputs : Outputs, optional
        Files to write as well. Whether they can be written is checked before anything is encoded.
    half : bool
        Keep the GPU's copy of indexes that are opened here in float16.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    RankError
        If a k does not fit the number of classes, or no threshold reaches the precision that is wanted.
    UsageError
        If not exactly one of prototypes and classes is given, or options contradict the source.
    PromptError
        See ``read_prompts``.
    SpaceMismatchError, ClassMappingError, SourceError, FilterError
        See ``zsretrieve.evaluation.report``.
    """
    outputs, reading, model = outputs or Outputs(), reading or Reading(), as_model(model)
    outputs.check()
    if fit_scale and scale is not None:
        raise UsageError("`fit_scale` chooses the scale itself", hint="Leave out `scale`.")
    check_propagation(propagate, graph, scale, fit_scale=fit_scale, retrieval_at=retrieval_at)
    chosen = Classes.open(prototypes, classes, templates, device=model.compute.device, half=half)
    chosen.check_installed(source, model)
    if fit_scale and (chosen.index is None or chosen.index.folder is None):
        raise UsageError(
            "a fitted scale is kept in a prototype index",
            hint="Build one: zsretrieve index prototypes OUT; then evaluate with --prototypes OUT.",
        )
    images = source_or_gallery(
        source, reading, ground_truth=ground_truth, where=where, device=model.compute.device, half=half
    )
    _report.check_ranks(len(chosen.prompts.class_names), ranks, retrieval_at)
    through = Through.open(images, propagate, graph, where=where, device=model.compute.device)
    other = open_prototypes(against, half=half) if isinstance(against, str | os.PathLike) else against
    if isinstance(images, Source):
        class_ids([file.label for file in images.files], chosen.prompts)
    elif chosen.index is None and where is None:  # before prompts are encoded
        class_ids([item.label for item in images.items], chosen.prompts)
    opened, model = chosen.prototypes(images, model, reading, half=half, on_stage=on_stage)
    if scale is not None:
        opened = opened.at_scale(scale)
    if isinstance(images, Gallery):
        labelled = _report.take_labelled(images, opened, where=where, include_shots=include_shots)
        reading = reading.as_for(images.manifest.encoding)
    else:
        labelled = _report.encode_labelled(
            images, opened, model, reading, include_shots=include_shots, on_progress=progress_of(on_stage, _ENCODING)
        )
    shares = None if through is None else through.answers(labelled, opened, on_stage)
    if shares is not None and other is None:
        other = opened
    report = _report.evaluate_labelled(
        labelled,
        opened,
        ranks=ranks,
        retrieval_at=retrieval_at,
        reject=reject,
        coverage=coverage,
        against=other,
        shares=shares,
    )
    if fit_scale:
        _keep_scale(opened, report)
    if outputs.run is not None:
        save_run(report.run, outputs.run, force=outputs.force)
    if outputs.tables is not None:
        save_tables(report, outputs.tables, force=outputs.force)
    if outputs.page is not None:
        from zsretrieve.reports import write_report

        asked = _asked(source, images, opened, classes, templates)
        if on_stage is not None:
            on_stage("writing the report", 0, 1)
        write_report(outputs.page, report, asked=asked, images=outputs.images, reading=reading, force=outputs.force)
    return report


def save_run(run: Run, out: PathLike, *, force: bool = False) -> None:
    """Write a run as one Parquet file; ``force`` replaces an earlier run.

    Raises OutputExistsError and IndexFolderError.
    """
    run_file.write(Path(out), run, force=force)


def open_run(path: PathLike) -> Run:
    """Read a saved run. Raises SourceError if the file is not one."""
    return run_file.read(Path(path))


def save_tables(report: EvalReport, out: PathLike, *, force: bool = False) -> None:
    """Write the figures as a folder of CSV files; ``force`` replaces an earlier folder of this kind.

    Raises OutputExistsError and IndexFolderError.
    """
    csv_tables.write(Path(out), report, force=force)


def _keep_scale(prototypes: Prototypes, report: EvalReport) -> None:
    """Store the fitted scale in the index, unless the images do not determine it."""
    calibration = report.calibration
    assert calibration is not None
    assert prototypes.folder is not None
    if calibration.at_limit:
        _log.warning("no scale is stored: these images determine none, since all of them are right or hardly any")
        return
    keep_scale(prototypes.folder, calibration.fitted_scale)
    _log.info(f"scale {calibration.fitted_scale:.4g} stored in {prototypes.folder}, for probabilities from now on")


def _asked(
    source: SourceLike | Gallery,
    images: Source | Gallery,
    prototypes: Prototypes,
    classes: PathLike | Sequence[str] | PromptSet | None,
    templates: PathLike | Sequence[str] | None,
) -> Asked:
    """What was evaluated, for the commands that a report proposes."""
    from zsretrieve.reports import Asked

    named = prototypes.prompts.classes_source
    known = named in {one.name for one in bundled_sets()} or Path(named).is_file()
    folder = images.folder if isinstance(images, Gallery) else images.origin or images.root
    of_index = classes is None
    return Asked(
        source=str(source if isinstance(source, str | os.PathLike) else folder),
        prototypes=str(prototypes.folder or "PROTOTYPES") if of_index else None,
        classes=_word(classes) or (named if known else None),
        templates=_word(templates),
        is_gallery=isinstance(images, Gallery),
        is_probe=prototypes.manifest.lifted or prototypes.keys is not None,
    )


def _word(prompts: PathLike | Sequence[str] | PromptSet | None) -> str | None:
    """Classes or templates as a command takes them, None if it does not."""
    return os.fspath(prompts) if isinstance(prompts, str | os.PathLike) else None
