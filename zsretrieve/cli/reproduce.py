"""``zsretrieve reproduce``: the published tables."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from zsretrieve.cli import options
from zsretrieve.cli.later import Group, Later

DATASET_DEFAULT = "imagenet1k"
WORK_DEFAULT = Path("indexes/reproduce")
_RUN = "run"
_HELP = frozenset({"-h", "--help"})


class TableFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


class _Commands(Group):
    later = (
        Later(
            _RUN, "reproduce:run",
            "Run every model of a published table on your images, and print ours beside the published figures.",
        ),
        Later(
            "explain", "reproduce:explain",
            "Test the usual causes of a missed figure one by one on a sample, and say how much each moves it.",
        ),
    )  # fmt: skip

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """``reproduce SOURCE`` is ``reproduce run SOURCE``, and ``reproduce --plan`` is ``reproduce run --plan``."""
        if args and args[0] not in self.commands and _HELP.isdisjoint(args[:1]):
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="reproduce",
    cls=_Commands,
    no_args_is_help=True,
    help="Run the published tables on your images, and say why a figure is missed.\n\n"
    "`zsretrieve reproduce imagenet/val` is short for `zsretrieve reproduce run imagenet/val`.",
)


def run(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="The labelled validation images: a folder (one folder per class), archive, or another source. With "
            "--plan it may be left out.",
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Say what would be fetched, how long it would take here and what disk it needs; do nothing."
        ),
    ] = False,
    dataset: Annotated[
        str, typer.Option("--dataset", help="The table: imagenet1k, imagenette or cifar10 (its binary version too).")
    ] = DATASET_DEFAULT,
    published: Annotated[
        Path | None, typer.Option("--published", help="A table of your own (TOML) in place of --dataset.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option("--models", help='Some of the table\'s models, "a,b"; none for those of --model alone.'),
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="A further model, without published figures.")
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="Run torchvision's supervised ResNet-50 too.")
    ] = True,
    work: Annotated[
        Path, typer.Option("--work", help="Folder that keeps vectors and counts; the same command goes on from it.")
    ] = WORK_DEFAULT,
    ground_truth: options.GroundTruth = None,
    form: Annotated[TableFormat, typer.Option("--format", help="How to print.")] = TableFormat.TABLE,
    skipped: options.SkippedFile = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.FP32,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
) -> None:
    """Run every model of a published table on your images, and print ours beside the published figures.

    Figures are Prec@1 in percent with 95 % intervals, differences in points. Images are read as the papers did:
    decoded in full, EXIF orientation ignored. An interrupted run goes on by the same command and ends with the same
    figures. Models that cannot be had are listed with the reason, and the others go on.

    Example: zsretrieve reproduce run imagenet/val --format markdown
    """
    from zsretrieve import api
    from zsretrieve.cli import output, reproduced

    verbosity = options.verbosity(context)
    options.check_skipped(skipped)
    if source is None and not plan:
        raise typer.BadParameter("name the labelled images, or ask for the --plan", param_hint="SOURCE")
    if precision is options.Precision.INT8:
        raise typer.BadParameter("int8 is not what the papers ran; use fp32 or bf16", param_hint="--precision")
    wanted = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    table = api.published_table(published or dataset, models=wanted, extra=extra or (), baseline=baseline)
    if plan:
        with output.working(verbosity, "measuring this machine"):
            planned = api.plan_reproduction(
                source, table, work=work, ground_truth=ground_truth, device=device, precision=precision.value
            )
        reproduced.print_plan(planned, form)
        return
    with output.stages(verbosity) as on_stage:
        done = api.reproduce(
            str(source), table, work=work, ground_truth=ground_truth, device=device, precision=precision.value,
            engine=engine.value, batch_size=batch_size, on_stage=on_stage,
        )  # fmt: skip
    reproduced.print_table(done, form)
    for line in reproduced.notes(done):
        output.note(verbosity, line)
    output.report_skipped(verbosity, done.skipped, skipped)


def explain(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="ARCH/TAG, hf-hub:org/repo, local-dir:PATH or demo.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Labelled images, as for the table.")],
    classes: Annotated[
        str, typer.Option("--classes", "-c", help='A bundled set, a file, or a comma list such as "cat,dog".')
    ] = DATASET_DEFAULT,
    templates: Annotated[
        str, typer.Option("--templates", "-t", help="The baseline's: a bundled set, a file, or one template.")
    ] = "openai80",
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Images to test on, as equally from all classes as there are.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds take equal samples.")] = 0,
    ground_truth: options.GroundTruth = None,
    form: Annotated[TableFormat, typer.Option("--format", help="How to print.")] = TableFormat.TABLE,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.FP32,
    batch_size: options.BatchSize = None,
) -> None:
    """Test the usual causes of a missed figure one by one on a sample, and say how much each moves it.

    One thing at a time is changed against the papers' way: squash or crop, interpolation, antialiasing, activation,
    case and punctuation of prompts, padding, templates, duplicate classes, EXIF, fast decoding. Effects are in points
    of Prec@1 on the same images, with 95 % intervals and the p-value of McNemar's exact test. Torch runs the model.

    Example: zsretrieve reproduce explain ViT-B-32/openai imagenet/val --sample 2000
    """
    from zsretrieve import api
    from zsretrieve.cli import output, reproduced

    if precision is options.Precision.INT8:
        raise typer.BadParameter("torch runs the model, in fp32 or bf16", param_hint="--precision")
    with output.stages(options.verbosity(context)) as on_stage:
        told = api.explain(
            model, source, classes=classes, templates=templates, ground_truth=ground_truth, sample=sample, seed=seed,
            device=device, precision=precision.value, batch_size=batch_size, on_stage=on_stage,
        )  # fmt: skip
    reproduced.print_explanation(told, form)
