"""``zsretrieve index kind``."""

from __future__ import annotations

from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.commands.gallery import Gallery


def kind(
    gallery: Gallery,
    name: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="Flat (exact), auto (by the number of images), or a FAISS factory string, e.g. HNSW32."
        ),
    ],
    memory: options.IndexMemory = None,
    recall: Annotated[
        float | None,
        typer.Option(
            "--recall",
            metavar="SHARE",
            help="With auto: the share of the ten best images for a text to find (default: 0.95).",
        ),
    ] = None,
) -> None:
    """Give a gallery another index kind: exact, or an approximate one that searches large galleries faster.

    The vectors stay, so nothing is encoded, and any kind can be undone with Flat. With the same kind
    again, the index is made again. auto chooses by the number of images, --memory, --recall and the GPU.

    Example: zsretrieve index kind indexes/pictures IVF1024,PQ128x4fsr
    """
    import zsretrieve as zs

    with output.progress() as on_stage:
        manifest = zs.set_index_kind(gallery, name, memory=memory, recall=recall, on_stage=on_stage)
    made = manifest.approximate
    effect = "every search is exact" if made is None else "searches may miss a few images, unless --exact is given"
    output.note(f"{gallery}: {manifest.factory}; {effect}")
