"""``zsretrieve prompts similar``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.output import OutputFormat
from zsretrieve.cli.views import prompt_lab as views
from zsretrieve.domain.errors import UsageError

if TYPE_CHECKING:
    from zsretrieve.prompt_lab.similar import Similar


@grouped
def similar(
    compute: options.ComputeTexts,
    prototypes: Annotated[
        Path | None, typer.Argument(metavar="PROTOTYPES", help="A prototype index; or give --classes.")
    ] = None,
    classes: Annotated[
        str | None,
        options.classes_option("A set, a file or a comma-separated list, instead of an index."),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option("--templates", "-t", help="Templates for --classes (default: the set's own, else standard)."),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", help="A labelled gallery: count which of its images are confused.")
    ] = None,
    where: options.Where = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="List this many pairs of classes.")] = 20,
    matrix: Annotated[
        Path | None, typer.Option("--matrix", help="Write the similarity of every two classes here (CSV).")
    ] = None,
    form: Annotated[
        OutputFormat, typer.Option("--format", help="How to print; csv and jsonl contain only the pairs.")
    ] = OutputFormat.TABLE,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="Model for --classes (default: that of --gallery, if given)."
        ),
    ] = None,
) -> None:
    """Find classes that are easily confused: the most similar prototypes, and the nearest class of each class.

    Similarity is cosine similarity, from -1 to 1. Two classes with the same name are twins: no prompt can distinguish
    them.

    Example: zsretrieve prompts similar indexes/imagenet --gallery indexes/val --matrix similar.csv
    """
    import zsretrieve as zs

    if (prototypes is None) == (classes is None):
        raise UsageError("give either a prototype index or --classes", hint="Give one of them.")
    for option, value in (("--templates", templates), ("--model", model)):
        if value is not None and classes is None:
            raise UsageError(f"{option} goes with --classes; an index has its own", hint=f"Leave {option} out.")
    options.check_writable(matrix, "--matrix", ("class_id", "class_name", "0", "1"), more=True)
    with output.progress() as on_stage:
        classes_or_index = str(prototypes) if classes is None else zs.read_prompts(classes, templates)
        chosen = None if classes is None else zs.Model(model, compute, on_stage=on_stage)
        result = zs.similar_classes(
            classes_or_index, chosen, pairs=pairs, gallery=gallery, where=where, on_stage=on_stage
        )
    if result.n_drawn:
        output.note(f"{result.n_drawn} images that the prototypes were made from are left out")
    if matrix is not None:
        _write_matrix(matrix, result)
        n_classes = len(result.prototypes.vectors)
        output.note(f"{n_classes} x {n_classes} similarities -> {matrix}")
    views.print_similar(result, form)


def _write_matrix(file: Path, similar: Similar) -> None:
    """One line for each class, its id and name first."""
    names = similar.prototypes.prompts.class_names
    with output.opened(file) as handle:
        writer = csv.writer(handle)
        writer.writerow(["class_id", "class_name", *range(len(names))])
        for start, scores in similar.matrix():
            for row, values in enumerate(scores, start=start):
                writer.writerow([row, names[row], *(f"{value:.6f}" for value in values)])
