"""``zsretrieve models``: what can be loaded."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.later import Command, Group
from zsretrieve.cli.output import OutputFormat, ReportFormat

# Below this many columns the tokenizer's name would break the model's.
_WIDE = 120

app = typer.Typer(
    name="models", cls=Group, no_args_is_help=True, help="Find models, see what they are, convert them for the CPU."
)
cache_app = typer.Typer(
    name="cache", cls=Group, no_args_is_help=True, help="See and empty the cache folder of converted models."
)
app.add_typer(cache_app)


@app.command("list", cls=Command)
def list_(
    context: typer.Context,
    search: Annotated[list[str] | None, typer.Argument(metavar="[SEARCH]...", help="Words the name must hold.")] = None,
    cached: Annotated[bool, typer.Option("--cached", help="Only models whose weights are on this machine.")] = False,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
) -> None:
    """List the pretrained models that open_clip knows.

    Example: zsretrieve models list siglip 256
    """
    from zsretrieve import wiring

    with output.working(options.verbosity(context), "reading the registry"):
        models = [m for m in wiring.known_models(" ".join(search or ())) if m.cached or not cached]
    if form is not OutputFormat.TABLE:
        rows = [{**asdict(m), "image_size": f"{m.image_size[0]}x{m.image_size[1]}"} for m in models]
        output.write_rows(rows, form)
        return
    told = options.verbosity(context)
    if not models:
        output.note(told, f"no model matches '{' '.join(search or ())}'")
        return
    wide = output.out().width >= _WIDE
    columns = ("model", "image", "dim", "context", "activation", *(("tokenizer",) if wide else ()), "cached")
    table = output.table(*columns, right=("image", "dim", "context"))
    for m in models:
        size = str(m.image_size[0]) if m.image_size[0] == m.image_size[1] else f"{m.image_size[0]}x{m.image_size[1]}"
        cells = [m.name, size, str(m.dim), str(m.context_length), m.activation]
        table.add_row(*cells, *((m.tokenizer,) if wide else ()), "yes" if m.cached else "")
    output.show(table)
    output.note(told, f"{len(models)} models; the bundled one is called demo")


@app.command("show", cls=Command)
def show(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Any model name, see zsretrieve models list.")],
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """Show what a model is: image size, dim, context, resolved activation, preprocessing, where its weights come from.

    Example: zsretrieve models show ViT-B-32/openai
    """
    from zsretrieve import wiring

    described = wiring.describe_model(name)
    if form is ReportFormat.JSON:
        output.write_json(described)
        return
    table = output.table("", "")
    table.show_header = False
    for key, value in described.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, list):
            value = " x ".join(str(v) for v in value)
        table.add_row(key.replace("_", " "), output.cell(str(value)))
    output.show(table)


@app.command("export", cls=Command)
def export(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Any model name, see zsretrieve models list.")],
    int8: Annotated[
        list[str] | None,
        typer.Option(
            "--int8", metavar="SOURCE", help="Also calibrate it for --precision int8 on up to 300 images from here."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Convert again; with --int8, keep what is calibrated whatever it loses.")
    ] = False,
) -> None:
    """Convert a model for the CPU now, rather than when it is first used.

    Example: zsretrieve models export ViT-B-32/openai --int8 pictures/
    """
    from zsretrieve import api

    told = options.verbosity(context)
    source = options.open_source(int8) if int8 else None
    if force and source is None and api.is_calibrated(name):
        raise typer.BadParameter(
            f"it would delete the int8 model of {name}; calibrate it again with --int8 SOURCE, or delete both with: "
            f"zsretrieve models cache clear {name}",
            param_hint="--force",
        )
    with output.working(told, f"converting {name}"):
        # With --int8, --force is for the calibration; the conversion is checked in any case.
        folder = api.export_model(name, force=force and source is None)
    if source is not None:
        options.calibrate(told, name, source, force=force)
    output.out().print(output.cell(str(folder)), soft_wrap=True)


@cache_app.command("list", cls=Command)
def list_cache(
    context: typer.Context,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
) -> None:
    """List the converted models, their size and where they lie.

    Example: zsretrieve models cache list
    """
    from datetime import UTC, datetime

    from zsretrieve import api

    found = api.cached_models()
    rows = [
        {
            "model": entry.name,
            "bytes": entry.bytes,
            "made": datetime.fromtimestamp(entry.made, UTC).isoformat(timespec="seconds"),
            "failure": entry.failure,
            "folder": str(entry.folder),
        }
        for entry in found
    ]
    if form is not OutputFormat.TABLE:
        output.write_rows(rows, form)
        return
    table = output.table("model", "size", "made", "folder", right=("size",))
    for row in rows:
        size = "does not convert" if row["failure"] else f"{int(str(row['bytes'])) / 1e6:,.1f} MB"
        table.add_row(*(output.cell(str(cell)) for cell in (row["model"], size, row["made"], row["folder"])))
    output.show(table)
    total = sum(entry.bytes for entry in found)
    queries, taken = api.remembered_queries()
    prompts, taken_by_prompts = api.remembered_prompts()
    output.note(
        options.verbosity(context),
        f"{_counted(len(found), 'converted model')}, {total / 1e6:,.1f} MB; {_counted(queries, 'past search', 'es')}, "
        f"{taken / 1e6:,.1f} MB; {_counted(prompts, 'prompt')}, {taken_by_prompts / 1e6:,.1f} MB",
    )


@cache_app.command("clear", cls=Command)
def clear_cache(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="This model only (default: all).")] = None,
) -> None:
    """Delete converted models, and without a name the vectors of past searches and of prompts; all are made again when
    needed.

    Example: zsretrieve models cache clear ViT-B-32/openai
    """
    from zsretrieve import api

    gone = api.clear_cache(name)
    freed = sum(entry.bytes for entry in gone)
    output.out().print(f"deleted {_counted(len(gone), 'converted model')}, {freed / 1e6:,.1f} MB")


def _counted(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"
