"""``zsretrieve prompts``: the bundled class sets and templates, and the lab that measures them."""

from __future__ import annotations

from typing import Annotated

import typer

from zsretrieve.cli import output
from zsretrieve.cli.later import Command, Group, Later
from zsretrieve.cli.output import OutputFormat, ReportFormat
from zsretrieve.errors import PromptError


class _Commands(Group):
    later = (
        Later(
            "compare", "prompt_lab:compare",
            "Compare template sets on a labelled gallery: Prec@1 of each, and the difference on the same images.",
        ),
        Later(
            "rank", "prompt_lab:rank",
            "Rank templates on a labelled gallery: Prec@1 of each alone, and of all the others without it.",
        ),
        Later(
            "select", "prompt_lab:select",
            "Choose templates by forward selection on one half of a labelled gallery; the score is told on the other "
            "half.",
        ),
        Later(
            "sensitivity", "prompt_lab:sensitivity",
            "Tell how far Prec@1 depends on the template: its spread over the single templates of a set.",
        ),
        Later(
            "similar", "similar:similar",
            "Point at classes whose prompts pull them towards another: the most similar prototypes, each class's "
            "nearest.",
        ),
    )  # fmt: skip


app = typer.Typer(
    name="prompts", cls=_Commands, no_args_is_help=True,
    help="See the bundled class names and templates, and measure templates on labelled images.",
)  # fmt: skip


@app.command("list", cls=Command)
def list_(
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
) -> None:
    """List the bundled sets.

    Example: zsretrieve prompts list
    """
    from zsretrieve import prompts, wiring

    rows = []
    for found in prompts.bundled_sets():
        holds = found.holds.split(" + ")
        n_classes = len(prompts.read_classes(found.name, wiring.provide).names) if "classes" in holds else 0
        n_templates = len(prompts.read_templates(found.name, wiring.provide).templates) if "templates" in holds else 0
        rows.append({"name": found.name, "classes": n_classes, "templates": n_templates, "source": found.source})
    if form is not OutputFormat.TABLE:
        output.write_rows(rows, form)
        return
    table = output.table("set", "classes", "templates", "source", right=("classes", "templates"))
    for row in rows:
        table.add_row(
            str(row["name"]), str(row["classes"] or ""), str(row["templates"] or ""), output.cell(str(row["source"]))
        )
    output.show(table)


@app.command("show", cls=Command)
def show(
    name: Annotated[str, typer.Argument(metavar="SET", help="A bundled set or a file of your own.")],
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """Show the class names and templates of a set, one a line.

    Example: zsretrieve prompts show openai7
    """
    from zsretrieve import prompts, wiring

    content: dict[str, object] = {}
    failure: PromptError | None = None
    try:
        classes = prompts.read_classes(name, wiring.provide)
        content["class_names"] = list(classes.names)
        if any(classes.keys):
            content["class_keys"] = list(classes.keys)
        if classes.prompts:
            content["prompts"] = [list(group) for group in classes.prompts]
    except PromptError as error:
        failure = error
    try:
        content["templates"] = list(prompts.read_templates(name, wiring.provide).templates)
    except PromptError:
        if failure is not None:
            known = ", ".join(found.name for found in prompts.bundled_sets())
            raise PromptError(f"there is no set or file '{name}'", hint=f"Bundled sets: {known}.") from failure
    if form is ReportFormat.JSON:
        output.write_json(content)
        return
    names, keys = content.get("class_names", []), content.get("class_keys")
    if isinstance(names, list):
        for i, class_name in enumerate(names):
            typer.echo(f"{keys[i]}\t{class_name}" if isinstance(keys, list) else class_name)
    templates = content.get("templates", [])
    if names and templates:
        typer.echo()
    if isinstance(templates, list):
        for template in templates:
            typer.echo(template)
