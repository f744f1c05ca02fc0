"""``zsretrieve fewshot``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.commands.probe import (
    REGULARISATION,
    SHOTS,
    AllowFewer,
    ChooseBy,
    ChosenBy,
    LabelledSource,
    Mix,
    Validation,
)
from zsretrieve.cli.groups import OptionGroup, grouped
from zsretrieve.cli.lazy import Command
from zsretrieve.cli.lazy import Group as Commands
from zsretrieve.cli.output import OutputFormat, ReportFormat
from zsretrieve.cli.views import prototypes as views
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.shots import AdapterSettings, CurveSettings, Shots
from zsretrieve.domain.training import TrainingMethod

app = typer.Typer(
    name="fewshot",
    cls=Commands,
    no_args_is_help=True,
    help="See what a few labelled images per class are worth, and adapt text prototypes by them.",
)


class Method(StrEnum):
    TIP = TrainingMethod.TIP.value
    TIP_F = TrainingMethod.TIP_F.value
    LP = TrainingMethod.LP.value


_TextPrototypes = Annotated[
    Path,
    typer.Option("--prototypes", "-p", help="The zero-shot index: prototypes from text, of the same classes."),
]
_Method = Annotated[
    Method,
    typer.Option(
        "--method",
        help="tip: images beside the text, without training. tip-f: their vectors are learnt. lp++: a linear probe "
        "whose weights blend images and text.",
    ),
]
_Alpha = Annotated[
    float | None,
    typer.Option("--alpha", min=0, max=1e4, metavar="NUMBER", help="Weight of the images (default: searched)."),
]
_Beta = Annotated[
    float | None,
    typer.Option(
        "--beta",
        min=1e-4,
        max=1e4,
        metavar="NUMBER",
        help="How sharply an image's weight falls with its distance (default: searched).",
    ),
]


def _adapter(
    *,
    method: Method,
    alpha: float | None,
    beta: float | None,
    validation: float | None,
    choose_by: ChosenBy | None,
) -> AdapterSettings:
    chosen = alpha is None or beta is None
    for option, value in (("--validation", validation), ("--choose-by", choose_by)):
        if value is not None and (method is Method.LP or not chosen):
            why = "on lp++" if method is Method.LP else "with --alpha and --beta"
            raise UsageError(f"{option} has no effect {why}", hint="Leave it out.")
    share = 0.2 if validation is None else validation
    return AdapterSettings(method.value, alpha, beta, share, (choose_by or ChosenBy.LOSS).value)


ADAPTER = OptionGroup(
    _adapter,
    {
        "method": (_Method, Method.TIP),
        "alpha": (_Alpha, None),
        "beta": (_Beta, None),
        "validation": (Validation, None),
        "choose_by": (ChooseBy, None),
    },
)


_Numbers = Annotated[str, typer.Option("--shots", metavar="N,N,...", help="Images per class; 0 is zero-shot.")]
_Seeds = Annotated[int, typer.Option("--seeds", min=1, max=1000, help="How many draws each point is the mean of.")]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="The seed of the first draw.")]
_HeldOut = Annotated[
    float,
    typer.Option(
        "--held-out", metavar="SHARE", help="Without --test, the share of each class to score and never train on."
    ),
]
_Adapters = Annotated[
    str | None,
    typer.Option("--adapters", metavar="NAME,...", help="Also score adapters of the text: tip, tip-f, lp++."),
]


def _settings(
    *,
    shots: str,
    seeds: int,
    seed: int,
    held_out: float,
    mix: float | None,
    allow_fewer: bool,
    adapters: str | None,
    **regularisation: Any,
) -> CurveSettings:
    try:
        numbers = tuple(int(part) for part in shots.split(","))
    except ValueError:
        raise UsageError(f"'{shots}' is not a comma-separated list of numbers", hint="Give --shots 0,1,2,4.") from None
    drawn = tuple(range(seed, seed + seeds))
    named = tuple(dict.fromkeys(part.strip() for part in adapters.split(","))) if adapters else ()
    return CurveSettings(numbers, drawn, held_out, mix, REGULARISATION.make(**regularisation), allow_fewer, named)


SETTINGS = OptionGroup(
    _settings,
    {
        "shots": (_Numbers, "0,1,2,4,8,16"),
        "seeds": (_Seeds, 3),
        "seed": (_Seed, 0),
        "held_out": (_HeldOut, 0.5),
        "mix": (Mix, None),
        "adapters": (_Adapters, None),
        **REGULARISATION.options,
        "allow_fewer": (AllowFewer, False),
    },
)


@app.command("train", cls=Command)
@grouped
def train(
    labelled: LabelledSource,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    prototypes: _TextPrototypes,
    settings: Annotated[AdapterSettings, ADAPTER],
    shots: Annotated[Shots, SHOTS],
    reading: options.ReadImages,
    compute: options.ComputeImages,
    model: options.ModelOfIndex = None,
    ground_truth: options.GroundTruth = None,
    where: options.Where = None,
    skipped: options.SkippedFile = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print the search.")] = ReportFormat.TABLE,
    force: options.Force = False,
) -> None:
    """Adapt text prototypes by labelled images: an index that classify and evaluate open like any other.

    The weights of tip and tip-f are chosen on images held back from training; accuracies are those on these images.

    Example: zsretrieve fewshot train indexes/photos indexes/photos-tip --prototypes indexes/photos-text --shots 16
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    with output.progress(lines=True) as on_stage:
        trained = zs.train_adapter(
            labelled,
            out,
            prototypes,
            zs.Model(model, compute, on_stage=on_stage),
            shots=shots,
            settings=settings,
            reading=reading,
            ground_truth=ground_truth,
            where=where,
            force=force,
            on_stage=on_stage,
        )
    views.print_adapter(trained, form)
    views.note_training(trained, out)
    output.report_skipped(trained.skipped, skipped)


@app.command("curve", cls=Command)
@grouped
def curve(
    context: typer.Context,
    labelled: LabelledSource,
    settings: Annotated[CurveSettings, SETTINGS],
    reading: options.ReadImages,
    compute: options.ComputeImages,
    prototypes: _TextPrototypes,
    test: Annotated[
        Path | None,
        typer.Option("--test", help="A labelled gallery to score, without the images that are also in LABELLED."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw the curve here too (.svg; .png and .pdf need the extra report)."),
    ] = None,
    model: options.ModelOfIndex = None,
    ground_truth: options.GroundTruth = None,
    where: options.Where = None,
    skipped: options.SkippedFile = None,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
) -> None:
    """Compare zero-shot, multi-shot, a probe and adapters by the number of labelled images per class.

    All points are scored on the same images, which are never trained on. Prec@1 is the mean over the draws in percent
    (a fraction in json and csv), with its 95 % interval; the spread is the standard deviation over the draws.

    Example: zsretrieve fewshot curve indexes/photos --prototypes indexes/photos-text --shots 0,1,2,4 --plot curve.svg
    """
    import zsretrieve as zs

    if test is not None and options.is_given(context, "held_out"):
        raise UsageError("--held-out has no effect with --test", hint="Leave one of them out.")
    options.check_skipped(skipped)
    if plot is not None:
        zs.check_plot(plot)
    with output.progress(lines=True) as on_stage:
        result = zs.few_shot_curve(
            labelled, prototypes, zs.Model(model, compute, on_stage=on_stage), settings=settings, test=test,
            reading=reading, ground_truth=ground_truth, where=where, on_stage=on_stage,
        )  # fmt: skip
    views.print_curve(result, form)
    if plot is not None:
        zs.plot_curve(result, plot)
        output.note(f"plot -> {plot}")
    views.note_curve(result)
    output.report_skipped(result.skipped, skipped)
