"""``zsretrieve evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import evaluated, options, output
from zsretrieve.cli.output import ReportFormat

if TYPE_CHECKING:
    from zsretrieve.reports import Asked
    from zsretrieve.sources import Source
    from zsretrieve.store.indexes import Gallery, Prototypes

_SCORING = "Figures"
_SAVING = "Files"
_RETRIEVAL_AT = "1,5,10,100"


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
            help="The k of Prec@k, as a comma list or several times.",
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
            help="Also ask with each class for its images: mean average precision, precision@k, recall@k.",
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
    form: Annotated[
        ReportFormat, typer.Option("--format", help="json prints all figures; rates are fractions.")
    ] = ReportFormat.TABLE,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="RUN",
            rich_help_panel=_SAVING,
            help="Keep what was said of every image in this Parquet file, for zsretrieve compare.",
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
            help="Write a page for people (HTML): figures, plots, pictures of mistakes, what to try next. An earlier "
            "report is replaced.",
        ),
    ] = None,
    shown: Annotated[
        int | None,
        typer.Option(
            "--report-pictures",
            min=0,
            rich_help_panel=_SAVING,
            show_default="120",
            help="At most so many pictures in the report, 5 to 25 kB each.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            rich_help_panel=_SAVING,
            help="Replace a run or such a folder that is there, or a file that is no report by the report.",
        ),
    ] = False,
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

    Folder names may be class names or synset ids, of all classes or of some. Rates have 95 % intervals; the calibration
    error tells how far the model's probabilities are from the truth, on average.

    Example: zsretrieve evaluate imagenet/val --prototypes indexes/imagenet
    """
    from zsretrieve import api, reports

    verbosity = options.verbosity(context)
    options.check_skipped(skipped)
    options.check_apart({"--save": save, "--csv": csv, "--report": page, "--skipped": skipped})
    ranks = [number for text in k for number in _numbers(text, "--k")] if k else None
    asked = _RETRIEVAL_AT if retrieval and retrieval_at is None else retrieval_at
    at = [] if asked is None else _numbers(asked, "--retrieval-at")
    reject = options.reject(reject_below, by, wanted_precision)
    if save is not None:
        api.check_run_output(save, force=force)
    if csv is not None:
        api.check_tables_output(csv, force=force)
    if page is not None:
        reports.check_report(page, force=force)
    elif shown is not None:
        raise typer.BadParameter("there is no report to show pictures in", param_hint="--report-pictures")
    gallery = options.open_gallery_at([source], device, half=fp16_index)
    options.check_where(where, gallery)
    options.check_reading(gallery, exif=exif, max_megapixels=max_megapixels, fast_decode=fast_decode)
    if gallery is not None and ground_truth is not None:
        raise typer.BadParameter("a gallery takes its labels when it is built", param_hint="--ground-truth")
    if gallery is not None:
        options.check_encoding(precision, engine, batch_size)
    opened = api.open_prototypes(prototypes, device=device, half=fp16_index)
    if model is not None:
        api.check_model(model, opened.space)
    api.check_asked(opened, ranks=ranks, retrieval_at=at, reject=reject)
    encoder = None
    if gallery is not None:
        found: Source | Gallery = gallery
    else:
        found = pictures = options.open_source([source], ground_truth)
        api.check_labels(pictures, opened)
        name = model or opened.space.model
        encoder = options.load_encoder(
            verbosity, name, device, precision, engine, batch_size, source=pictures, exif=exif,
            max_megapixels=max_megapixels, fast_decode=fast_decode,
        )  # fmt: skip
    with output.progress(verbosity, "encoding images") as on_progress:
        run, report = api.evaluate_with_run(
            found,
            opened,
            encoder,
            ranks=ranks,
            retrieval_at=at,
            reject=reject,
            exif=exif,
            strict=strict,
            max_pixels=options.pixels(max_megapixels),
            fast_decode=fast_decode,
            where=where,
            include_shots=include_shots,
            on_progress=on_progress,
        )
    if save is not None:
        api.save_run(run, save, force=force)
    if csv is not None:
        api.save_tables(run, report, csv, force=force)
    if page is not None:
        with output.working(verbosity, "writing the report"):
            reports.write_report(
                page, run, report, asked=_asked(source, prototypes, opened, gallery),
                pictures=reports.PICTURES if shown is None else shown,
                exif=exif if gallery is None else gallery.manifest.encoding.exif,
                max_pixels=options.pixels(max_megapixels), force=force,
            )  # fmt: skip
        output.note(verbosity, f"report -> {page}")
    if form is ReportFormat.JSON:
        output.write_json(evaluated.as_json(report))
    else:
        evaluated.show(report, per_class=per_class)
    if any(number > report.n_scored for number in at):
        output.note(verbosity, f"there are {report.n_scored} images, so a greater k of --retrieval is taken for that")
    output.report_skipped(verbosity, report.skipped, skipped)


def _asked(source: str, prototypes: Path, opened: Prototypes, gallery: Gallery | None) -> Asked:
    """What was evaluated, for the commands that a report proposes."""
    from zsretrieve.prompts import bundled_sets
    from zsretrieve.reports import Asked

    classes = opened.prompts.classes_source
    known = classes in {one.name for one in bundled_sets()} or Path(classes).is_file()
    return Asked(
        source, str(prototypes), classes if known else None, is_gallery=gallery is not None,
        is_probe=opened.manifest.lifted,
    )  # fmt: skip


def _numbers(text: str, option: str) -> list[int]:
    """A comma list of whole numbers from 1 on; anything else is wrong usage."""
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise typer.BadParameter(f"'{text}' is no comma list of whole numbers from 1 on", param_hint=option)
    return found
