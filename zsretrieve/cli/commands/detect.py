"""``zsretrieve detect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.handover import HandOver, hand_over
from zsretrieve.cli.output import OutputFormat
from zsretrieve.cli.views import detection

_SAVING = "Files"


@grouped
def detect(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder, image files, archives (.tar, .zip, .parquet), hf:DATASET:SPLIT, a URL, @FILE with paths, "
            "- for stdin, or a gallery, whose images are read again.",
        ),
    ],
    reading: options.ReadImages,
    compute: Annotated[options.Compute, options.COMPUTE.without("compile", "engine", "trust_remote_code")],
    handover: HandOver,
    classes: Annotated[
        str | None, options.classes_option('What to find: a bundled set, a file, or a list such as "cat,dog".')
    ] = None,
    templates: options.Templates = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            metavar="[NAME=]IMAGE[X,Y,W,H]",
            help="Find objects like the one in this box (pixels) of an image, or like the main object of the image "
            "without a box; repeatable, each a class.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            show_default="google/owlv2-base-patch16-ensemble",
            help="OWL-ViT or OWLv2: org/repo or hf-hub:org/repo on the hub, or local-dir:PATH.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, show_default="0.1; 0.6 with --like", help="The least score."),
    ] = None,
    iou: Annotated[
        float,
        typer.Option(
            "--iou",
            min=0,
            max=1,
            help="Drop a box that overlaps one of higher score by more than this IoU, whatever their classes; 1 drops "
            "none.",
        ),
    ] = 0.3,
    most: Annotated[int, typer.Option("--most", min=1, metavar="N", help="At most this many boxes per image.")] = 100,
    ground_truth: Annotated[
        Path | None,
        typer.Option(
            "--ground-truth",
            metavar="FILE",
            help="Print the average precision against the objects in this file (COCO's JSON) instead of the boxes.",
        ),
    ] = None,
    null: options.Null = False,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            metavar="FILE",
            rich_help_panel=_SAVING,
            help="Write the boxes as COCO's results: a JSON list for other evaluations.",
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            rich_help_panel=_SAVING,
            help="Write an HTML page with the images and their boxes. An earlier report is replaced.",
        ),
    ] = None,
    report_pictures: Annotated[
        int | None,
        typer.Option(
            "--report-pictures",
            min=0,
            rich_help_panel=_SAVING,
            show_default="120",
            help="At most this many images in the report.",
        ),
    ] = None,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
    skipped: options.SkippedFile = None,
) -> None:
    """Find objects in images by the names of their classes, or by an example: boxes, classes and scores.

    Boxes are cached: after an interruption, or with another threshold, the same command only looks at what is missing.

    Example: zsretrieve detect photos/ --labels "cat,dog" --report report.html
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    options.check_apart(
        {
            "--results": results,
            "--report": page,
            "--skipped": skipped,
            "--export": handover.export,
            "--sort-into": handover.sort_into,
        }
    )
    handover.check()
    if report_pictures is not None and page is None:
        raise typer.BadParameter("there is no report to show images in", param_hint="--report-pictures")
    pictures = {} if report_pictures is None else {"images": report_pictures}
    with output.progress() as on_stage:
        found = zs.detect(
            options.listed(source, null),
            zs.DetectionModel(model, compute, on_stage=on_stage),
            classes=classes,
            templates=templates,
            like=like,
            limits=zs.BoxLimits(threshold, iou, most),
            ground_truth=ground_truth,
            outputs=zs.DetectionOutputs(page, results, force=handover.force, **pictures),
            reading=reading,
            on_stage=on_stage,
        )
    for written, file in (("report", page), ("results", results)):
        if file is not None:
            output.note(f"{written} -> {file}")
    figures = found.average_precision
    match form:
        case OutputFormat.TABLE if figures is not None:
            detection.show_precision(figures)
        case OutputFormat.TABLE:
            detection.show(found)
        case OutputFormat.JSON if figures is not None:
            output.write_json(figures.to_dict())
        case OutputFormat.CSV:
            output.write_rows((found if figures is None else figures).rows(), form, detection.COLUMNS)
        case _:
            output.write_rows([one.to_dict() for one in (found.images if figures is None else figures.classes)], form)
    output.note(found.summary)
    hand_over(found.annotations(), handover, found.skipped, skipped)
