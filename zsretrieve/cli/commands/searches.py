"""``zsretrieve index searches``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import output
from zsretrieve.cli.output import ReportFormat


def searches(
    folder: Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery index.")],
    delete: Annotated[
        list[str] | None, typer.Option("--delete", metavar="NAME", help="Forget this search; repeatable.")
    ] = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """List the saved searches of a gallery, or forget some.

    A search is saved with zsretrieve search GALLERY QUERY --save NAME, and runs again with --saved NAME.

    Example: zsretrieve index searches indexes/pictures
    """
    import zsretrieve as zs

    for name in delete or ():
        zs.delete_search(folder, name)
        output.note(f"deleted '{name}'")
    rows = [saved.to_dict() for saved in zs.saved_searches(folder)]
    if form is ReportFormat.JSON:
        output.write_json(rows)
        return
    if not rows:
        if not delete:
            output.note(f"no saved search; save one: zsretrieve search {shlex.quote(str(folder))} QUERY --save NAME")
        return
    table = output.table("name", "query", "wanted")
    for row in rows:
        wanted = ", ".join(f"{name}: {value}" for name, value in row["wanted"].items())
        table.add_row(*map(output.cell, (row["name"], row["query"], wanted)))
    output.show(table)
