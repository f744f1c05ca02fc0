"""``zsretrieve evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import ReportFormat

if TYPE_CHECKING:
    from zsretrieve.results import EvalReport
    from zsretrieve.sources import Source
    from zsretrieve.store.indexes import Gallery

_SHOWN_CONFUSIONS = 10
_RANKS = (1, 5)


def evaluate(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A labelled folder (one folder per class), archive (.tar, .zip, .parquet), hf:DATASET:SPLIT, URL or "
            "gallery.",
        ),
    ],
    prototypes: Annotated[Path, typer.Option("--prototypes", "-p", help="A prototype index.")],
    ground_truth: options.GroundTruth = None,
    where: options.Where = None,
    include_shots: Annotated[
        bool,
        typer.Option("--include-shots", help="Also score the images that the prototypes were made from."),
    ] = False,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
    exif: options.Exif = True,
    strict: options.Strict = False,
    skipped: options.SkippedFile = None,
    max_megapixels: options.MaxMegapixels = None,
    fast_decode: options.FastDecode = False,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    fp16_index: options.Fp16Index = False,
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
) -> None:
    """Report Prec@1, Prec@5 and mean per-class recall of zero-shot classification.

    Folder names may be class names or synset ids, of all classes or of some.

    Example: zsretrieve evaluate imagenet/val --prototypes indexes/imagenet
    """
    from zsretrieve import api

    verbosity = options.verbosity(context)
    options.check_skipped(skipped)
    gallery = options.open_gallery_at([source], device, half=fp16_index)
    options.check_where(where, gallery)
    options.check_reading(gallery, exif=exif, max_megapixels=max_megapixels, fast_decode=fast_decode)
    if gallery is not None and ground_truth is not None:
        raise typer.BadParameter("a gallery takes its labels when it is built", param_hint="--ground-truth")
    opened = api.open_prototypes(prototypes, device=device, half=fp16_index)
    encoder = None
    if gallery is not None:
        found: Source | Gallery = gallery
    else:
        found = pictures = options.open_source([source], ground_truth)
        api.check_labels(pictures, opened)
        if model is not None:
            api.check_model(model, opened.space)
        name = model or opened.space.model
        encoder = options.load_encoder(
            verbosity, name, device, precision, engine, batch_size, source=pictures, exif=exif,
            max_megapixels=max_megapixels, fast_decode=fast_decode,
        )  # fmt: skip
    with output.progress(verbosity, "encoding images") as on_progress:
        report = api.evaluate(
            found,
            opened,
            encoder,
            exif=exif,
            strict=strict,
            max_pixels=options.pixels(max_megapixels),
            fast_decode=fast_decode,
            where=where,
            include_shots=include_shots,
            on_progress=on_progress,
        )
    if form is ReportFormat.JSON:
        output.write_json(as_json(report))
    else:
        _show(report)
    output.report_skipped(verbosity, report.skipped, skipped)


def as_json(report: EvalReport) -> dict[str, Any]:
    """The figures of a report; rates are fractions of ``n_scored``."""
    return {
        **{f"prec@{k}": report.prec_at.get(k) for k in _RANKS},  # null where there are fewer classes than k
        "mean_per_class_recall": report.mean_per_class_recall,
        "n_correct": report.n_correct,
        "n_scored": report.n_scored,
        "n_skipped": len(report.skipped),
        "n_unlabelled": report.unlabelled,
        "n_classes": report.n_classes,
        "n_classes_scored": len(report.per_class),
        "model": report.model,
        "templates": report.templates,
        "where": report.where,
        "n_drawn": report.n_drawn,
        "shots_included": report.shots_included,
        "per_class": [
            {"class_id": c.class_id, "class_name": c.class_name, "n_scored": c.n_scored, "recall": c.recall}
            for c in report.per_class
        ],
        "confusions": [
            {"true": c.true_class, "predicted": c.predicted_class, "count": c.count} for c in report.confusions
        ],
    }


def _show(report: EvalReport) -> None:
    figures = output.table("figure", "value", "of", right=("value",))
    for k, value in report.prec_at.items():
        figures.add_row(
            f"Prec@{k}", output.percent(value), f"{round(value * report.n_scored)} / {report.n_scored} images"
        )
    figures.add_row(
        "mean per-class recall", output.percent(report.mean_per_class_recall),
        f"{len(report.per_class)} of {report.n_classes} classes occur",
    )  # fmt: skip
    of_all = "could not be read" if report.where is None else "of the whole gallery could not be read"
    figures.add_row("skipped", str(len(report.skipped)), of_all)
    if report.n_drawn:
        told = (
            "trained the prototypes and are scored" if report.shots_included else "trained the prototypes, not scored"
        )
        figures.add_row("drawn", str(report.n_drawn), told)
    if report.unlabelled:
        figures.add_row("unlabelled", str(report.unlabelled), "not scored")
    title = f"{report.model}, templates: {report.templates}"
    output.show(figures, title if report.where is None else f"{title}, only images where {report.where}")
    if report.confusions:
        wrong = output.table("true class", "taken for", "images", right=("images",))
        for confusion in report.confusions[:_SHOWN_CONFUSIONS]:
            wrong.add_row(
                output.cell(confusion.true_class), output.cell(confusion.predicted_class), str(confusion.count)
            )
        output.show(wrong, "most frequent confusions")
