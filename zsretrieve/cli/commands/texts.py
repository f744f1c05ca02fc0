"""``zsretrieve index texts``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.commands.gallery import effect_of
from zsretrieve.cli.groups import grouped
from zsretrieve.domain.wording import counted


@grouped
def texts(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file of lines, .csv, .json, .jsonl, .parquet or WebDataset shards as 'train-{000..012}.tar'; - for "
            "lines from stdin.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write, or @NAME for one in your data folder.")],
    columns: options.TextColumns,
    compute: options.ComputeTexts,
    model: options.Model = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first row that cannot be used instead of skipping it.")
    ] = False,
    skipped: options.SkippedFile = None,
    kind: Annotated[
        str,
        typer.Option(
            "--index",
            metavar="KIND",
            help="Index kind: Flat (exact), auto (by the number of texts), or a FAISS factory string, e.g. HNSW32.",
        ),
    ] = "Flat",
    memory: options.IndexMemory = None,
    force: options.Force = False,
) -> None:
    """Encode texts into a gallery of texts, to find captions for an image or similar texts.

    Equal texts are encoded once. Where the file names the image of a caption, it is kept with it. Builds are resumable.

    Example: zsretrieve index texts captions.csv indexes/captions
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    with output.progress() as on_stage:
        built = zs.build_gallery(
            zs.open_texts(source, **columns),
            out,
            zs.Model(model, compute, on_stage=on_stage),
            reading=zs.Reading(strict=strict),
            kind=kind,
            memory=memory,
            force=force,
            on_stage=on_stage,
        )
    output.report_skipped(built.manifest.skipped, skipped)
    output.note(f"{counted(len(built.items), 'text')} -> {out}{effect_of(built)}")
    place = shlex.quote(str(out))
    output.note(f"Try next:\n  zsretrieve search {place} photo.jpg\n  zsretrieve serve {place}")
