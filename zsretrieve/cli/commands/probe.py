"""``zsretrieve probe``, and the options of all commands that learn from labelled images."""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import OptionGroup, grouped
from zsretrieve.cli.output import ReportFormat
from zsretrieve.cli.views import prototypes as views
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.shots import Regularisation, Shots


class ChosenBy(StrEnum):
    LOSS = "loss"
    ACCURACY = "accuracy"


for_images = functools.partial(typer.Option, rich_help_panel="Labelled images")

LabelledSource = Annotated[
    str,
    typer.Argument(
        metavar="LABELLED",
        help="A labelled gallery, or a labelled folder (one folder per class), archive, hf:DATASET:SPLIT or URL.",
    ),
]
AllowFewer = Annotated[bool, for_images("--allow-fewer", help="Use all images of a class that has fewer than --shots.")]
Mix = Annotated[
    float | None,
    for_images(
        "--mix", min=0, max=1, metavar="W", help="Mix in text prototypes: W of text, 1 - W of images (1 is text only)."
    ),
]
_PerClass = Annotated[
    int | None,
    for_images("--shots", min=1, metavar="N", help="Different images per class, drawn at random (default: all)."),
]
_Seed = Annotated[int, for_images("--seed", min=0, help="The same seed draws the same images.")]
_C = Annotated[
    float | None,
    typer.Option(
        "--c", metavar="NUMBER", help="Inverse strength of the L2 regularisation (default: swept from 1e-6 to 1e6)."
    ),
]
Validation = Annotated[
    float | None,
    typer.Option(
        "--validation", metavar="SHARE", help="Share of each class's images held back to choose by (default: 0.2)."
    ),
]


ChooseBy = Annotated[
    ChosenBy | None,
    typer.Option(
        "--choose-by",
        metavar="MEASURE",
        show_default="loss",
        help="What is best on these: the loss, for probabilities that can be believed, or accuracy, as in the papers.",
    ),
]


def _shots(*, shots: int | None, seed: int, allow_fewer: bool) -> Shots:
    return Shots(shots, seed, allow_fewer)


def regularisation_of(
    *, c: float | None, validation: float | None, choose_by: ChosenBy | None = None
) -> Regularisation:
    for option, value in (("--validation", validation), ("--choose-by", choose_by)):
        if c is not None and value is not None:
            raise UsageError(f"{option} has no effect with --c", hint="Leave one of them out.")
    return Regularisation(c, 0.2 if validation is None else validation, (choose_by or ChosenBy.LOSS).value)


SHOTS = OptionGroup(_shots, {"shots": (_PerClass, None), "seed": (_Seed, 0), "allow_fewer": (AllowFewer, False)})
REGULARISATION = OptionGroup(
    regularisation_of, {"c": (_C, None), "validation": (Validation, None), "choose_by": (ChooseBy, None)}
)


@grouped
def probe(
    labelled: LabelledSource,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    shots: Annotated[Shots, SHOTS],
    regularisation: Annotated[Regularisation, REGULARISATION],
    reading: options.ReadImages,
    compute: options.ComputeImages,
    classes: Annotated[
        str | None,
        options.classes_option("A set, a file or a comma-separated list (default: the labels)."),
    ] = None,
    model: options.Model = None,
    ground_truth: options.GroundTruth = None,
    where: options.Where = None,
    skipped: options.SkippedFile = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print the sweep.")] = ReportFormat.TABLE,
    force: options.Force = False,
) -> None:
    """Train a linear probe on labelled images: an index that classify and evaluate open like any other.

    The probe is a multinomial logistic regression on the frozen vectors. Its regularisation is chosen on images held
    back from training; accuracies are those on these images.

    Example: zsretrieve probe indexes/photos indexes/photos-probe --shots 16 --seed 1
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    with output.progress(lines=True) as on_stage:
        trained = zs.train_probe(
            labelled, out, zs.Model(model, compute, on_stage=on_stage), shots=shots, regularisation=regularisation,
            classes=classes, reading=reading, ground_truth=ground_truth, where=where, force=force, on_stage=on_stage,
        )  # fmt: skip
    views.print_probe(trained, form)
    views.note_training(trained, out)
    if not trained.converged:
        output.note(f"the fit with C = {trained.sweep.c:.4g} did not converge; try a lower --c")
    output.report_skipped(trained.skipped, skipped)
