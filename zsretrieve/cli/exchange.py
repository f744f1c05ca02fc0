"""``zsretrieve index import`` and ``export``: other people's formats."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import options, output

_LIFTED = "these rows have a bias: ask with [x, 1, 0] / sqrt(2), x being the unit vector of an image (docs/few-shot.md)"


class ExportForm(StrEnum):
    CLIP_RETRIEVAL = "clip-retrieval"
    NPY = "npy"
    PARQUET = "parquet"


def import_vectors(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A folder of clip-retrieval, a .npy file, Parquet, or an export.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    model: options.Model,
    paths: Annotated[
        Path | None, typer.Option("--paths", metavar="FILE", help="For a .npy file: the images, one path a line.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="For a .npy file: their labels, one a line.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="FOLDER", help="What the paths are relative to (default: the current folder)."),
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Make vectors unit whatever their norm.")] = False,
    exif: Annotated[
        bool | None,
        typer.Option(
            "--exif/--no-exif",
            help="Whether images were turned upright by their EXIF orientation (default: yes, or as an export says).",
        ),
    ] = None,
    skipped: options.SkippedFile = None,
    force: options.Force = False,
) -> None:
    """Make a gallery of vectors that were computed elsewhere; nothing is encoded.

    Name the model that the vectors were made with: words are searched with it.

    Example: zsretrieve index import embeddings indexes/photos --model ViT-B-32/openai
    """
    from zsretrieve import api

    verbosity = options.verbosity(context)
    options.check_skipped(skipped)
    found = api.open_vectors(source, paths=paths, labels=labels)
    for line in found.notes:
        output.note(verbosity, line)
    api.check_output(out, force=force)
    encoder = options.load_encoder(verbosity, model, "cpu", options.Precision.AUTO)
    with output.progress(verbosity, "writing vectors") as on_progress:
        built = api.import_gallery(
            found, out, encoder, root=root, normalise=normalise, exif=exif, force=force, on_progress=on_progress
        )
    output.report_skipped(verbosity, built.changes.skipped, skipped)
    output.note(verbosity, f"{built.changes.added} images -> {out}")


def export(
    context: typer.Context,
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="A gallery; with --as npy also prototypes.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; with --as parquet a file.")],
    form: Annotated[ExportForm, typer.Option("--as", help="What to write.")],
    half: Annotated[
        bool, typer.Option("--float16", help="Halve the size; clip-retrieval's form is always float16.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is already there.")] = False,
) -> None:
    """Write an index for other programs. Only parquet holds all there is, to be imported again bit by bit.

    Example: zsretrieve index export indexes/pictures pictures.parquet --as parquet
    """
    from zsretrieve import api
    from zsretrieve.store import manifest as passport

    count = api.export_index(index, out, form.value, half=half, force=force)
    if passport.read(index).lifted:
        output.note(options.verbosity(context), _LIFTED)
    output.note(options.verbosity(context), f"{count} vectors -> {out}")
