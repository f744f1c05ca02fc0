"""Printing the results of ``zsretrieve reproduce``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zsretrieve.cli import output
from zsretrieve.cli.output import OutputFormat, TableFormat
from zsretrieve.domain.plain import flat
from zsretrieve.domain.wording import counted, shorten

if TYPE_CHECKING:
    from zsretrieve.domain.results import Interval
    from zsretrieve.reproduction.ablation import Effect, Explanation
    from zsretrieve.reproduction.plan import Plan, PlannedModel
    from zsretrieve.reproduction.run import Reproduction, Row

_UNKNOWN = "not known"
_SHOWN = 6


def print_table(done: Reproduction, form: TableFormat) -> None:
    """Our figures beside the published ones."""
    if form is TableFormat.JSON:
        output.write_json(done.to_dict())
    elif form is TableFormat.CSV:
        rows = [flat(row.to_dict() | {"tied": ", ".join(row.tied)}) for row in done.rows]
        for row in rows:
            published = row.pop("published")
            row |= {f"published_{name}": published.get(name) for name in done.table.sources}
        output.write_rows(rows, OutputFormat.CSV)
    else:
        with_figures = {figure.source for row in done.rows for figure in row.figures}
        sources = [name for name in done.table.sources if name in with_figures]
        head = ["model", "templates", "ours", "95 % interval", "of", *sources, "difference", ""]
        title = (
            f"Prec@1 in percent on {done.n_images} images, {done.table.classes}, {done.compute.precision}; "
            "differences in points"
        )
        cells = [_cells(row, sources) for row in done.rows]
        _print(head, cells, form, left=("model", "templates", ""), title=title)


def notes(done: Reproduction) -> list[str]:
    """What a reader of the table must know."""
    lines = [*done.table.notes, *(f"not run: {one.model}: {one.reason}" for one in done.failed)]
    lines += [
        f"{row.title}, {row.templates}: {counted(row.n_tied, 'image has', 'images have')} several best classes, of "
        f"which the lowest class id wins: {shorten(row.tied, _SHOWN)}"
        for row in done.rows
        if row.n_tied
    ]
    other = next((row for row in done.rows if row.figures and not row.comparable), None)
    if other is not None:
        of = "" if done.table.images is None else f" and {done.table.images} images"
        lines.append(
            f"these are {other.n_scored} scored images of {done.n_classes_scored} of {done.n_classes} classes, and the "
            f"published figures are of all classes{of}: they cannot be compared"
        )
    off = [row for row in done.rows if row.off]
    # The baseline has no prompts to test.
    first = next((row for row in off if row.templates in done.table.templates), None)
    if first is not None:
        words = ["--classes", done.table.classes, "--templates", first.templates]
        lines.append(
            f"off by more than {done.table.tolerance:g} points; to test the usual causes: zsretrieve reproduce explain "
            f"{shlex.quote(first.model)} SOURCE {shlex.join(words)}"
        )
    elif off:
        lines.append(f"off by more than {done.table.tolerance:g} points: {off[0].title}")
    return lines


def print_plan(planned: Plan, form: TableFormat) -> None:
    """What a table takes."""
    if form is TableFormat.JSON:
        output.write_json(planned.to_dict())
        return
    if form is TableFormat.CSV:
        output.write_rows([model.to_dict() for model in planned.models], OutputFormat.CSV)
        return
    cells = [_planned(model) for model in planned.models]
    total = ["total", "", _size(planned.download_bytes), _size(planned.disk_bytes), _duration(planned.seconds)]
    for column in (2, 3, 4):
        unknown = [row[column] == _UNKNOWN for row in cells]
        if any(unknown):
            total[column] = _UNKNOWN if all(unknown) else f"{total[column]} and more"
    title = (
        f"{planned.n_images} images and {planned.n_prompts} prompts for each model, by {planned.encoding.engine} in "
        f"{planned.encoding.precision} on {planned.encoding.device}; a matrix product runs at {planned.gflops:.0f} "
        "GFLOP/s here"
    )
    head = ["model", "weights", "download", "disk", "time, about"]
    _print(head, [*cells, total], form, left=("model", "weights"), title=title)


def print_explanation(explanation: Explanation, form: TableFormat) -> None:
    """The effect of each cause."""
    if form is TableFormat.JSON:
        output.write_json(explanation.to_dict())
        return
    if form is TableFormat.CSV:
        output.write_rows([flat(effect.to_dict()) for effect in explanation.effects], OutputFormat.CSV)
        return
    title = (
        f"{explanation.model}, templates: {explanation.templates}; as the papers did: "
        f"{_percent(explanation.prec_at_1)} % ({_between(explanation.interval)}) = {explanation.n_correct} / "
        f"{explanation.n_scored} images"
    )
    head = ["cause", "change", "Prec@1, %", "points", "95 % interval", "p", "images changed"]
    _print(head, [_effect(effect) for effect in explanation.effects], form, left=("cause", "change"), title=title)
    if explanation.untested:
        head = ["cause", "why it is not tested"]
        _print(head, [[one.cause, one.reason] for one in explanation.untested], form, left=head)


def _cells(row: Row, sources: Sequence[str]) -> list[str]:
    published = {figure.source: f"{figure.percent:.2f}".rstrip("0").rstrip(".") for figure in row.figures}
    difference = "" if row.difference is None else f"{row.difference:+.2f}"
    verdict = "" if row.off is None else "off" if row.off else "as published"
    figures = [published.get(name, "") for name in sources]
    ours = [_percent(row.prec_at_1), _between(row.interval), str(row.n_scored)]
    return [row.title, row.templates, *ours, *figures, difference, verdict]


def _planned(model: PlannedModel) -> list[str]:
    weights = {True: "here", False: "to download", None: _UNKNOWN}[model.cached]
    return [model.title, weights, _size(model.download_bytes), _size(model.disk_bytes), _duration(model.seconds)]


def _effect(effect: Effect) -> list[str]:
    paired = effect.difference
    return [
        effect.cause,
        effect.change,
        _percent(effect.n_correct / paired.n),
        f"{100 * paired.difference:+.2f}",
        f"{100 * paired.interval.low:+.2f} to {100 * paired.interval.high:+.2f}",
        "<0.001" if paired.p_value < 0.001 else f"{paired.p_value:.3f}",
        str(effect.n_changed),
    ]


def _print(
    head: list[str], cells: list[list[str]], form: TableFormat, *, left: Sequence[str], title: str | None = None
) -> None:
    if form is TableFormat.MARKDOWN:
        if title is not None:
            sys.stdout.write(f"{title}\n\n")
        for line in (head, ["---" if name in left else "---:" for name in head], *cells):
            sys.stdout.write("| " + " | ".join(text.replace("|", "/") for text in line) + " |\n")
        sys.stdout.write("\n")
        return
    table = output.table(*head, right=[name for name in head if name not in left])
    for line in cells:
        table.add_row(*(output.cell(text) for text in line))
    output.show(table, title)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _between(interval: Interval) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)}"


def _size(count: int | None) -> str:
    if count is None:
        return _UNKNOWN
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
