"""``zsretrieve index import`` and ``export``: other people's formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.domain.settings import Form

_AUGMENTED = (
    "these rows have a bias: query with [x, 1, 0] / sqrt(2), where x is the unit vector of an image (docs/few-shot.md)"
)


def import_vectors(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A folder of clip-retrieval, a .npy or FAISS file, Parquet, or an export."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    model: options.Model,
    paths: Annotated[
        Path | None,
        typer.Option("--paths", metavar="FILE", help="For a .npy or FAISS file: the images, one path per line."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="For a .npy or FAISS file: their labels, one per line."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="FOLDER", help="What the paths are relative to (default: the current folder)."),
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Scale vectors of any norm to unit length.")] = False,
    exif: Annotated[
        bool | None,
        typer.Option(
            "--exif/--no-exif",
            help="Whether images were turned upright by their EXIF orientation (default: yes, or as exported).",
        ),
    ] = None,
    skipped: options.SkippedFile = None,
    force: options.Force = False,
) -> None:
    """Make a gallery from vectors computed elsewhere; nothing is encoded.

    Give the model that the vectors were computed with: text queries are encoded with it.

    Example: zsretrieve index import embeddings indexes/photos --model ViT-B-32/openai
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    vectors = zs.open_vectors(source, paths=paths, labels=labels)
    for line in vectors.notes:
        output.note(line)
    with output.progress() as on_stage:
        built = zs.import_gallery(
            vectors, out, zs.Model(model, zs.Compute("cpu"), on_stage=on_stage), root=root, normalise=normalise,
            exif=exif, force=force, on_stage=on_stage,
        )  # fmt: skip
    output.report_skipped(built.changes.skipped, skipped)
    output.note(f"{built.changes.added} images -> {out}")


def export(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="A gallery; with --as npy also prototypes.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; with --as parquet a file.")],
    form: Annotated[Form, typer.Option("--as", help="What to write.")],
    half: Annotated[
        bool, typer.Option("--float16", help="Halve the size; clip-retrieval always does, milvus never.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is already there.")] = False,
) -> None:
    """Export an index for other programs. Only parquet keeps everything and can be imported again bit for bit.

    Example: zsretrieve index export indexes/pictures pictures.parquet --as parquet
    """
    import zsretrieve as zs

    count = zs.export_index(index, out, form, half=half, force=force)
    if zs.read_manifest(index).lifted:
        output.note(_AUGMENTED)
    output.note(f"{count} vectors -> {out}")
