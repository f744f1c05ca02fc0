"""``zsretrieve reproduce``: run published tables, and explain figures that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.lazy import Group, Later
from zsretrieve.cli.output import TableFormat
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.settings import Compute, Precision

DATASET_DEFAULT = "imagenet1k"
WORK_DEFAULT = Path("indexes/reproduce")
_RUN = "run"
_HELP = frozenset({"-h", "--help"})

_COMPUTE = options.COMPUTE.without("compile").with_default("precision", Precision.FP32)


class _Commands(Group):
    later = (
        Later(_RUN, "reproduce:run"),
        Later("explain", "reproduce:explain"),
    )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """``reproduce SOURCE`` is ``reproduce run SOURCE``, and ``reproduce --plan`` is ``reproduce run --plan``."""
        if args and args[0] not in self.commands and _HELP.isdisjoint(args[:1]):
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="reproduce",
    cls=_Commands,
    no_args_is_help=True,
    help="Run published tables on your images, and explain figures that differ.\n\n"
    "`zsretrieve reproduce imagenet/val` is short for `zsretrieve reproduce run imagenet/val`.",
)


@grouped
def run(
    compute: Annotated[Compute, _COMPUTE],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="The labelled validation images: a folder with one folder per class, an archive, or another source. "
            "Optional with --plan.",
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Only estimate the downloads, the time on this machine and the disk space."),
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            show_default=DATASET_DEFAULT,
            help="The table: imagenet1k, imagenette or cifar10 (also in its binary version).",
        ),
    ] = None,
    published: Annotated[
        Path | None, typer.Option("--published", help="Your own table (TOML) instead of --dataset.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option("--models", help='Only these models of the table, "a,b"; "none" for those of --model alone.'),
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Another model, without published figures.")
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="Include torchvision's supervised ResNet-50.")
    ] = True,
    work: Annotated[
        Path, typer.Option("--work", help="Folder for vectors and counts, from which the same command resumes.")
    ] = WORK_DEFAULT,
    ground_truth: options.GroundTruth = None,
    form: Annotated[TableFormat, typer.Option("--format", help="How to print.")] = TableFormat.TABLE,
    skipped: options.SkippedFile = None,
) -> None:
    """Run the models of a published table and compare their Prec@1 with it.

    Figures are Prec@1 in percent with 95 % intervals, differences in points. Images are read as in the papers: decoded
    in full, EXIF orientation ignored. Runs are resumable: after an interruption, run the same command again. Models
    that cannot be loaded are listed with the reason.

    Example: zsretrieve reproduce run imagenet/val --format markdown
    """
    import zsretrieve as zs
    from zsretrieve.cli.views import reproduction

    options.check_skipped(skipped)
    if source is None and not plan:
        raise UsageError("there are no images to run on", hint="Name the labelled images, or use --plan.")
    if published is not None and dataset is not None:
        raise UsageError("--published takes the place of --dataset", hint="Give only one of them.")
    if plan and skipped is not None:
        raise UsageError("--plan reads no image, so none is skipped", hint="Leave out --skipped.")
    names = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    table = zs.published_table(
        published or dataset or DATASET_DEFAULT, models=names, extra=extra or (), baseline=baseline
    )
    if plan:
        with output.progress() as on_stage:
            planned = zs.plan_reproduction(source, table, compute=compute, ground_truth=ground_truth, on_stage=on_stage)
        reproduction.print_plan(planned, form)
        return
    with output.progress(lines=True) as on_stage:
        done = zs.reproduce(
            str(source), table, compute=compute, work=work, ground_truth=ground_truth, on_stage=on_stage
        )
    reproduction.print_table(done, form)
    for line in reproduction.notes(done):
        output.note(line)
    output.report_skipped(done.skipped, skipped)


@grouped
def explain(
    compute: Annotated[Compute, _COMPUTE.without("engine")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="ARCH/TAG, hf-hub:org/repo, local-dir:PATH or demo.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Labelled images, as for the table.")],
    classes: Annotated[
        str, options.classes_option('A bundled set, a file, or a list such as "cat,dog".')
    ] = DATASET_DEFAULT,
    templates: Annotated[
        str | None,
        typer.Option(
            "--templates", "-t", show_default="openai80", help="The baseline's: a bundled set, a file, or one template."
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Number of images, spread as evenly over the classes as possible.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds draw equal samples.")] = 0,
    work: Annotated[
        Path, typer.Option("--work", help="Folder to unpack CIFAR-10's binary version into, as for the table.")
    ] = WORK_DEFAULT,
    ground_truth: options.GroundTruth = None,
    form: Annotated[TableFormat, typer.Option("--format", help="How to print.")] = TableFormat.TABLE,
) -> None:
    """Test the usual causes of a differing figure on a sample.

    One thing at a time is changed compared with the papers: squash or crop, interpolation, antialiasing, activation,
    case and punctuation of prompts, padding, templates, duplicate classes, EXIF, fast decoding, normalisation, scale.
    Effects are in points of Prec@1 on the same images, with 95 % intervals and the p-value of McNemar's exact test.
    The model runs in torch.

    Example: zsretrieve reproduce explain ViT-B-32/openai imagenet/val --sample 2000
    """
    import zsretrieve as zs
    from zsretrieve.cli.views import reproduction

    with output.progress(lines=True) as on_stage:
        explanation = zs.explain(
            model, source, compute=compute, classes=classes, templates=templates, work=work, ground_truth=ground_truth,
            sample=sample, seed=seed, on_stage=on_stage,
        )  # fmt: skip
    reproduction.print_explanation(explanation, form)
    if explanation.n_skipped:
        output.note(f"{explanation.n_skipped} images of the sample cannot be read and are not scored")
