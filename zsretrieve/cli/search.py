"""``zsretrieve search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import OutputFormat

if TYPE_CHECKING:
    from zsretrieve.ports import Encoder


def search(
    context: typer.Context,
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery index.")],
    query: Annotated[
        list[str],
        typer.Argument(
            metavar="QUERY...", help='Words, the path of an image, or a mix: "photo.jpg + at night - 0.5:people".'
        ),
    ],
    k: Annotated[int | None, typer.Option("-k", help="Images per query (default: 10, or all there are).")] = None,
    where: options.Where = None,
    dedup: Annotated[
        bool, typer.Option("--dedup", help="Leave out images that show the same as a better hit, and fill up to k.")
    ] = False,
    near: Annotated[
        float | None,
        typer.Option(
            "--near", min=0, max=1, help="With --dedup: the score of two images that show the same (default: 0.98)"
        ),
    ] = None,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
    literal: Annotated[
        bool, typer.Option("--literal", help="Take each query as one text, whatever signs it holds.")
    ] = False,
    query_cache: Annotated[
        bool,
        typer.Option(
            "--query-cache/--no-query-cache", help="Keep the vectors of words searched for, to use them again."
        ),
    ] = True,
    exif: options.QueryExif = None,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    fp16_index: options.Fp16Index = False,
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
) -> None:
    """Search a gallery with words, pictures or both. Several queries are answered one after the other.

    A picture of the query that lies in the gallery itself is left out of its own results.

    Example: zsretrieve search indexes/pictures "a dog on a beach" holiday.jpg
    """
    from zsretrieve import api

    if near is not None and not dedup:
        raise typer.BadParameter("it says when --dedup takes two images for the same", param_hint="--near")
    verbosity = options.verbosity(context)
    opened = api.open_gallery(gallery, device=device, half=fp16_index)
    if precision is options.Precision.AUTO:
        precision = options.Precision(api.precision_of_queries(opened.manifest.encoding))
    # What is remembered belongs to the index's own space, and must not answer for a model of which that is not known.
    remembers = query_cache and (model is None or api.check_model(model, opened.space))

    def loaded() -> Encoder:
        return options.load_encoder(verbosity, model or opened.space.model, device, precision, engine)

    def encoder() -> Encoder:
        if not remembers:
            return loaded()
        return api.remembering(opened.space, loaded, device=device, precision=precision.value, engine=engine.value)

    answers = api.search_all(
        opened, query, encoder, k=k, literal=literal, exif=exif, where=where, dedup=dedup,
        **({} if near is None else {"near": near}),
    )  # fmt: skip
    if form is not OutputFormat.TABLE:
        rows = [
            {"query": text, "rank": hit.rank, "id": hit.id, "path": hit.path, "score": round(hit.score, 7)}
            for text, hits in zip(query, answers, strict=True)
            for hit in hits
        ]
        output.write_rows(rows, form)
        return
    for text, hits in zip(query, answers, strict=True):
        table = output.table("rank", "score", "image", right=("rank", "score"))
        for hit in hits:
            table.add_row(str(hit.rank), f"{hit.score:.4f}", output.path_cell(hit.path))
        output.show(table, text)
