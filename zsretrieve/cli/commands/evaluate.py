"""``zsretrieve evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import answering, options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.output import ReportFormat
from zsretrieve.cli.views import evaluation
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.prediction_sets import Coverage
from zsretrieve.domain.propagation import Propagation

_SCORING = "Figures"
_SAVING = "Files"
_RETRIEVAL_AT = "1,5,10,100"


# What is of classes alone.
_OF_CLASSES = (
    "prototypes", "classes", "templates", "ground_truth", "include_shots", "per_class", "retrieval", "retrieval_at",
    "reject_below", "by", "wanted_precision", "scale", "fit_scale", "save", "csv", "page", "report_pictures",
    "fp16_index", "force", "coverage", "sets_by", "sets_seed", "propagate", "neighbours", "gamma", "alpha", "sparse",
    "graph", "against",
)  # fmt: skip
_OF_CAPTIONS = ("column", "image_column", "split")
# What a suite decides for itself, or has no place for.
_NOT_OF_SUITES = ("source", "where", "k", "skipped", "captions", *_OF_CAPTIONS, *_OF_CLASSES)

# Parameters that are not called as their options.
_OTHERWISE = {"page": "report", "sets_seed": "seed"}


@grouped
def evaluate(
    context: typer.Context,
    columns: options.TextColumns,
    reading: options.ReadImages,
    compute: options.ComputeImages,
    coverage: Annotated[Coverage | None, answering.COVERAGE],
    propagate: Annotated[Propagation | None, answering.PROPAGATION],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A labelled folder (one folder per class), archive (.tar, .zip, .parquet), hf:DATASET:SPLIT, URL or "
            "gallery.",
        ),
    ] = None,
    prototypes: Annotated[Path | None, typer.Option("--prototypes", "-p", help="A prototype index.")] = None,
    suite: Annotated[
        Path | None,
        typer.Option(
            "--suite",
            metavar="FILE",
            help="Evaluate the data sets of this TOML file instead, in one table; the same command resumes.",
        ),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(
            "--captions",
            metavar="FILE",
            help="Evaluate caption retrieval instead: a file of captions with their images, or a gallery of texts.",
        ),
    ] = None,
    classes: options.Classes = None,
    templates: options.Templates = None,
    model: options.ModelOfClasses = None,
    ground_truth: options.GroundTruth = None,
    where: options.Where = None,
    include_shots: Annotated[
        bool,
        typer.Option(
            "--include-shots",
            rich_help_panel=_SCORING,
            help="Also score the images that the prototypes were made from.",
        ),
    ] = False,
    k: Annotated[
        list[str] | None,
        typer.Option(
            "--k",
            "-k",
            metavar="K,...",
            rich_help_panel=_SCORING,
            show_default="1,5",
            help="The k of Prec@k, comma-separated or repeated; with --captions of recall@k (default: 1,5,10).",
        ),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", rich_help_panel=_SCORING, help="Show every class, worst first.")
    ] = False,
    retrieval: Annotated[
        bool,
        typer.Option(
            "--retrieval",
            rich_help_panel=_SCORING,
            help="Also search the images with each class: mean average precision, precision@k, recall@k.",
        ),
    ] = False,
    retrieval_at: Annotated[
        str | None,
        typer.Option(
            "--retrieval-at",
            metavar="K,...",
            rich_help_panel=_SCORING,
            show_default=_RETRIEVAL_AT,
            help="The k of --retrieval, at most the number of images.",
        ),
    ] = None,
    reject_below: options.RejectBelow = None,
    by: options.RejectByOption = None,
    wanted_precision: Annotated[
        float | None,
        typer.Option(
            "--wanted-precision",
            min=0,
            max=1,
            rich_help_panel=options.REJECTING,
            help="Choose the lowest threshold at which this fraction of the answers is right.",
        ),
    ] = None,
    fit_scale: Annotated[
        bool,
        typer.Option(
            "--fit-scale",
            rich_help_panel=_SCORING,
            help="Store the scale fitted to these images in the prototype index, for probabilities from now on.",
        ),
    ] = False,
    graph: answering.Graph = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="PROTOTYPES",
            rich_help_panel=_SCORING,
            help="Also compare with these prototypes of the same classes, on the same images.",
        ),
    ] = None,
    scale: options.Scale = None,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="json prints all figures; rates are fractions.")
    ] = ReportFormat.TABLE,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="RUN",
            rich_help_panel=_SAVING,
            help="Save the predictions for every image in this Parquet file, for zsretrieve compare.",
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FOLDER",
            rich_help_panel=_SAVING,
            help="Write classes, confusions, images and curves as CSV files into this folder.",
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            rich_help_panel=_SAVING,
            help="Write an HTML page: figures, plots, examples of mistakes, what to try next. An earlier "
            "report is replaced.",
        ),
    ] = None,
    report_pictures: Annotated[
        int | None,
        typer.Option(
            "--report-pictures",
            min=0,
            rich_help_panel=_SAVING,
            show_default="120",
            help="At most this many images in the report, 5 to 25 kB each.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel=_SAVING, help="Overwrite existing outputs.")
    ] = False,
    skipped: options.SkippedFile = None,
    fp16_index: options.Fp16Index = False,
) -> None:
    """Report Prec@1, Prec@5 and mean per-class recall of zero-shot classification.

    Folder names may be class names or synset ids, of all classes or of some. Rates have 95 % intervals; the calibration
    error is how far the model's probabilities are from the truth, on average.

    A second run on the same images reads them and encodes nothing: their vectors are cached. With --captions, report
    recall@k and median rank from images to captions and back.

    Example: zsretrieve evaluate imagenet/val --classes imagenet1k --model ViT-B-32/openai
    """
    import zsretrieve as zs

    if suite is not None:
        _refuse(context, _NOT_OF_SUITES, "with --suite")
        with output.progress(lines=True) as on_stage:
            done = zs.evaluate_suite(
                suite, zs.Model(model, compute, on_stage=on_stage), reading=reading, on_stage=on_stage
            )
        if form is ReportFormat.JSON:
            output.write_json(done.to_dict())
        else:
            evaluation.show_suite(done)
        return
    if source is None:
        raise UsageError("SOURCE is missing", hint="Name labelled images, or --suite FILE.")
    options.check_skipped(skipped)
    ranks = [number for text in k for number in _numbers(text, "--k")] if k else None
    if captions is not None:
        _refuse(context, _OF_CLASSES, "with --captions")
        with output.progress() as on_stage:
            found = zs.evaluate_captions(
                source,
                captions,
                zs.Model(model, compute, on_stage=on_stage),
                **columns,
                ranks=ranks,
                reading=reading,
                where=where,
                on_stage=on_stage,
            )
        if form is ReportFormat.JSON:
            output.write_json(found.to_dict())
        else:
            evaluation.show_captions(found)
        output.report_skipped(found.skipped, skipped)
        return
    _refuse(context, _OF_CAPTIONS, "without --captions")
    options.check_apart({"--save": save, "--csv": csv, "--report": page, "--skipped": skipped})
    if report_pictures is not None and page is None:
        raise typer.BadParameter("there is no report to show images in", param_hint="--report-pictures")
    shown = {} if report_pictures is None else {"images": report_pictures}
    if retrieval and retrieval_at is None:
        retrieval_at = _RETRIEVAL_AT
    at = [] if retrieval_at is None else _numbers(retrieval_at, "--retrieval-at")
    with output.progress() as on_stage:
        report = zs.evaluate(
            source, prototypes, zs.Model(model, compute, on_stage=on_stage), classes=classes, templates=templates,
            ranks=ranks, retrieval_at=at, reject=options.reject(reject_below, by, wanted_precision),
            include_shots=include_shots, reading=reading, ground_truth=ground_truth, where=where,
            outputs=zs.Outputs(save, csv, page, force=force, **shown), half=fp16_index, on_stage=on_stage, scale=scale,
            fit_scale=fit_scale, coverage=coverage, propagate=propagate, graph=graph, against=against,
        )  # fmt: skip
    if page is not None:
        output.note(f"report -> {page}")
    if form is ReportFormat.JSON:
        output.write_json(report.to_dict())
    else:
        evaluation.show(report, per_class=per_class)
    if report.is_at_chance:
        output.note(
            f"Prec@1 is no better than guessing among {report.n_classes} classes: check the weights, the activation "
            f"(zsretrieve models show {report.model}) and the labels"
        )
    if any(number > report.n_scored for number in at):
        output.note(f"there are only {report.n_scored} images, so a larger k of --retrieval means all of them")
    output.report_skipped(report.skipped, skipped)


def _refuse(context: typer.Context, names: Sequence[str], when: str) -> None:
    """Raise UsageError for an option that was given and has no effect."""
    for name in (name for name in names if options.is_given(context, name)):
        raise UsageError(f"{_written(name)} has no effect {when}", hint=f"Leave {_written(name)} out.")


def _written(name: str) -> str:
    """A parameter as it is written on the command line."""
    return "SOURCE" if name == "source" else f"--{_OTHERWISE.get(name, name).replace('_', '-')}"


def _numbers(text: str, option: str) -> list[int]:
    """A comma-separated list of positive integers; anything else is wrong usage."""
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise typer.BadParameter(f"'{text}' is not a comma-separated list of positive integers", param_hint=option)
    return numbers
