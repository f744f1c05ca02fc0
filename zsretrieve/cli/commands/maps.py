"""``zsretrieve index map``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import output
from zsretrieve.cli.output import ReportFormat
from zsretrieve.domain.wording import counted


def map_(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery index.")],
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Recompute everything, including what is on the map already.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Also draw the map, as an SVG file.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Another seed arranges a new map differently.")
    ] = 0,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """Arrange the images of a gallery on a map, with similar ones close together, and store it in the index folder.

    Run it again after the gallery has changed: images on the map stay where they are, and new ones are placed
    among their nearest neighbours.

    Example: zsretrieve index map indexes/pictures --plot map.svg
    """
    import zsretrieve as zs

    if plot is not None:
        zs.check_map_plot(plot)
    with output.progress() as on_stage:
        made = zs.make_map(gallery, fresh=fresh, seed=seed, on_stage=on_stage)
    if plot is not None:
        zs.plot_map(made, plot)
        output.note(f"plot -> {shlex.quote(str(plot))}")
    if form is ReportFormat.JSON:
        output.write_json(made.to_dict())
        return
    labels = f", {counted(len(made.captions), 'label')}" if made.captions else ""
    output.note(f"{counted(len(made.ids), 'image')} on the map of {gallery}, by {made.method}{labels}")
