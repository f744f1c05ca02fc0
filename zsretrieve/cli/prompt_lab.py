"""``zsretrieve prompts compare|rank|select|sensitivity``: templates measured on a labelled gallery."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli import prompt_tables as tables
from zsretrieve.cli.output import OutputFormat, ReportFormat
from zsretrieve.errors import OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsretrieve.cli.output import Verbosity
    from zsretrieve.ports import Encoder, PromptMemory
    from zsretrieve.prompts import ClassList
    from zsretrieve.store.indexes import Gallery
    from zsretrieve.verbs.prompt_select import Selection

_HALVES = ("half", "id", "path", "label")

GalleryArgument = Annotated[str, typer.Argument(metavar="GALLERY", help="A gallery index of labelled images.")]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes", "-c", help='A bundled set, a file, or a comma list (default: what the labels of the gallery say).'
    ),
]  # fmt: skip
ClassesOf = Annotated[
    Path | None, typer.Option("--prototypes", "-p", help="Take the classes of this prototype index instead.")
]
Candidates = Annotated[
    str, typer.Option("--templates", "-t", help="A bundled set, or a file with the templates to look at.")
]
PromptCache = Annotated[
    bool,
    typer.Option("--prompt-cache/--no-prompt-cache", help="Keep the vectors of prompts, to use them again."),
]
Rows = Annotated[OutputFormat, typer.Option("--format", help="How to print; csv and jsonl hold the rows alone.")]


class _Asked(NamedTuple):
    """What all of the commands begin with."""

    gallery: Gallery
    classes: ClassList
    encoder: Callable[[], Encoder]
    memory: PromptMemory | None


def compare(
    context: typer.Context,
    gallery: GalleryArgument,
    classes: Classes = None,
    prototypes: ClassesOf = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            "--templates", "-t", help="A set, file or template; repeat it (default: raw, standard, openai7, openai80)."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="The set that the others are compared with (default: the first).")
    ] = None,
    where: options.Where = None,
    form: Rows = OutputFormat.TABLE,
    prompt_cache: PromptCache = True,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
) -> None:
    """Compare template sets on a labelled gallery: Prec@1 of each, and the difference on the same images.

    Prec@1 is in percent of the images scored, differences are in percentage points; intervals are of 95 %.

    Example: zsretrieve prompts compare indexes/val --classes imagenet1k -t raw -t openai80 -t mine.txt
    """
    from zsretrieve import api
    from zsretrieve.api.prompt_lab import COMPARED

    told = options.verbosity(context)
    asked = _asked(told, gallery, classes, prototypes, model, device, precision, engine, prompt_cache)
    with output.stages(told) as on_stage:
        found = api.compare_templates(
            asked.gallery, templates or COMPARED, asked.encoder, classes=asked.classes, against=against, where=where,
            memory=asked.memory, on_stage=on_stage,
        )  # fmt: skip
    tables.print_comparison(found, form)


def rank(
    context: typer.Context,
    gallery: GalleryArgument,
    classes: Classes = None,
    prototypes: ClassesOf = None,
    templates: Candidates = "openai80",
    where: options.Where = None,
    form: Rows = OutputFormat.TABLE,
    prompt_cache: PromptCache = True,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
) -> None:
    """Rank templates on a labelled gallery: Prec@1 of each alone, and of all the others without it.

    Prec@1 is in percent of the images scored, differences are in percentage points; intervals are of 95 %.

    Example: zsretrieve prompts rank indexes/val --classes imagenet1k --templates openai80 --format csv
    """
    from zsretrieve import api

    told = options.verbosity(context)
    asked = _asked(told, gallery, classes, prototypes, model, device, precision, engine, prompt_cache)
    with output.stages(told) as on_stage:
        found = api.rank_templates(
            asked.gallery, templates, asked.encoder, classes=asked.classes, where=where,
            memory=asked.memory, on_stage=on_stage,
        )  # fmt: skip
    tables.print_ranking(found, form)


def select(
    context: typer.Context,
    gallery: GalleryArgument,
    classes: Classes = None,
    prototypes: ClassesOf = None,
    templates: Candidates = "openai80",
    most: Annotated[int, typer.Option("--max-templates", min=1, help="Take so many templates at most.")] = 7,
    images: Annotated[
        int, typer.Option("--images", min=1, help="Look at so many images of the selecting half at most.")
    ] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Deals the halves and draws the images.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write the templates here, for --templates (.toml, .json, or one a line)."),
    ] = None,
    halves: Annotated[
        Path | None, typer.Option("--halves", help="List which image is in which half here (CSV).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out.")] = False,
    where: options.Where = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
    prompt_cache: PromptCache = True,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
) -> None:
    """Choose templates by forward selection on one half of a labelled gallery; the score is told on the other half.

    Prec@1 is in percent of the images scored, differences are in percentage points; intervals are of 95 %.

    Example: zsretrieve prompts select indexes/val --classes imagenet1k --templates openai80 --out best.txt
    """
    from zsretrieve import api, prompts, wiring

    told = options.verbosity(context)
    options.check_writable(out, "--out")
    options.check_writable(halves, "--halves", _HALVES)
    for name, other in (("--halves", halves), ("--templates", Path(templates))):
        if out is not None and other is not None and out.resolve() == other.resolve():
            raise typer.BadParameter(f"it is the file of {name}, which would be lost", param_hint="--out")
    if out is not None and out.exists() and not force:
        raise OutputExistsError(f"'{out}' exists already", hint="Give another file, or replace it with --force.")
    if out is not None:  # what cannot be written after the work is told before it
        prompts.template_text(prompts.read_templates(templates, wiring.provide).templates, "", out.suffix)
    asked = _asked(told, gallery, classes, prototypes, model, device, precision, engine, prompt_cache)
    with output.stages(told) as on_stage:
        found = api.select_templates(
            asked.gallery, templates, asked.encoder, classes=asked.classes, where=where, most=most, images=images,
            seed=seed, memory=asked.memory, on_stage=on_stage,
        )  # fmt: skip
    if out is not None:
        _write(out, _templates_of(found, out))
        count = "1 template" if len(found.templates) == 1 else f"{len(found.templates)} templates"
        output.note(told, f"{count} -> {out}")
    if halves is not None:
        _write_halves(halves, found)
        output.note(told, f"the halves -> {halves}")
    tables.print_selection(found, form)


def sensitivity(
    context: typer.Context,
    gallery: GalleryArgument,
    classes: Classes = None,
    prototypes: ClassesOf = None,
    templates: Candidates = "openai80",
    where: options.Where = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
    prompt_cache: PromptCache = True,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
) -> None:
    """Tell how far Prec@1 depends on the template: its spread over the single templates of a set.

    Prec@1 is in percent of the images scored; its standard deviation is in percentage points.

    Example: zsretrieve prompts sensitivity indexes/val --classes imagenet1k --templates openai80
    """
    from zsretrieve import api

    told = options.verbosity(context)
    asked = _asked(told, gallery, classes, prototypes, model, device, precision, engine, prompt_cache)
    with output.stages(told) as on_stage:
        found = api.template_sensitivity(
            asked.gallery, templates, asked.encoder, classes=asked.classes, where=where,
            memory=asked.memory, on_stage=on_stage,
        )  # fmt: skip
    tables.print_sensitivity(found, form)


def _asked(
    told: Verbosity, gallery: str, classes: str | None, prototypes: Path | None, model: str | None, device: str,
    precision: options.Precision, engine: options.Engine, prompt_cache: bool,
) -> _Asked:  # fmt: skip
    """Open what is asked about; the model is loaded if a prompt is not kept already."""
    from zsretrieve import api

    if classes is not None and prototypes is not None:
        raise typer.BadParameter("give either --classes or --prototypes", param_hint="--classes / --prototypes")
    opened = api.lab_gallery(gallery)
    of = None if prototypes is None else api.open_prototypes(prototypes, device="cpu")
    found = api.lab_classes(opened, classes if of is None else of)
    if classes is None and of is None:
        output.note(told, f"classes: {len(found.names)}, of {found.source}; others are named with --classes")
    # What is kept belongs to the gallery's own space, and must not answer for a model of which that is not known.
    keeps = prompt_cache and (model is None or api.check_model(model, opened.space))
    memory = None
    if keeps:
        memory = api.prompt_memory(opened.space, device=device, precision=precision.value, engine=engine.value)
    return _Asked(
        opened, found,
        lambda: options.load_encoder(told, model or opened.space.model, device, precision, engine), memory,
    )  # fmt: skip


def _templates_of(found: Selection, out: Path) -> str:
    from zsretrieve import prompts

    of = found.pictures
    source = f"Chosen of {found.n_candidates} ('{found.name}') on {found.n_looked_at} images for {of.model}."
    return prompts.template_text(found.templates, source, out.suffix)


def _write(file: Path, content: str) -> None:
    with output.opened(file) as handle:
        handle.write(content)


def _write_halves(file: Path, found: Selection) -> None:
    split = found.halves
    with output.opened(file) as handle:
        writer = csv.writer(handle)
        writer.writerow(_HALVES)
        for half, rows in (("selecting", split.selecting), ("reporting", split.reporting)):
            for item in (split.items[row] for row in rows):
                writer.writerow([half, item.id, item.path, item.label])
