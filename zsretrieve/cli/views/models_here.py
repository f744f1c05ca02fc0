"""How fast models are on this machine, and which to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zsretrieve.cli import output
from zsretrieve.cli.output import OutputFormat

if TYPE_CHECKING:
    from zsretrieve.api.model_speed import MeasuredModel

_LEGEND = (
    "images/s: of the image tower on this CPU, without reading files.",
    "Prec@1: ImageNet-1k, zero-shot, in percent, as published, not measured here.",
    "* on the Pareto front: every other model here is slower, less accurate or equal in both.",
)


def show(models: Sequence[MeasuredModel], form: OutputFormat) -> None:
    """Print measured models, the fastest first, and what to choose between."""
    if form is not OutputFormat.TABLE:
        output.write_rows([model.to_dict() for model in models], form)
        return
    if not models:
        output.note("no converted model matches; convert one first: zsretrieve models export small")
        return
    table = output.table("", "model", "images/s", "Prec@1", "precision", right=("images/s", "Prec@1"))
    for model in models:
        prec1 = "" if model.prec1 is None else f"{100 * model.prec1:.1f}"
        row = ("*" if model.on_front else "", model.name, f"{model.images_per_second:.1f}", prec1, model.precision)
        table.add_row(*(output.cell(text) for text in row))
    output.show(table)
    front = [model for model in models if model.on_front]
    for line in _LEGEND[: None if front else -1]:
        output.out().print(line)
    if not front:
        output.note("nothing is published about these; convert a model to compare: zsretrieve models export small")
        return
    if len(front) > 1:
        _recommend("fastest on the Pareto front", front[0])
    _recommend("most accurate", front[-1])


def _recommend(why: str, model: MeasuredModel) -> None:
    hours = 1e6 / model.images_per_second / 3600
    output.note(f"{why}: --model {model.name}, a million images in {hours:,.1f} hours")
