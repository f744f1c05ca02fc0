"""``zsretrieve prompts``: the bundled class sets and templates, and the lab that measures them."""

from __future__ import annotations

from typing import Annotated

import typer

from zsretrieve.cli import output
from zsretrieve.cli.lazy import Command, Group, Later
from zsretrieve.cli.output import OutputFormat, ReportFormat


class _Commands(Group):
    later = (
        Later("compare", "prompt_lab:compare"),
        Later("rank", "prompt_lab:rank"),
        Later("select", "prompt_lab:select"),
        Later("sensitivity", "prompt_lab:sensitivity"),
        Later("similar", "similar:similar"),
    )


app = typer.Typer(
    name="prompts",
    cls=_Commands,
    no_args_is_help=True,
    help="Show the bundled class names and templates, and measure templates on labelled images.",
)


@app.command("list", cls=Command)
def list_(
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
) -> None:
    """List the bundled sets.

    Example: zsretrieve prompts list
    """
    import zsretrieve as zs

    sets = zs.prompt_sets()
    if form is not OutputFormat.TABLE:
        output.write_rows([row.to_dict() for row in sets], form)
        return
    table = output.table("set", "classes", "templates", "source", right=("classes", "templates"))
    for row in sets:
        table.add_row(row.name, str(row.classes or ""), str(row.templates or ""), output.cell(row.source))
    output.show(table)


@app.command("show", cls=Command)
def show(
    name: Annotated[str, typer.Argument(metavar="SET", help="A bundled set or a file of your own.")],
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """Print the class names and templates that a set or a file of your own stands for, one per line.

    Example: zsretrieve prompts show openai7
    """
    import zsretrieve as zs

    content = zs.read_prompt_set(name)
    if form is ReportFormat.JSON:
        output.write_json(content.to_dict())
        return
    lines: list[str] = []
    if content.classes is not None:
        for key, class_name in zip(content.classes.keys, content.classes.names, strict=True):
            lines.append(class_name if key is None else f"{key}\t{class_name}")
        for row, prompts in enumerate(content.classes.prompts):
            more = f" (and {len(prompts) - 1} more)" if len(prompts) > 1 else ""
            lines[row] += f"\t{prompts[0]}{more}"
    if content.classes is not None and content.templates is not None:
        lines.append("")
    if content.templates is not None:
        lines += content.templates.templates
    for line in lines:
        typer.echo(output.visible(line))
