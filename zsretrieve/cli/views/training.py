"""Trained models, for people and for programs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve.cli import output
from zsretrieve.cli.output import ReportFormat
from zsretrieve.domain.wording import counted

if TYPE_CHECKING:
    from zsretrieve.domain.model_training import TrainedModel


def print_trained(trained: TrainedModel, form: ReportFormat) -> None:
    """What was measured before and after."""
    if form is ReportFormat.JSON:
        output.write_json(trained.to_dict())
        return
    columns = ("before", "after")
    table = output.table("figure", *columns, right=columns)
    first, best = trained.first, trained.best
    for name, before, after in (
        ("recall@1, text to image", first.text_to_image, best.text_to_image),
        ("recall@1, image to text", first.image_to_text, best.image_to_text),
    ):
        if before is not None and after is not None:
            table.add_row(name, output.percent(before), output.percent(after))
    table.add_row("scale of probabilities", f"{first.scale:.2f}", f"{best.scale:.2f}")
    measured = f", measured on {counted(trained.n_held_out, 'other')}" if trained.n_held_out else ""
    output.show(
        table,
        f"{trained.base}, {trained.trained}: {trained.n_images} images with {trained.n_captions} distinct captions"
        f"{measured}",
    )


def note_trained(trained: TrainedModel, gallery: Path | None, report: Path | None) -> None:
    """Note what was not used, which weights were kept, what was written and what to do with it."""
    stopped = ", stopped early" if trained.stopped_early else ""
    best = f"the weights of step {trained.best_step} are kept"
    output.note(f"{counted(trained.steps, 'step')} in {trained.seconds:.0f} s{stopped}; {best}")
    if trained.best_step == 0:
        output.note("training improved nothing; try another --lr, more --epochs or more captions")
    if report is not None:
        output.note(f"report -> {report}")
    output.note(f"model -> {trained.out}")
    model = shlex.quote(f"local-dir:{trained.out}")
    if gallery is None and trained.trained == "text tower":
        output.note(f'try, with a gallery of {trained.base}: zsretrieve search GALLERY "..." --model {model}')
    elif gallery is None:
        output.note(f"try: zsretrieve index gallery {shlex.quote(trained.data)} indexes/new --model {model}")
    else:
        output.note(f'try: zsretrieve search {shlex.quote(str(gallery))} "..." --model {model}')
