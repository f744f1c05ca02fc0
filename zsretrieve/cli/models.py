"""``zsretrieve models``: what can be loaded, and what is published of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.later import Command, Group
from zsretrieve.cli.output import OutputFormat, ReportFormat

if TYPE_CHECKING:
    from zsretrieve.encoders.published import PublishedModel
    from zsretrieve.encoders.registry import ModelInfo

app = typer.Typer(
    name="models", cls=Group, no_args_is_help=True, help="Find models, see what they are, convert them for the CPU."
)
cache_app = typer.Typer(
    name="cache", cls=Group, no_args_is_help=True, help="See and empty the cache folder of converted models."
)
app.add_typer(cache_app)

# What a column of a table takes beside its text, and how many columns are shown even where they have no room.
_BETWEEN, _NEEDED = 3, 4


class Sort(StrEnum):
    TOP1 = "top1"
    GFLOP = "gflop"
    PARAMS = "params"
    SIZE = "size"
    NAME = "name"


@app.command("list", cls=Command)
def list_(
    context: typer.Context,
    search: Annotated[list[str] | None, typer.Argument(metavar="[SEARCH]...", help="Words the name must hold.")] = None,
    sort: Annotated[
        Sort | None,
        typer.Option(
            "--sort",
            help="By Prec@1 (top1, the best first), operations, parameters, image size (the least first) or name. "
            "Without it by operations, and with --all as open_clip lists them.",
        ),
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="Only the models on the front of speed and accuracy.")] = False,
    whole: Annotated[bool, typer.Option("--all", help="All pretrained models that open_clip knows.")] = False,
    cached: Annotated[
        bool,
        typer.Option("--cached", help="Only models whose weights are on this machine, of all that open_clip knows."),
    ] = False,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
) -> None:
    """List the models people use: cost, size, licence, and the ImageNet zero-shot Prec@1 that is published of them.

    GFLOP are billions of operations of the picture tower for one picture, a multiplication with its addition being two.
    Models marked * are on the front: every other one of the table needs more GFLOP or is less accurate, or is equal in
    both. Nothing here was measured by this program; --format json names the source of each figure.

    Example: zsretrieve models list siglip --sort top1
    """
    from zsretrieve import wiring

    told = options.verbosity(context)
    words = " ".join(search or ())
    infos: dict[str, ModelInfo] = {}
    if whole or cached:
        with output.working(told, "reading the registry"):
            infos = {info.name: info for info in wiring.known_models(words) if info.cached or not cached}
        models = wiring.published_of(list(infos.values()), by=sort)
    else:
        models = wiring.published_models(words, by=sort or Sort.GFLOP)
    if front:
        models = [model for model in models if model.front]
    if form is not OutputFormat.TABLE:
        output.write_rows([_row(model, infos.get(model.name)) for model in models], form)
        return
    if not models:
        where = " on this machine" if cached else "" if whole else "; --all looks among all that open_clip knows"
        output.note(told, f"no model matches '{words}'{where}")
        return
    _show(models, infos)
    which = "models" if whole or cached else "models people use (--all: all that open_clip knows)"
    output.note(told, f"{len(models)} {which}; the bundled one is called demo")


def _row(model: PublishedModel, info: ModelInfo | None) -> dict[str, Any]:
    own = asdict(info) if info is not None else {"name": model.name, "arch": model.arch, "tag": model.tag}
    height, width = model.image_size
    return {**own, "image_size": f"{height}x{width}", "dim": model.dim, **model.facts()}


def _show(models: Sequence[PublishedModel], infos: dict[str, ModelInfo]) -> None:
    """A table of the columns that have room, the most needed first, and below it what they mean."""

    def of(name: str) -> Callable[[PublishedModel], str]:
        return lambda model: str(getattr(infos[model.name], name))

    columns: list[tuple[str, Callable[[PublishedModel], str]]] = [
        ("", lambda model: "*" if model.front else ""),
        ("model", lambda model: model.name),
        ("Prec@1 %", lambda model: "" if model.prec1 is None else f"{100 * model.prec1:.1f}"),
        ("GFLOP", lambda model: "" if model.gflop is None else f"{model.gflop:,.1f}"),
        ("licence", lambda model: model.license or ""),
        ("params M", lambda model: "" if model.params is None else f"{model.params:,.1f}"),
        ("image", lambda model: "x".join(str(side) for side in dict.fromkeys(model.image_size))),
        ("dim", lambda model: str(model.dim)),
        ("languages", lambda model: "many" if model.multilingual else ""),
    ]
    if infos:
        columns += [
            ("cached", lambda model: "yes" if infos[model.name].cached else ""),
            ("context", of("context_length")),
            ("activation", of("activation")),
            ("tokenizer", of("tokenizer")),
        ]
    shown: dict[str, list[str]] = {}
    room = output.out().width
    for name, cell in columns:
        cells = [cell(model) for model in models]
        room -= max(len(text) for text in (name, *cells)) + _BETWEEN
        if room < 0 and len(shown) >= _NEEDED:
            break
        shown[name] = cells
    table = output.table(*shown, right=("Prec@1 %", "GFLOP", "params M", "image", "dim", "context"))
    for row in zip(*shown.values(), strict=True):
        table.add_row(*(output.cell(text) for text in row))
    output.show(table)
    told = (
        "Prec@1: ImageNet-1k, zero-shot, as published, not measured here. GFLOP: of the picture tower for one picture.",
        "* on the front: every other model of the table needs more GFLOP or is less accurate, or is equal in both.",
    )
    for line in told[: 2 if any(model.front for model in models) else 1]:
        output.out().print(line, markup=False)


@app.command("show", cls=Command)
def show(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Any model name, see zsretrieve models list.")],
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """Show what a model is: image size, dim, context, resolved activation, preprocessing, where its weights come from,
    and what is published of it.

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
        if value is None:
            continue
        if key == "imagenet_prec@1":
            value = output.percent(float(str(value)))
        elif isinstance(value, dict):
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
