"""``zsretrieve classify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import answering, options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.handover import HandOver, hand_over
from zsretrieve.cli.output import OutputFormat
from zsretrieve.domain.prediction_sets import Coverage
from zsretrieve.domain.propagation import Propagation

if TYPE_CHECKING:
    from zsretrieve.domain.records import Classified

# On narrower terminals, the runners-up would squeeze the paths.
_WIDE = 110


@grouped
def classify(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder, image files, archives (.tar, .zip, .parquet), hf:DATASET:SPLIT, a URL, @FILE with paths, "
            "- for stdin, or a gallery.",
        ),
    ],
    reading: options.ReadImages,
    compute: options.ComputeImages,
    handover: HandOver,
    coverage: Annotated[Coverage | None, answering.COVERAGE.without("sets_seed")],
    propagate: Annotated[Propagation | None, answering.PROPAGATION],
    prototypes: Annotated[Path | None, typer.Option("--prototypes", "-p", help="A prototype index.")] = None,
    classes: options.Classes = None,
    templates: options.Templates = None,
    model: options.ModelOfClasses = None,
    k: Annotated[int | None, typer.Option("-k", help="Classes per image (default: 5, or all there are).")] = None,
    reject_below: options.RejectBelow = None,
    by: options.RejectByOption = None,
    where: options.Where = None,
    null: options.Null = False,
    matrix: Annotated[
        Path | None,
        typer.Option(
            "--matrix", metavar="FILE", help="Write the scores of all images with all classes (.npy or .parquet)."
        ),
    ] = None,
    calibrate: answering.Calibrate = None,
    graph: answering.Graph = None,
    scale: options.Scale = None,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
    skipped: options.SkippedFile = None,
    fp16_index: options.Fp16Index = False,
) -> None:
    """Classify images without training: each gets its nearest class prototypes.

    A second run on the same images reads them and encodes nothing: their vectors are cached.

    Example: zsretrieve classify photos/ --classes "cat,dog,neither cat nor dog" --format csv
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    options.check_apart(
        {"--skipped": skipped, "--matrix": matrix, "--export": handover.export, "--sort-into": handover.sort_into}
    )
    handover.check()
    with output.progress() as on_stage:
        classified = zs.classify(
            options.listed(source, null), prototypes, zs.Model(model, compute, on_stage=on_stage), classes=classes,
            templates=templates, k=k, reject=options.reject(reject_below, by), reading=reading, where=where,
            half=fp16_index, on_stage=on_stage, scale=scale, matrix=matrix, coverage=coverage, calibrate=calibrate,
            propagate=propagate, graph=graph,
        )  # fmt: skip
    match form:
        case OutputFormat.TABLE:
            _show(classified.results)
        case OutputFormat.CSV:
            output.write_rows([row for result in classified.results for row in result.rows()], form)
        case OutputFormat.JSON | OutputFormat.JSONL:
            output.write_rows([result.to_dict() for result in classified.results], form)
    if reject_below is not None:
        unknown = sum(result.rejected is True for result in classified.results)
        output.note(f"{unknown} of {len(classified.results)} images are unknown")
    if coverage is not None:
        sizes = [result.set_size or 0 for result in classified.results]
        output.note(f"prediction sets of {sum(sizes) / len(sizes):.2f} classes on average; {sizes.count(0)} are empty")
    hand_over(classified.annotations(), handover, classified.skipped, skipped)


def _show(results: tuple[Classified, ...]) -> None:
    in_sets = results[0].set_size is not None
    with_next = not in_sets and len(results[0].predictions) > 1 and output.out().width >= _WIDE
    columns = ("image", "class", "probability", "score", *(["next"] if with_next else ["set"] if in_sets else []))
    table = output.table(*columns, right=("probability", "score"))
    for result in results:
        best, *others = result.predictions
        answer = "unknown" if result.rejected else output.cell(best.class_name)
        cells = [output.path_cell(result.path), answer, output.percent(best.probability), f"{best.score:.4f}"]
        if with_next:
            cells.append(output.cell(", ".join(f"{p.class_name} {output.percent(p.probability)}" for p in others[:2])))
        if result.set_size is not None:
            cells.append(output.cell(", ".join(p.class_name for p in result.predictions[: result.set_size]) or "-"))
        table.add_row(*cells)
    output.show(table)
