"""``zsretrieve prompts compare|rank|select|sensitivity``: templates measured on a labelled gallery."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import OptionGroup, grouped
from zsretrieve.cli.output import OutputFormat, ReportFormat
from zsretrieve.cli.views import prompt_lab as views
from zsretrieve.domain.errors import OutputExistsError, UsageError
from zsretrieve.domain.settings import Compute
from zsretrieve.domain.wording import counted

if TYPE_CHECKING:
    from zsretrieve.prompt_lab.select import Selection

_Result = TypeVar("_Result")

_HALVES = ("half", "id", "path", "label")

Gallery = Annotated[str, typer.Argument(metavar="GALLERY", help="A gallery index of labelled images.")]
Candidates = Annotated[
    str, typer.Option("--templates", "-t", help="A bundled set, or a file of templates to choose from.")
]
Rows = Annotated[OutputFormat, typer.Option("--format", help="How to print; csv and jsonl contain only the rows.")]
Form = Annotated[ReportFormat, typer.Option("--format", help="How to print.")]


@dataclass(frozen=True)
class Lab:
    """What all commands of the lab are given."""

    classes: str | None
    prototypes: Path | None
    where: str | None
    prompt_cache: bool
    model: str | None
    compute: Compute

    def run(self, verb: Callable[..., _Result], gallery: str, **arguments: Any) -> _Result:
        """Call a verb of the library with a gallery and these options."""
        import zsretrieve as zs

        if self.classes is not None and self.prototypes is not None:
            raise UsageError("--classes and --prototypes both name the classes", hint="Give one of them.")
        of_index = None if self.prototypes is None else zs.open_prototypes(self.prototypes, device="cpu")
        arguments |= {"classes": of_index or self.classes, "where": self.where, "cached": self.prompt_cache}
        with output.progress(lines=True) as on_stage:
            model = zs.Model(self.model, self.compute, on_stage=on_stage)
            return verb(gallery, model=model, on_stage=on_stage, **arguments)


_Classes = Annotated[
    str | None,
    options.classes_option("A set, a file or a comma-separated list (default: the gallery's labels)."),
]
_ClassesOf = Annotated[
    Path | None, typer.Option("--prototypes", "-p", help="Use the classes of this prototype index instead.")
]
_PromptCache = Annotated[
    bool,
    typer.Option(
        "--prompt-cache/--no-prompt-cache",
        rich_help_panel=options.ADVANCED,
        help="Keep the vectors of prompts, to use them again.",
    ),
]
_COMPUTE = options.COMPUTE.without("compile", "batch_size")


def _lab(
    *,
    classes: str | None,
    prototypes: Path | None,
    where: str | None,
    prompt_cache: bool,
    model: str | None,
    **compute: Any,
) -> Lab:
    return Lab(classes, prototypes, where, prompt_cache, model, _COMPUTE.make(**compute))


LabOptions = Annotated[
    Lab,
    OptionGroup(
        _lab,
        {
            "classes": (_Classes, None),
            "prototypes": (_ClassesOf, None),
            "where": (options.Where, None),
            "prompt_cache": (_PromptCache, True),
            "model": (options.ModelOfIndex, None),
            **_COMPUTE.options,
        },
    ),
]


@grouped
def compare(
    gallery: Gallery,
    lab: LabOptions,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            "--templates", "-t", help="A set, file or template; repeatable (default: raw, standard, openai7, openai80)."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="The set that the others are compared with (default: the first).")
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Also average the probabilities by each template, instead of vectors."),
    ] = False,
    form: Rows = OutputFormat.TABLE,
) -> None:
    """Compare template sets on a labelled gallery: Prec@1 of each, and the differences on the same images.

    Prec@1 is in percent of the scored images, differences are in percentage points; intervals are 95 % intervals.

    Example: zsretrieve prompts compare indexes/val --classes imagenet1k -t raw -t openai80 -t mine.txt
    """
    import zsretrieve as zs

    given = {"templates": templates} if templates else {}
    found = lab.run(zs.compare_templates, gallery, against=against, probabilities=probabilities, **given)
    views.print_comparison(found, form)


@grouped
def rank(
    gallery: Gallery, lab: LabOptions, templates: Candidates = "openai80", form: Rows = OutputFormat.TABLE
) -> None:
    """Rank templates on a labelled gallery: Prec@1 of each alone, and of all the others without it.

    Prec@1 is in percent of the scored images, differences are in percentage points; intervals are 95 % intervals.

    Example: zsretrieve prompts rank indexes/val --classes imagenet1k --templates openai80 --format csv
    """
    import zsretrieve as zs

    views.print_ranking(lab.run(zs.rank_templates, gallery, templates=templates), form)


@grouped
def select(
    gallery: Gallery,
    lab: LabOptions,
    templates: Candidates = "openai80",
    most: Annotated[int, typer.Option("--max-templates", min=1, help="Choose at most this many templates.")] = 7,
    images: Annotated[
        int, typer.Option("--images", min=1, help="Use at most this many images of the selecting half.")
    ] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Divides the images and draws from them.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write the templates here, for --templates (.toml, .json, or one per line)."),
    ] = None,
    halves: Annotated[
        Path | None, typer.Option("--halves", help="List which image is in which half here (CSV).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out.")] = False,
    form: Form = ReportFormat.TABLE,
) -> None:
    """Choose templates by forward selection on one half of a labelled gallery, and score them on the other.

    Prec@1 is in percent of the scored images, differences are in percentage points; intervals are 95 % intervals.

    Example: zsretrieve prompts select indexes/val --classes imagenet1k --templates openai80 --out best.txt
    """
    import zsretrieve as zs

    options.check_writable(halves, "--halves", _HALVES)
    if out is not None:
        _check_out(out, {"--halves": halves, "--templates": Path(templates)}, force=force)
        # Also raises if one of the candidates does not fit into such a file.
        _content(zs.read_templates(templates).templates, "", out)
    selection = lab.run(zs.select_templates, gallery, templates=templates, most=most, images=images, seed=seed)
    if out is not None:
        source = (
            f"Chosen of {selection.n_candidates} ('{selection.name}') on {selection.n_looked_at} images for "
            f"{selection.images.model}."
        )
        with output.opened(out) as handle:
            handle.write(_content(selection.templates, source, out))
        output.note(f"{counted(len(selection.templates), 'template')} -> {out}")
    if halves is not None:
        _write_halves(halves, selection)
        output.note(f"the halves -> {halves}")
    views.print_selection(selection, form)


@grouped
def sensitivity(
    gallery: Gallery, lab: LabOptions, templates: Candidates = "openai80", form: Form = ReportFormat.TABLE
) -> None:
    """Show how much Prec@1 depends on the template: its spread over the single templates of a set.

    Prec@1 is in percent of the scored images; its standard deviation is in percentage points.

    Example: zsretrieve prompts sensitivity indexes/val --classes imagenet1k --templates openai80
    """
    import zsretrieve as zs

    views.print_sensitivity(lab.run(zs.template_sensitivity, gallery, templates=templates), form)


def _check_out(out: Path, others: dict[str, Path | None], *, force: bool) -> None:
    options.check_writable(out, "--out")
    for option, other in others.items():
        if other is not None and out.resolve() == other.resolve():
            raise UsageError(f"--out would overwrite the file of {option}", hint="Give another file.")
    if out.exists() and not force:
        raise OutputExistsError(f"'{out}' exists already", hint="Give another file, or replace it with --force.")


def _content(templates: tuple[str, ...], source: str, out: Path) -> str:
    from zsretrieve.domain.prompts import template_text

    return template_text(templates, source, out.suffix)


def _write_halves(file: Path, selection: Selection) -> None:
    halves = selection.halves
    with output.opened(file) as handle:
        writer = csv.writer(handle)
        writer.writerow(_HALVES)
        for half, rows in (("selecting", halves.selecting), ("reporting", halves.reporting)):
            for item in (halves.items[row] for row in rows):
                writer.writerow([half, item.id, item.path, item.label])
