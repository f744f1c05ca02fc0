"""``zsretrieve models``: what can be loaded, what is published about it, and the cache of converted models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.lazy import Command, Group
from zsretrieve.cli.output import OutputFormat, ReportFormat
from zsretrieve.cli.views import models_here
from zsretrieve.domain.wording import counted

if TYPE_CHECKING:
    from zsretrieve.encoders.catalog.published import PublishedModel

app = typer.Typer(
    name="models", cls=Group, no_args_is_help=True, help="List and describe models, and convert them for the CPU."
)
cache_app = typer.Typer(name="cache", cls=Group, no_args_is_help=True, help="List and empty the cache.")
app.add_typer(cache_app)

# The width of a column in addition to its text, and how many columns are always shown.
_BETWEEN, _NEEDED = 3, 4
_LEGEND = (
    "Prec@1: ImageNet-1k, zero-shot, in percent, as published, not measured here.",
    "GFLOP: of the image tower for one image. GB: of the weights on disk, in float32.",
    "* on the Pareto front: every other model needs more GFLOP, is less accurate or is equal in both.",
)
# What the fields of a description are called.
_NAMES = {
    "imagenet_prec@1": "ImageNet-1k Prec@1, published",
    "imagenet_prec@1_source": "source of Prec@1",
    "params_millions": "parameters, millions",
    "disk_gb": "weights on disk, GB",
    "image_gflop": "GFLOP per image",
    "front": "on the Pareto front",
    "dim": "dimensions",
}

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Any model name, see zsretrieve models list.")]
Form = Annotated[OutputFormat, typer.Option("--format", help="How to print.")]


class Sort(StrEnum):
    TOP1 = "top1"
    GFLOP = "gflop"
    PARAMS = "params"
    SIZE = "size"
    NAME = "name"


@app.command("list", cls=Command)
def list_(
    search: Annotated[
        list[str] | None, typer.Argument(metavar="SEARCH", help="Words that the name must contain.")
    ] = None,
    sort: Annotated[
        Sort | None,
        typer.Option(
            "--sort",
            help="By Prec@1 (top1, best first), operations, parameters, image size (least first) or name (default: by "
            "operations; with --all in open_clip's order).",
        ),
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="Only models on the Pareto front of speed and accuracy.")
    ] = False,
    whole: Annotated[bool, typer.Option("--all", help="All pretrained models that open_clip knows.")] = False,
    cached: Annotated[
        bool, typer.Option("--cached", help="Only models that open_clip knows and whose weights are on this machine.")
    ] = False,
    here: Annotated[
        bool,
        typer.Option("--here", help="Measure the converted models on this machine, a few seconds each, and recommend."),
    ] = False,
    form: Form = OutputFormat.TABLE,
) -> None:
    """List models to choose from: published accuracy, cost, size on disk, licence.

    small is the default and fast on any CPU, medium is more accurate and four times the work, best is the most accurate
    that one GPU runs well.

    GFLOP are billions of operations of the image tower for one image; a multiplication and its addition count as two.
    zsretrieve has not measured these figures; --format json names the source of each.

    Example: zsretrieve models list siglip --sort top1
    """
    import zsretrieve as zs

    words = " ".join(search or ())
    if here:
        if sort or front or whole or cached:
            raise zs.UsageError("--here goes with no other choice of models", hint="Give --here and words alone.")
        with output.progress() as on_stage:
            models_here.show(zs.measure_models(words, on_stage=on_stage), form)
        return
    with output.progress() as on_stage:
        if whole or cached:
            on_stage("reading the registry", 0, 1)
        models = zs.published_models(words, by=sort, registry=whole or cached)
    if cached:
        models = [model for model in models if model.info is not None and model.info.cached]
    is_short = not (words or front or whole or cached)
    if is_short:
        models = [model for model in models if model.on_front or model.short_name]
    if front:
        models = [model for model in models if model.on_front]
    if form is not OutputFormat.TABLE:
        output.write_rows([_row(model) for model in models], form)
        return
    if not models:
        match = f"no model matches '{words}'" if words else "there is no model"
        where = " on this machine" if cached else "" if whole else "; --all searches all that open_clip knows"
        output.note(f"{match}{where}")
        return
    _show(models)
    more = "" if whole or cached else "; a word lists more (models list openai), --all all that open_clip knows"
    output.note(f"{counted(len(models), 'model')}{more if is_short else ''}; the bundled one is called demo")


def _short_name(model: PublishedModel) -> str:
    import zsretrieve as zs

    default = ", default" if model.name == zs.DEFAULT_MODEL else ""
    return f"{model.short_name or ''}{default}"


def _row(model: PublishedModel) -> dict[str, Any]:
    own = vars(model.info) if model.info is not None else {"name": model.name, "arch": model.arch, "tag": model.tag}
    height, width = model.image_size
    return {**own, "image_size": f"{height}x{width}", "dim": model.dim, **model.facts()}


def _show(models: Sequence[PublishedModel]) -> None:
    """A table of as many columns as there is room for, the most important first, and its legend."""

    def of(name: str) -> Callable[[PublishedModel], str]:
        return lambda model: str(getattr(model.info, name))

    columns: list[tuple[str, Callable[[PublishedModel], str]]] = [
        ("", lambda model: "*" if model.on_front else ""),
        ("model", lambda model: model.name),
        ("Prec@1", lambda model: "" if model.prec1 is None else f"{100 * model.prec1:.1f}"),
        ("GFLOP", lambda model: "" if model.gflop is None else f"{model.gflop:,.1f}"),
        ("GB", lambda model: "" if model.disk_gb is None else f"{model.disk_gb:.1f}"),
        ("short name", _short_name),
        ("licence", lambda model: model.license or ""),
        ("image", lambda model: "x".join(str(side) for side in dict.fromkeys(model.image_size))),
        ("dim", lambda model: str(model.dim)),
        ("languages", lambda model: "many" if model.multilingual else ""),
    ]
    if models[0].info is not None:
        columns += [
            ("cached", lambda model: "yes" if model.info and model.info.cached else ""),
            ("context", of("context_length")),
            ("activation", of("activation")),
            ("tokenizer", of("tokenizer")),
        ]
    if models[0].info is not None or not any(model.short_name for model in models):
        columns = [column for column in columns if column[1] is not _short_name]
    shown: dict[str, list[str]] = {}
    room = output.out().width
    for name, cell in columns:
        cells = [cell(model) for model in models]
        room -= max(len(text) for text in (name, *cells)) + _BETWEEN
        if room < 0 and len(shown) >= _NEEDED:
            break
        shown[name] = cells
    table = output.table(*shown, right=("Prec@1", "GFLOP", "GB", "image", "dim", "context"))
    for row in zip(*shown.values(), strict=True):
        table.add_row(*(output.cell(text) for text in row))
    output.show(table)
    for line in _LEGEND[: None if any(model.on_front for model in models) else -1]:
        output.say(line)


@app.command("show", cls=Command)
def show(
    name: Model, form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE
) -> None:
    """Describe a model: image size, dim, context, activation, preprocessing, origin of the weights, published figures.

    Example: zsretrieve models show ViT-B-32/openai
    """
    import zsretrieve as zs

    description = zs.describe_model(name)
    if form is ReportFormat.JSON:
        output.write_json(description)
        return
    table = output.table("", "")
    table.show_header = False
    for key, value in description.items():
        if value is not None:
            table.add_row(_NAMES.get(key, key.replace("_", " ")), output.cell(_readable(key, value)))
    output.show(table)


def _readable(key: str, value: object) -> str:
    if key == "imagenet_prec@1":
        return output.percent(float(str(value)))
    match value:
        case dict():
            return ", ".join(f"{name} {one}" for name, one in value.items())
        case bool():
            return "yes" if value else "no"
        case list():
            return " x ".join(str(one) for one in value)
        case _:
            return str(value)


@app.command("export", cls=Command)
def export(
    name: Model,
    int8: Annotated[
        list[str] | None,
        typer.Option(
            "--int8", metavar="SOURCE", help="Also calibrate it for --precision int8, on up to 300 of these images."
        ),
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Option("--pack", metavar="FILE", help="Write it into one file, which --model pack:FILE runs anywhere."),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="With --pack: weights in bf16, at half the size; such a pack has no fp32.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Convert again; with --int8, calibrate on any processor, whatever is lost; with --pack, replace FILE.",
        ),
    ] = False,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Convert a model for the CPU now, rather than when it is first used, or write it into a pack.

    Example: zsretrieve models export ViT-B-32/openai --int8 ~/Pictures
    """
    import zsretrieve as zs

    if half and pack is None:
        raise zs.UsageError("--half has no effect without --pack", hint="Add --pack FILE, or leave out --half.")
    if int8 and pack is not None:
        raise zs.UsageError("a pack holds no int8 image tower", hint="Give --int8 and --pack in commands of their own.")
    with output.progress() as on_stage:
        if pack is not None:
            folder = zs.export_pack(
                name, pack, half=half, force=force, trust_remote_code=trust_remote_code, on_stage=on_stage
            )
        else:
            folder = zs.export_model(
                name, int8=int8 or None, force=force, trust_remote_code=trust_remote_code, on_stage=on_stage
            )
    output.out().print(output.cell(str(folder)), soft_wrap=True)


@cache_app.command("list", cls=Command)
def list_cache(form: Form = OutputFormat.TABLE) -> None:
    """List the converted models with their sizes and folders.

    Example: zsretrieve models cache list
    """
    from datetime import UTC, datetime

    import zsretrieve as zs

    entries = zs.cached_models()
    rows = [
        {
            "model": entry.name,
            "bytes": entry.bytes,
            "made": datetime.fromtimestamp(entry.made, UTC).isoformat(timespec="seconds"),
            "failure": entry.failure,
            "folder": str(entry.folder),
        }
        for entry in entries
    ]
    if form is not OutputFormat.TABLE:
        output.write_rows(rows, form)
        return
    table = output.table("model", "size", "made", "folder", right=("size",))
    for entry, row in zip(entries, rows, strict=True):
        size = "does not convert" if entry.failure else _megabytes(entry.bytes)
        table.add_row(*(output.cell(str(cell)) for cell in (entry.name, size, row["made"], entry.folder)))
    output.show(table)
    queries, query_bytes = zs.cached_queries()
    prompts, prompt_bytes = zs.cached_prompts()
    images, image_bytes = zs.cached_images()
    detected, detected_bytes = zs.cached_detections()
    output.note(
        f"{counted(len(entries), 'converted model')}, {_megabytes(sum(entry.bytes for entry in entries))}; "
        f"{counted(queries, 'past search', 'past searches')}, {_megabytes(query_bytes)}; "
        f"{counted(prompts, 'prompt')}, {_megabytes(prompt_bytes)}; "
        f"{counted(images, 'image vector')}, {_megabytes(image_bytes)}; "
        f"objects in {counted(detected, 'image')}, {_megabytes(detected_bytes)}"
    )


@cache_app.command("clear", cls=Command)
def clear_cache(
    name: Annotated[str | None, typer.Argument(metavar="MODEL", help="Only this model (default: all).")] = None,
) -> None:
    """Delete converted models and, without a name, what is cached of past searches, prompts and images.

    Example: zsretrieve models cache clear ViT-B-32/openai
    """
    import zsretrieve as zs

    deleted = zs.clear_cache(name)
    freed = _megabytes(sum(entry.bytes for entry in deleted))
    output.say(f"deleted {counted(len(deleted), 'converted model')}, {freed}")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
