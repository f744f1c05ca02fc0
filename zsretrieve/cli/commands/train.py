"""``zsretrieve train``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import OptionGroup, grouped
from zsretrieve.cli.output import ReportFormat
from zsretrieve.cli.views import training as views
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.model_training import Loss, TrainingSettings, Tune

if TYPE_CHECKING:
    from zsretrieve.images.sources import Source

_training = functools.partial(typer.Option, rich_help_panel="Training")

_Tune = Annotated[Tune, _training("--tune", help="The text tower, or a linear map on its vectors.")]
_Loss = Annotated[
    Loss | None,
    _training("--loss", show_default="the model's own", help="Softmax over a batch, or a sigmoid for each pair."),
]
_Epochs = Annotated[
    int | None, _training("--epochs", min=1, metavar="N", show_default="10", help="Passes over the images.")
]
_Steps = Annotated[int | None, _training("--steps", min=1, metavar="N", help="Batches in all, in place of --epochs.")]
_BatchSize = Annotated[
    int, _training("--batch-size", min=2, metavar="N", help="Images per batch, each with one of its captions.")
]
_Lr = Annotated[
    float | None,
    _training(
        "--lr", metavar="NUMBER", show_default="0.0001; from scratch 0.002; linear 0.001", help="Peak learning rate."
    ),
]
_HeldOut = Annotated[
    float, _training("--held-out", metavar="SHARE", help="Share of the images to measure on and never train on.")
]
_Patience = Annotated[
    int | None,
    _training("--patience", min=1, metavar="N", help="Stop after N of the 20 measurements in a row without progress."),
]
_FromScratch = Annotated[bool, _training("--from-scratch", help="Begin with random weights of the text tower.")]
_Seed = Annotated[int, _training("--seed", min=0, help="The same seed draws the same batches and weights.")]

SETTINGS = OptionGroup(
    TrainingSettings,
    {
        "tune": (_Tune, Tune.TEXT),
        "loss": (_Loss, None),
        "epochs": (_Epochs, None),
        "steps": (_Steps, None),
        "batch_size": (_BatchSize, 256),
        "lr": (_Lr, None),
        "held_out": (_HeldOut, 0.1),
        "patience": (_Patience, None),
        "from_scratch": (_FromScratch, False),
        "seed": (_Seed, 0),
    },
)
_Compute = Annotated[options.Compute, options.COMPUTE.without("compile", "batch_size", "engine")]


@grouped
def train(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the model to.")],
    from_gallery: Annotated[
        Path, typer.Option("--from-gallery", metavar="GALLERY", help="The gallery whose stored vectors to train on.")
    ],
    settings: Annotated[TrainingSettings, SETTINGS],
    compute: _Compute,
    columns: Annotated[dict[str, str | None], options.TEXT_COLUMNS],
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
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            show_default="the gallery's",
            help="The model to begin with; it must have the image tower of the gallery.",
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
    """Train the text side of a model on a gallery with captions or labels, without encoding an image.

    The image tower stays as it is, so the new model searches and classifies the same gallery, and others of the same
    model. Run the command again to continue after an interruption.

    Example: zsretrieve train my-model --from-gallery indexes/photos --captions captions.csv --report report.html
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    given: str | Source | None = captions
    if any(columns.values()):
        if captions is None:
            raise UsageError("--column, --image-column and --split need captions", hint="Add --captions FILE.")
        given = zs.open_texts(captions, **columns)
    with output.progress() as on_stage:
        trained = zs.train_from_gallery(
            out, from_gallery, given, zs.Model(model, compute), classes=classes, templates=templates,
            settings=settings, where=where, report=report, force=force, on_stage=on_stage,
        )  # fmt: skip
    views.print_trained(trained, form)
    views.note_trained(trained, from_gallery, report)
    output.report_skipped(trained.skipped, skipped)
