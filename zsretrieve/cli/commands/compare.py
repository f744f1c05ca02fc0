"""``zsretrieve compare``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import ReportFormat
from zsretrieve.cli.views import evaluation
from zsretrieve.domain.errors import UsageError

if TYPE_CHECKING:
    from zsretrieve.domain.comparison import Comparison

_FLIP_COLUMNS = ("path", "true_class", "first_class", "second_class", "won")


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A run that evaluate --save wrote, or a prototype index with --on.")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same classes.")],
    on: Annotated[
        Path | None, typer.Option("--on", metavar="GALLERY", help="The labelled gallery to score prototypes on.")
    ] = None,
    where: options.Where = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="COLUMN",
            help="Compare two sets of classes instead: which groups of this column of the gallery (label, folder, ...) "
            "are drawn by the classes that only B has?",
        ),
    ] = None,
    flipped: Annotated[
        Path | None,
        typer.Option("--flipped", metavar="FILE", help="List the images that only one of them gets right here (CSV)."),
    ] = None,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="json prints everything; rates are fractions.")
    ] = ReportFormat.TABLE,
    device: options.Device = "auto",
    fp16_index: options.Fp16Index = False,
) -> None:
    """Compare two evaluations on the same images: the difference in Prec@1, and the classes it comes from.

    The difference is B minus A, with a paired 95 % interval and the p-value of McNemar's exact test.

    Example: zsretrieve compare raw.run ensemble.run --flipped flipped.csv
    """
    import zsretrieve as zs

    if group is not None:
        if on is None or flipped is not None:
            option, hint = ("--on GALLERY", "Give it") if on is None else ("--flipped", "Leave it out")
            raise UsageError(f"--group {'needs' if on is None else 'does not go with'} {option}", hint=f"{hint}.")
        with output.progress() as on_stage:
            on_stage("comparing", 0, 1)
            sets = zs.compare_class_sets(first, second, on, group, where=where, device=device, half=fp16_index)
        if form is ReportFormat.JSON:
            output.write_json(sets.to_dict())
        else:
            evaluation.show_class_sets(sets)
        return
    options.check_writable(flipped, "--flipped", _FLIP_COLUMNS)
    with output.progress() as on_stage:
        on_stage("comparing", 0, 1)
        comparison = zs.compare(first, second, on=on, where=where, device=device, half=fp16_index)
    # Written first, in case nobody reads the output to its end.
    if flipped is not None:
        _write_flips(flipped, comparison)
    if form is ReportFormat.JSON:
        output.write_json(comparison.to_dict())
    else:
        evaluation.show_comparison(comparison)
    for name, side in (("A", comparison.first), ("B", comparison.second)):
        if side.n_left_out:
            output.note(f"{side.n_left_out} images are only in {name} and left out")


def _write_flips(file: Path, comparison: Comparison) -> None:
    with output.opened(file) as handle:
        writer = csv.writer(handle)
        writer.writerow(_FLIP_COLUMNS)
        writer.writerows([f.path, f.true_class, f.first_class, f.second_class, int(f.won)] for f in comparison.flips)
