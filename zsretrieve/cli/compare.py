"""``zsretrieve compare``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import evaluated, options, output
from zsretrieve.cli.output import ReportFormat

if TYPE_CHECKING:
    from zsretrieve.results import ClassChange, Comparison, Side

_SHOWN_CLASSES = 5
_FLIP_COLUMNS = ("path", "true_class", "first_class", "second_class", "won")


def compare(
    context: typer.Context,
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A run that evaluate --save wrote, or a prototype index with --on.")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same classes.")],
    on: Annotated[
        Path | None, typer.Option("--on", metavar="GALLERY", help="A labelled gallery that prototypes are scored on.")
    ] = None,
    where: options.Where = None,
    flipped: Annotated[
        Path | None,
        typer.Option("--flipped", metavar="FILE", help="List the images on which one alone is right here (CSV)."),
    ] = None,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="json prints all; rates are fractions.")
    ] = ReportFormat.TABLE,
    device: options.Device = "auto",
    fp16_index: options.Fp16Index = False,
) -> None:
    """Compare two evaluations on the same images: the difference of Prec@1, and where it lies.

    The difference is that of B to A, with a paired 95 % interval and the p-value of McNemar's exact test.

    Example: zsretrieve compare raw.run ensemble.run --flipped flipped.csv
    """
    from zsretrieve import api

    verbosity = options.verbosity(context)
    options.check_writable(flipped, "--flipped", _FLIP_COLUMNS)
    if on is None and (device != "auto" or fp16_index):
        name = "--device" if device != "auto" else "--fp16-index"
        raise typer.BadParameter("saved runs have their answers already", param_hint=name)
    with output.working(verbosity, "comparing"):
        found = api.compare(first, second, on=on, where=where, device=device, half=fp16_index)
    # Written first, so that it is there though nobody reads the output to its end.
    if flipped is not None:
        _write_flips(flipped, found)
    if form is ReportFormat.JSON:
        output.write_json(as_json(found))
    else:
        _show(found)
    for name, side in (("A", found.first), ("B", found.second)):
        if side.n_left_out:
            output.note(verbosity, f"{side.n_left_out} images are only in {name} and left out")


def as_json(found: Comparison) -> dict[str, Any]:
    """All that was found; rates are fractions of ``n``, intervals are [low, high]."""
    difference = found.difference
    return {
        "n": found.n,
        "matched_by": found.matched_by,
        "first": _side(found.first),
        "second": _side(found.second),
        "difference": difference.difference,
        "interval": [difference.interval.low, difference.interval.high],
        "p_value": difference.p_value,
        "only_first_right": difference.only_first,
        "only_second_right": difference.only_second,
        "both_right": found.both_right,
        "both_wrong": found.both_wrong,
        "won": [_change(one) for one in found.won],
        "lost": [_change(one) for one in found.lost],
        "n_classes_unchanged": found.n_unchanged,
        "flips": [
            {
                "path": flip.path,
                "true": flip.true_class,
                "first": flip.first_class,
                "second": flip.second_class,
                "won": flip.won,
            }
            for flip in found.flips
        ],
    }


def _show(found: Comparison) -> None:
    table = output.table("", "Prec@1", "95 % interval", "of", "model", "templates", right=("Prec@1",))
    for name, side in (("A", found.first), ("B", found.second)):
        table.add_row(
            name, output.percent(side.prec_at_1), evaluated.between(side.interval),
            f"{side.n_correct} / {found.n} images", output.cell(side.model), output.cell(side.templates),
        )  # fmt: skip
    difference = found.difference
    interval = f"{100 * difference.interval.low:+.2f} to {100 * difference.interval.high:+.2f}"
    table.add_row("B - A", f"{100 * difference.difference:+.2f}", interval, "percentage points, paired", "", "")
    output.show(table, f"p = {difference.p_value:.3g} (McNemar, exact)")
    images = output.table("images", "", right=("",))
    for words, count in (
        ("both right", found.both_right),
        ("only A right", difference.only_first),
        ("only B right", difference.only_second),
        ("both wrong", found.both_wrong),
    ):
        images.add_row(words, str(count))
    output.show(images)
    changes = output.table("class", "images", "A right", "B right", "recall", right=("images", "A right", "B right"))
    for one in (*found.won[:_SHOWN_CLASSES], *found.lost[:_SHOWN_CLASSES]):
        changes.add_row(
            output.cell(one.class_name), str(one.n), str(one.first_correct), str(one.second_correct),
            f"{100 * one.change:+.2f}",
        )  # fmt: skip
    if found.won or found.lost:
        title = f"classes: B better at {len(found.won)}, worse at {len(found.lost)}, the same at {found.n_unchanged}"
        output.show(changes, title)


def _write_flips(file: Path, found: Comparison) -> None:
    with output.opened(file) as handle:
        writer = csv.writer(handle)
        writer.writerow(_FLIP_COLUMNS)
        writer.writerows(
            [flip.path, flip.true_class, flip.first_class, flip.second_class, int(flip.won)] for flip in found.flips
        )


def _side(side: Side) -> dict[str, Any]:
    return {
        "model": side.model,
        "templates": side.templates,
        "prec@1": side.prec_at_1,
        "interval": [side.interval.low, side.interval.high],
        "n_correct": side.n_correct,
        "n_left_out": side.n_left_out,
    }


def _change(one: ClassChange) -> dict[str, Any]:
    return {
        "class_id": one.class_id,
        "class_name": one.class_name,
        "n": one.n,
        "first_correct": one.first_correct,
        "second_correct": one.second_correct,
        "change": one.change,
    }
