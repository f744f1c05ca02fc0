"""``zsretrieve index sources`` and ``relocate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import output
from zsretrieve.cli.output import ReportFormat

Gallery = Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery index.")]


def sources(
    gallery: Gallery,
    drop: Annotated[
        str | None,
        typer.Option("--drop", metavar="SOURCE", help="Stop following this source; its images stay in the gallery."),
    ] = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """List the folders and archives that index sync follows, with the images from each, or drop one.

    Example: zsretrieve index sources indexes/pictures --drop /media/old
    """
    import zsretrieve as zs

    if drop is not None:
        zs.drop_source(gallery, drop)
        output.note(
            f"dropped '{drop}'; its images stay until you remove them: zsretrieve index remove '{gallery}' PATH"
        )
    listed = zs.gallery_sources(gallery)
    if form is ReportFormat.JSON:
        output.write_json([origin.to_dict() for origin in listed])
        return
    table = output.table("source", "images", "state", right=("images",))
    for origin in listed:
        state = "" if origin.missing is None else "missing" if origin.missing else "there"
        table.add_row(output.cell(origin.source), str(origin.images), state)
    output.show(table)


def relocate(
    gallery: Gallery,
    old: Annotated[str, typer.Argument(metavar="OLD", help="Where the images were: a folder, an archive or a URL.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Where they are now.")],
) -> None:
    """Record that images were moved or renamed, all in one folder or archive. IDs stay and nothing is encoded.

    A gallery that is moved together with its images finds them by itself.

    Example: zsretrieve index relocate indexes/pictures ~/Photos ~/Pictures
    """
    import zsretrieve as zs

    count = zs.relocate(gallery, old, new)
    output.note(f"{count} images: {old} -> {new}")
