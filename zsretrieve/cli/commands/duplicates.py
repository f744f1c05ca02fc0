"""``zsretrieve index duplicates``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import OutputFormat
from zsretrieve.domain.settings import DUPLICATE_SCORE
from zsretrieve.domain.wording import counted

if TYPE_CHECKING:
    from zsretrieve.domain.duplicates import DuplicateGroup


def duplicates(
    folder: Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery index.")],
    near: Annotated[
        float, typer.Option("--near", min=0, max=1, help="The score from which two images count as near-duplicates.")
    ] = DUPLICATE_SCORE,
    exact_only: Annotated[
        bool, typer.Option("--exact-only", help="Compare the digests of the files, not the vectors.")
    ] = False,
    where: options.Where = None,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
) -> None:
    """List images that are in a gallery more than once, and which of each group to keep.

    Equal files come first. In a near group, every image scores at least --near with the one to keep, which is the one
    with the most pixels.

    Example: zsretrieve index duplicates indexes/pictures --near 0.97 --format csv
    """
    import zsretrieve as zs

    with output.progress() as on_stage:
        groups = zs.find_duplicates(folder, near=None if exact_only else near, where=where, on_stage=on_stage)
    rows = [{"group": number, **group.to_dict()} for number, group in enumerate(groups, 1)]
    match form:
        case OutputFormat.TABLE:
            _show(groups)
        case OutputFormat.CSV:
            output.write_rows([{**row, **item} for row in rows for item in row.pop("items")], form)
        case OutputFormat.JSON | OutputFormat.JSONL:
            output.write_rows(rows, form)
    spare = sum(len(group.items) - 1 for group in groups)
    count = counted(len(groups), "group")
    output.note(f"{count}; {counted(spare, 'image')} could be deleted, keeping one of each" if groups else count)
    if groups and not exact_only and zs.read_manifest(folder).space.model == "demo":
        output.note(
            "the demo model only recognises coloured shapes, so photos may be alike to it: look before you delete"
        )


def _show(groups: tuple[DuplicateGroup, ...]) -> None:
    table = output.table("group", "kind", "keep", "score", "id", "image", right=("group", "score", "id"))
    for number, group in enumerate(groups, 1):
        for place, item in enumerate(group.items):
            head = ("", "", "", f"{item.score:.4f}") if place else (str(number), str(group.kind), "keep", "")
            table.add_row(*head, str(item.id), output.path_cell(item.path))
    if groups:
        output.show(table)
