"""``zsretrieve train``."""

from __future__ import annotations

import functools
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import OptionGroup, grouped
from zsretrieve.cli.output import ReportFormat
from zsretrieve.cli.parameters import option
from zsretrieve.cli.views import training as views
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.model_training import ImageTrainingSettings, Lock, Loss, Schedule, TrainingSettings, Tune
from zsretrieve.domain.settings import Reading

if TYPE_CHECKING:
    from zsretrieve.images.sources import Source

_training = functools.partial(typer.Option, rich_help_panel="Training")
_of_images = functools.partial(typer.Option, rich_help_panel="Training on images")

_Loss = Annotated[
    Loss | None,
    _training("--loss", show_default="the model's own", help="Softmax over a batch, or a sigmoid for each pair."),
]
_Epochs = Annotated[
    int | None, _training("--epochs", min=1, metavar="N", show_default="10", help="Passes over the images.")
]
_Steps = Annotated[int | None, _training("--steps", min=1, metavar="N", help="Batches in all, in place of --epochs.")]
_BatchSize = Annotated[
    int | None,
    _training(
        "--batch-size",
        min=2,
        metavar="N",
        show_default="256",
        help="Images per batch, of all processes together, each with one of its captions.",
    ),
]
_Lr = Annotated[
    float | None,
    _training(
        "--lr",
        metavar="NUMBER",
        show_default="0.00001; from scratch 0.0005. From a gallery 0.0001; from scratch 0.002; lora and linear 0.001",
        help="Peak learning rate.",
    ),
]
_HeldOut = Annotated[
    float | None,
    _training(
        "--held-out", metavar="SHARE", show_default="0.1", help="Share of the images to measure on and never train on."
    ),
]
_Patience = Annotated[
    int | None,
    _training("--patience", min=1, metavar="N", help="Stop after N of the 20 measurements in a row without progress."),
]
_FromScratch = Annotated[bool | None, _training("--from-scratch", help="Begin with random weights of what is trained.")]
_Seed = Annotated[
    int | None, _training("--seed", min=0, show_default="0", help="The same seed draws the same batches and weights.")
]
_Tune = Annotated[
    Tune | None,
    _training(
        "--tune",
        show_default="text",
        help="From a gallery: the text tower, low-rank additions to it, or a linear map on its vectors.",
    ),
]
_Lock = Annotated[
    Lock | None, _of_images("--lock", help="The tower that stays as it is; locking the image tower is LiT.")
]
_WeightDecay = Annotated[
    float | None, _of_images("--weight-decay", metavar="NUMBER", show_default="0.2", help="Of AdamW.")
]
_Crop = Annotated[
    float | None,
    _of_images(
        "--crop", metavar="SHARE", show_default="0.9", help="The least part of an image that a random crop shows."
    ),
]
_Checkpointing = Annotated[
    bool | None, _of_images("--checkpointing", help="Take less memory, and about a third more time.")
]
_Workers = Annotated[
    int | None, _of_images("--workers", min=0, metavar="N", show_default="2", help="Processes that decode images.")
]
_Processes = Annotated[
    int | None,
    _of_images("--processes", min=1, metavar="N", show_default="one per device", help="That train here together."),
]

SETTINGS = OptionGroup(
    dict,
    {
        "loss": (_Loss, None),
        "epochs": (_Epochs, None),
        "steps": (_Steps, None),
        "batch_size": (_BatchSize, None),
        "lr": (_Lr, None),
        "held_out": (_HeldOut, None),
        "patience": (_Patience, None),
        "from_scratch": (_FromScratch, None),
        "seed": (_Seed, None),
        "tune": (_Tune, None),
        "lock": (_Lock, None),
        "weight_decay": (_WeightDecay, None),
        "crop": (_Crop, None),
        "checkpointing": (_Checkpointing, None),
        "workers": (_Workers, None),
        "processes": (_Processes, None),
    },
)
_Compute = Annotated[options.Compute, options.COMPUTE.without("compile", "batch_size", "engine")]


@grouped
def train(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[SOURCE] OUT",
            help="Images, as for index gallery, and a folder to write the model to; with --from-gallery only OUT.",
        ),
    ],
    settings: Annotated[dict[str, Any], SETTINGS],
    compute: _Compute,
    columns: Annotated[dict[str, str | None], options.TEXT_COLUMNS],
    reading: options.ReadImages,
    from_gallery: Annotated[
        Path | None,
        typer.Option(
            "--from-gallery",
            metavar="GALLERY",
            help="Train the text side alone, on the stored vectors of a gallery in place of images.",
        ),
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(
            "--captions",
            metavar="FILE",
            show_default="the labels in templates",
            help="Captions that name their images: CSV, JSON, JSON lines, Parquet or WebDataset.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        options.classes_option(
            "Classes of the labels: a bundled set, a file or a list (default: the labels themselves)."
        ),
    ] = None,
    templates: options.Templates = None,
    ground_truth: options.GroundTruth = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            show_default="the gallery's",
            help="The model to begin with, or an architecture such as ViT-B-32, for random weights. From a gallery it "
            "must have the gallery's image tower.",
        ),
    ] = None,
    where: options.Where = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a page with plots (HTML), renewed while it trains."),
    ] = None,
    skipped: options.SkippedFile = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing model.")] = False,
) -> None:
    """Train a model on images with captions or labels; or its text side alone on a gallery's stored vectors.

    A model that was trained with a locked image tower, or from a gallery, searches the galleries of the model that it
    was made from. Run the command again to continue after an interruption.

    Example: zsretrieve train photos my-model --captions captions.csv --model small --report report.html
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    *source, out = places
    if len(source) != (from_gallery is None):
        wanted = "a source of images and a folder" if from_gallery is None else "one folder, beside the gallery"
        raise UsageError(f"train takes {wanted}, got {len(places)} of them", hint="See zsretrieve train --help.")
    given: str | Source | None = captions
    if any(columns.values()):
        if captions is None:
            raise UsageError("--column, --image-column and --split need captions", hint="Add --captions FILE.")
        given = zs.open_texts(captions, **columns)
    with output.progress() as on_stage:
        if from_gallery is None:
            if where is not None:
                raise UsageError("--where is for the images of a gallery", hint="Leave it out.")
            trained = zs.train(
                source[0],
                out,
                zs.Model.to_train(model, compute),
                given,
                classes=classes,
                templates=templates,
                reading=reading,
                ground_truth=ground_truth,
                settings=_made(ImageTrainingSettings, settings),
                report=report,
                force=force,
                on_stage=on_stage,
            )
        else:
            if reading != Reading() or ground_truth is not None:
                raise UsageError("a gallery has its vectors and labels", hint="Leave out how images are read.")
            trained = zs.train_from_gallery(
                out,
                from_gallery,
                given,
                zs.Model(model, compute),
                classes=classes,
                templates=templates,
                settings=_made(TrainingSettings, settings),
                where=where,
                report=report,
                force=force,
                on_stage=on_stage,
            )
    views.print_trained(trained, form)
    views.note_trained(trained, from_gallery, report)
    output.report_skipped(trained.skipped, skipped)


def _made(kind: type[Schedule], options_given: dict[str, Any]) -> Any:
    """The settings of one way to train. Raises UsageError if an option of the other is given."""
    given = {name: value for name, value in options_given.items() if value is not None}
    for name in given.keys() - {one.name for one in fields(kind)}:
        way = "on images" if kind is TrainingSettings else "from a gallery"
        raise UsageError(f"{option(name)} is for training {way}", hint="Leave it out.")
    return kind(**given)
