"""``zsretrieve fewshot curve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.commands.probe import REGULARISATION, AllowFewer, LabelledSource, Mix
from zsretrieve.cli.groups import OptionGroup, grouped
from zsretrieve.cli.lazy import Command
from zsretrieve.cli.lazy import Group as Commands
from zsretrieve.cli.output import OutputFormat
from zsretrieve.cli.views import prototypes as views
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.shots import CurveSettings

app = typer.Typer(
    name="fewshot", cls=Commands, no_args_is_help=True, help="See what a few labelled images per class are worth."
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


def _settings(
    *,
    shots: str,
    seeds: int,
    seed: int,
    held_out: float,
    mix: float | None,
    allow_fewer: bool,
    **regularisation: Any,
) -> CurveSettings:
    try:
        numbers = tuple(int(part) for part in shots.split(","))
    except ValueError:
        raise UsageError(f"'{shots}' is not a comma-separated list of numbers", hint="Give --shots 0,1,2,4.") from None
    drawn = tuple(range(seed, seed + seeds))
    return CurveSettings(numbers, drawn, held_out, mix, REGULARISATION.make(**regularisation), allow_fewer)


SETTINGS = OptionGroup(
    _settings,
    {
        "shots": (_Numbers, "0,1,2,4,8,16"),
        "seeds": (_Seeds, 3),
        "seed": (_Seed, 0),
        "held_out": (_HeldOut, 0.5),
        "mix": (Mix, None),
        **REGULARISATION.options,
        "allow_fewer": (AllowFewer, False),
    },
)


@app.command("curve", cls=Command)
@grouped
def curve(
    context: typer.Context,
    labelled: LabelledSource,
    settings: Annotated[CurveSettings, SETTINGS],
    reading: options.ReadImages,
    compute: options.ComputeImages,
    prototypes: Annotated[
        Path,
        typer.Option("--prototypes", "-p", help="The zero-shot index: prototypes from text, of the same classes."),
    ],
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
    """Compare zero-shot, multi-shot and a probe by the number of labelled images per class.

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
