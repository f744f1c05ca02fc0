"""``zsretrieve look``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.output import ReportFormat
from zsretrieve.domain.settings import Reading


@grouped
def look(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A path, a URL, or an image in an archive.")],
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help='What to look for, each text in quotes: "a red star".')
    ],
    reading: Annotated[Reading, options.READING.without("strict", "fast_decode")],
    compute: options.ComputeImages,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Draw the heat maps into this PNG file.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="patches (vision transformers, in torch), tiles (any model), or auto: patches where there are any.",
        ),
    ] = "auto",
    tiles: Annotated[
        str, typer.Option("--tiles", metavar="SPEC", help="Tiles: pyramid:2 to pyramid:4, for ever smaller things.")
    ] = "pyramid:3",
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print; json has the scores.")] = (
        ReportFormat.TABLE
    ),
    model: options.Model = None,
) -> None:
    """Show which parts of an image fit a text, as a heat map; several texts are drawn side by side.

    Example: zsretrieve look photo.jpg "a red star" "a blue circle" --out heat.png
    """
    import zsretrieve as zs

    if out is not None:
        zs.check_heat_map(out)
    with output.progress() as on_stage:
        found = zs.look(
            image,
            texts,
            zs.Model(model, compute, on_stage=on_stage),
            method=method,
            tiles=tiles,
            reading=reading,
            on_stage=on_stage,
        )
    if found.reason is not None:
        output.note(f"from tiles: {found.reason}")
    if out is not None:
        zs.write_heat_map(found, out)
        output.note(f"heat map -> {shlex.quote(str(out))}")
    if form is ReportFormat.JSON:
        output.write_json(found.to_dict())
        return
    table = output.table("text", "highest", "lowest", "best place", right=("highest", "lowest"))
    for heat in found.maps:
        across, down = (f"{100 * share:.0f} %" for share in heat.peak)
        table.add_row(
            output.cell(heat.text),
            f"{heat.high:.4f}",
            f"{heat.low:.4f}",
            f"{across} from the left, {down} from the top",
        )
    output.show(table, f"from {found.method}")
