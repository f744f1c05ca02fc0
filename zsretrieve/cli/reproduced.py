"""Printing what ``zsretrieve reproduce`` found."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zsretrieve.cli import output
from zsretrieve.cli.output import OutputFormat
from zsretrieve.cli.reproduce import TableFormat

if TYPE_CHECKING:
    from zsretrieve.results import Interval
    from zsretrieve.verbs.explain import Explanation
    from zsretrieve.verbs.planning import Plan
    from zsretrieve.verbs.reproduce import Reproduction, Row

_Cells = list[list[str]]


def print_table(done: Reproduction, form: TableFormat) -> None:
    """Ours beside the published."""
    rows = [_row(row) for row in done.rows]
    if form is TableFormat.JSON:
        output.write_json(
            {
                "table": done.table.name,
                "classes": done.table.classes,
                "n_images": done.n_images,
                "n_classes": done.n_classes,
                "n_classes_scored": done.n_classes_scored,
                "tolerance": done.table.tolerance,
                "precision": done.settings.precision,
                "engine": done.settings.engine,
                "device": done.settings.device,
                "data": done.data,
                "sources": done.table.sources,
                "rows": rows,
                "failed": [{"model": one.model, "reason": one.reason} for one in done.failed],
            }
        )
    elif form is TableFormat.CSV:
        flat = []
        for row in rows:
            published = row.pop("published")
            flat.append({**row, **{f"published_{name}": published.get(name) for name in done.table.sources}})
        output.write_rows(flat, OutputFormat.CSV)
    else:
        sources = [
            name for name in done.table.sources if any(f.source == name for row in done.rows for f in row.figures)
        ]
        head = ["model", "templates", "ours", "95 % interval", "of", *sources, "difference", ""]
        cells = [_cells(row, sources) for row in done.rows]
        _print(head, cells, form, left=("model", "templates", ""), title=_title(done))


def notes(done: Reproduction) -> list[str]:
    """What a reader of the table must know beside it."""
    lines = [f"not run: {one.model}: {one.reason}" for one in done.failed]
    other = next((row for row in done.rows if row.figures and not row.comparable), None)
    if other is not None:
        of = "" if done.table.images is None else f" and {done.table.images} images"
        lines.append(
            f"these are {other.n_scored} scored images of {done.n_classes_scored} of {done.n_classes} classes, and the "
            f"published figures are of all classes{of}: they cannot be compared"
        )
    off = [row for row in done.rows if row.off]
    # Of the baseline there are no prompts to be tested.
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
        output.write_json(
            {
                "table": planned.table.name,
                "n_images": planned.n_images,
                "n_prompts": planned.n_prompts,
                "gflops": planned.gflops,
                "engine": planned.engine,
                "precision": planned.precision,
                "device": planned.device,
                "models": _planned(planned),
                # Of a sum that lacks a part a program would not see that.
                "download_bytes": _whole(planned.download_bytes, [one.download_bytes for one in planned.models]),
                "disk_bytes": _whole(planned.disk_bytes, [one.disk_bytes for one in planned.models]),
                "seconds": _whole(planned.seconds, [one.seconds for one in planned.models]),
            }
        )
        return
    if form is TableFormat.CSV:
        output.write_rows(_planned(planned), OutputFormat.CSV)
        return
    cells = [
        [
            one.title, {True: "here", False: "to fetch", None: "not known"}[one.cached], _size(one.download_bytes),
            _size(one.disk_bytes), _duration(one.seconds),
        ]
        for one in planned.models
    ]  # fmt: skip
    cells.append(
        [
            "total", "",
            _total(_size(planned.download_bytes), [one.download_bytes for one in planned.models]),
            _total(_size(planned.disk_bytes), [one.disk_bytes for one in planned.models]),
            _total(_duration(planned.seconds), [one.seconds for one in planned.models]),
        ]
    )  # fmt: skip
    title = (
        f"{planned.n_images} images and {planned.n_prompts} prompts for each model, by {planned.engine} in "
        f"{planned.precision} on {planned.device}; a matrix product runs at {planned.gflops:.0f} GFLOP/s here"
    )
    _print(["model", "weights", "download", "disk", "time, about"], cells, form, left=("model", "weights"), title=title)


def print_explanation(told: Explanation, form: TableFormat) -> None:
    """What each cause does."""
    rows: list[dict[str, Any]] = [
        {
            "cause": one.cause,
            "change": one.change,
            "prec@1": one.n_correct / one.difference.n,
            "difference": one.difference.difference,
            "low": one.difference.interval.low,
            "high": one.difference.interval.high,
            "p_value": one.difference.p_value,
            "n": one.difference.n,
            "n_changed": one.n_changed,
        }
        for one in told.effects
    ]
    if form is TableFormat.JSON:
        output.write_json(
            {
                "model": told.model,
                "templates": told.templates,
                "seed": told.seed,
                "prec@1": told.n_correct / told.n_scored,
                "low": told.interval.low,
                "high": told.interval.high,
                "n_correct": told.n_correct,
                "n_scored": told.n_scored,
                "n_skipped": told.n_skipped,
                "effects": rows,
                "untested": [{"cause": one.cause, "reason": one.reason} for one in told.untested],
            }
        )
        return
    if form is TableFormat.CSV:
        output.write_rows(rows, OutputFormat.CSV)
        return
    cells = [
        [
            one["cause"], one["change"], _percent(one["prec@1"]), f"{100 * one['difference']:+.2f}",
            f"{100 * one['low']:+.2f} to {100 * one['high']:+.2f}",
            "<0.001" if one["p_value"] < 0.001 else f"{one['p_value']:.3f}", str(one["n_changed"]),
        ]
        for one in rows
    ]  # fmt: skip
    title = (
        f"{told.model}, templates: {told.templates}; as the papers did: {_percent(told.n_correct / told.n_scored)} % "
        f"({_between(told.interval)}) = {told.n_correct} / {told.n_scored} images"
    )
    head = ["cause", "change", "Prec@1, %", "points", "95 % interval", "p", "images changed"]
    _print(head, cells, form, left=("cause", "change"), title=title)
    if told.untested:
        reasons = [[one.cause, one.reason] for one in told.untested]
        _print(["cause", "why it is not tested"], reasons, form, left=("cause", "why it is not tested"), title=None)


def _row(row: Row) -> dict[str, Any]:
    return {
        "model": row.model,
        "title": row.title,
        "templates": row.templates,
        "prec@1": row.prec_at_1,
        "low": row.interval.low,
        "high": row.interval.high,
        "n_correct": row.n_correct,
        "n_scored": row.n_scored,
        "n_skipped": row.n_skipped,
        "difference_points": row.difference,
        "comparable": row.comparable,
        "off": row.off,
        "published": {figure.source: figure.percent for figure in row.figures},
    }


def _cells(row: Row, sources: Sequence[str]) -> list[str]:
    published = {figure.source: f"{figure.percent:.2f}".rstrip("0").rstrip(".") for figure in row.figures}
    verdict = "" if row.off is None else "off" if row.off else "as published"
    return [
        row.title, row.templates, _percent(row.prec_at_1), _between(row.interval), str(row.n_scored),
        *(published.get(name, "") for name in sources),
        "" if row.difference is None else f"{row.difference:+.2f}", verdict,
    ]  # fmt: skip


def _title(done: Reproduction) -> str:
    return (
        f"Prec@1 in percent on {done.n_images} images, {done.table.classes}, {done.settings.precision}; "
        "differences in points"
    )


def _planned(planned: Plan) -> list[dict[str, Any]]:
    return [
        {
            "model": one.name,
            "title": one.title,
            "cached": one.cached,
            "download_bytes": one.download_bytes,
            "disk_bytes": one.disk_bytes,
            "seconds": one.seconds,
        }
        for one in planned.models
    ]


def _print(head: list[str], cells: _Cells, form: TableFormat, *, left: Sequence[str], title: str | None) -> None:
    if form is TableFormat.MARKDOWN:
        lines = [head, ["---" if name in left else "---:" for name in head], *cells]
        if title is not None:
            sys.stdout.write(f"{title}\n\n")
        for line in lines:
            sys.stdout.write("| " + " | ".join(text.replace("|", "/") for text in line) + " |\n")
        sys.stdout.write("\n")
        return
    made = output.table(*head, right=[name for name in head if name not in left])
    for line in cells:
        made.add_row(*(output.cell(text) for text in line))
    output.show(made, title)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _between(interval: Interval) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)}"


def _size(count: int | None) -> str:
    if count is None:
        return "not known"
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _whole(known: float, parts: Sequence[float | None]) -> float | None:
    return None if None in parts else known


def _total(known: str, parts: Sequence[float | None]) -> str:
    if all(part is None for part in parts):
        return "not known"
    return f"{known} and more" if None in parts else known


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
