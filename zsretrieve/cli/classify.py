"""``zsretrieve classify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import OutputFormat

if TYPE_CHECKING:
    from zsretrieve.records import Classified, Prediction

# Below this many columns the runners-up would squeeze the paths.
_WIDE = 110


def classify(
    context: typer.Context,
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder, image files, archives (.tar, .zip, .parquet), hf:DATASET:SPLIT, a URL, @FILE with paths, "
            "- for stdin, or a gallery.",
        ),
    ],
    prototypes: Annotated[Path | None, typer.Option("--prototypes", "-p", help="A prototype index.")] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", "-l", help='Classes instead of an index: "cat,dog", a set or a file.')
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option("--templates", "-t", help="Templates for --labels (default: the set's own, else standard)."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model for --labels on images; otherwise the index or gallery names it."),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="Classes per image (default: 5, or all there are).")] = None,
    reject_below: options.RejectBelow = None,
    by: options.RejectByOption = None,
    where: options.Where = None,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
    exif: options.Exif = True,
    strict: options.Strict = False,
    skipped: options.SkippedFile = None,
    max_megapixels: options.MaxMegapixels = None,
    fast_decode: options.FastDecode = False,
    device: options.Device = "auto",
    fp16_index: options.Fp16Index = False,
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
) -> None:
    """Classify images without training: the nearest class prototypes of each.

    Example: zsretrieve classify photos/ --labels "cat,dog,neither cat nor dog" --format csv
    """
    from zsretrieve import api

    if (prototypes is None) == (labels is None):
        raise typer.BadParameter("give either --prototypes or --labels", param_hint="--prototypes / --labels")
    if templates is not None and labels is None:
        raise typer.BadParameter("the index has its templates already", param_hint="--templates")
    verbosity = options.verbosity(context)
    options.check_skipped(skipped)
    reject = options.reject(reject_below, by)
    gallery = options.open_gallery_at(source, device, half=fp16_index)
    options.check_where(where, gallery)
    options.check_reading(gallery, exif=exif, max_megapixels=max_megapixels, fast_decode=fast_decode)
    if gallery is not None and prototypes is not None:
        options.check_encoding(precision, engine, batch_size)
    pictures = options.open_source(source) if gallery is None else None
    found = pictures if pictures is not None else gallery
    assert found is not None

    encoder = None
    if prototypes is not None:
        opened = api.open_prototypes(prototypes, device=device, half=fp16_index)
        api.check_k(k, len(opened.index))
        name = model or opened.space.model
        if model is not None:
            api.check_model(model, opened.space)
        if gallery is None:
            encoder = options.load_encoder(
                verbosity, name, device, precision, engine, batch_size, source=pictures, exif=exif,
                max_megapixels=max_megapixels, fast_decode=fast_decode,
            )  # fmt: skip
    else:
        prompts = api.read_prompts(str(labels), templates)
        api.check_k(k, len(prompts.class_names))
        name = model or (gallery.space.model if gallery is not None else options.MODEL_DEFAULT)
        encoder = options.load_encoder(
            verbosity, name, device, precision, engine, batch_size, source=pictures, exif=exif,
            max_megapixels=max_megapixels, fast_decode=fast_decode,
        )  # fmt: skip
        built = api.make_prototypes(prompts, encoder, device=device, half=fp16_index)
        for line in options.prompt_notes(built):
            output.note(verbosity, line)
        opened = built.prototypes
    with output.progress(verbosity, "classifying images") as on_progress:
        result = api.classify(
            found,
            opened,
            encoder,
            k=k,
            reject=reject,
            exif=exif,
            strict=strict,
            max_pixels=options.pixels(max_megapixels),
            fast_decode=fast_decode,
            where=where,
            on_progress=on_progress,
        )
    told = reject is not None
    match form:
        case OutputFormat.TABLE:
            _show(result.results)
        case OutputFormat.CSV:
            output.write_rows([flat for row in result.results for flat in _flat(row, told)], form)
        case OutputFormat.JSON | OutputFormat.JSONL:
            output.write_rows([_nested(row, told) for row in result.results], form)
    if told:
        unknown = sum(row.rejected for row in result.results)
        output.note(verbosity, f"{unknown} of {len(result.results)} images are unknown")
    output.report_skipped(verbosity, result.skipped, skipped)


def _show(results: tuple[Classified, ...]) -> None:
    with_next = len(results[0].predictions) > 1 and output.out().width >= _WIDE
    columns = ("image", "class", "probability", "score", *(("next",) if with_next else ()))
    table = output.table(*columns, right=("probability", "score"))
    for row in results:
        first, *others = row.predictions
        cells = [
            output.path_cell(row.path), "unknown" if row.rejected else output.cell(first.class_name),
            output.percent(first.probability), f"{first.score:.4f}",
        ]  # fmt: skip
        if with_next:
            rest = ", ".join(f"{p.class_name} {output.percent(p.probability)}" for p in others[:2])
            cells.append(output.cell(rest))
        table.add_row(*cells)
    output.show(table)


def _nested(row: Classified, told: bool) -> dict[str, Any]:
    rejected = {"rejected": row.rejected} if told else {}
    return {"path": row.path, "predictions": [_prediction(p) for p in row.predictions], **rejected}


def _flat(row: Classified, told: bool) -> list[dict[str, Any]]:
    rejected = {"rejected": row.rejected} if told else {}
    return [{"path": row.path, **_prediction(p), **rejected} for p in row.predictions]


def _prediction(p: Prediction) -> dict[str, Any]:
    return {
        "rank": p.rank,
        "class_id": p.class_id,
        "class_name": p.class_name,
        "score": round(p.score, 7),
        "probability": p.probability,
    }
