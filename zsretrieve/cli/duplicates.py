"""``zsretrieve index duplicates``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import OutputFormat

if TYPE_CHECKING:
    from zsretrieve.records import DuplicateGroup


def duplicates(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery index.")],
    near: Annotated[
        float, typer.Option("--near", min=0, max=1, help="The score from which on two images show the same.")
    ] = 0.95,
    exact_only: Annotated[
        bool, typer.Option("--exact-only", help="Compare the digests of the files, not the vectors.")
    ] = False,
    where: options.Where = None,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
) -> None:
    """List images that a gallery holds more than once, as equal files or as near vectors.

    What is near to the same image is one group, so two images of a group may be further apart than --near.

    Example: zsretrieve index duplicates indexes/pictures --near 0.97 --format csv
    """
    from zsretrieve import api

    verbosity = options.verbosity(context)
    gallery = api.open_gallery(folder, device="cpu")
    with output.progress(verbosity, "comparing images") as on_progress:
        groups = api.find_duplicates(gallery, near=None if exact_only else near, where=where, on_progress=on_progress)
    match form:
        case OutputFormat.TABLE:
            _show(groups)
        case OutputFormat.CSV:
            output.write_rows([row for number, group in enumerate(groups, 1) for row in _flat(number, group)], form)
        case OutputFormat.JSON | OutputFormat.JSONL:
            output.write_rows([_nested(number, group) for number, group in enumerate(groups, 1)], form)
    spare = sum(len(group.items) - 1 for group in groups)
    count = "1 group" if len(groups) == 1 else f"{len(groups)} groups"
    output.note(verbosity, f"{count}; one image kept of each leaves {spare} to spare" if groups else count)


def _show(groups: tuple[DuplicateGroup, ...]) -> None:
    table = output.table("group", "kind", "score to first", "id", "image", right=("group", "score to first", "id"))
    for number, group in enumerate(groups, 1):
        for place, item in enumerate(group.items):
            head = (str(number), str(group.kind)) if place == 0 else ("", "")
            score = f"{item.score:.4f}" if place else ""
            table.add_row(*head, score, str(item.id), output.path_cell(item.path))
    if groups:
        output.show(table)


def _nested(number: int, group: DuplicateGroup) -> dict[str, Any]:
    return {
        "group": number,
        "kind": str(group.kind),
        "lowest_score": round(group.lowest_score, 7),
        "items": [
            {"id": item.id, "path": item.path, "score": round(item.score, 7), "digest": item.digest}
            for item in group.items
        ],
    }


def _flat(number: int, group: DuplicateGroup) -> list[dict[str, Any]]:
    nested = _nested(number, group)
    head = {key: nested[key] for key in ("group", "kind", "lowest_score")}
    return [{**head, **item} for item in nested["items"]]
