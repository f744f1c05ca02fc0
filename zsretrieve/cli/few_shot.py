"""``zsretrieve probe``, ``zsretrieve fewshot curve`` and ``zsretrieve index prototypes --from-images``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import options, output, trained
from zsretrieve.cli.later import Command, Group
from zsretrieve.cli.output import OutputFormat, ReportFormat, Verbosity

if TYPE_CHECKING:
    from zsretrieve.ports import Encoder
    from zsretrieve.sources import Source
    from zsretrieve.store.indexes import Gallery

PANEL = "Images"

app = typer.Typer(
    name="fewshot", cls=Group, no_args_is_help=True, help="See what a few labelled images of each class are worth."
)

LabelledSource = Annotated[
    str,
    typer.Argument(
        metavar="LABELLED",
        help="A labelled gallery, of which nothing is encoded; or a labelled folder (one folder per class), archive, "
        "hf:DATASET:SPLIT or URL.",
    ),
]
Shots = Annotated[
    int | None,
    typer.Option(
        "--shots", min=1, rich_help_panel=PANEL, help="Different images of each class, drawn at random. (default: all)"
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, rich_help_panel=PANEL, help="Which are drawn; equal seeds draw equal images."),
]
AllowFewer = Annotated[
    bool,
    typer.Option(
        "--allow-fewer", rich_help_panel=PANEL, help="Take all images of a class that has fewer than asked for."
    ),
]
C = Annotated[
    float | None,
    typer.Option("--c", help="Inverse strength of the L2 regularisation. (default: swept from 1e-6 to 1e6)"),
]
Validation = Annotated[
    float,
    typer.Option("--validation", help="Share of each class's images, between 0 and 1, by which --c is chosen."),
]
ModelOfImages = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", rich_help_panel="Model",
        help=f"Model for images that are no gallery. (default: {options.MODEL_DEFAULT})",
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """The options by which images are found and read."""

    ground_truth: Path | None
    where: str | None
    exif: bool
    strict: bool
    skipped: Path | None
    max_megapixels: float | None
    fast_decode: bool

    def open(self, labelled: str) -> Source | Gallery:
        """The gallery or the source that is named, after checking that the options go with it."""
        options.check_skipped(self.skipped)
        gallery = options.open_gallery_at([labelled], "cpu")
        options.check_where(self.where, gallery)
        options.check_reading(gallery, exif=self.exif, max_megapixels=self.max_megapixels, fast_decode=self.fast_decode)
        if gallery is None:
            return options.open_source([labelled], self.ground_truth)
        if self.ground_truth is not None:
            raise typer.BadParameter("a gallery takes its labels when it is built", param_hint="--ground-truth")
        return gallery

    def arguments(self) -> dict[str, Any]:
        """What the verbs are told of them."""
        return {
            "where": self.where,
            "exif": self.exif,
            "strict": self.strict,
            "max_pixels": options.pixels(self.max_megapixels),
            "fast_decode": self.fast_decode,
        }


@dataclass(frozen=True)
class Loading:
    """The options by which a model is loaded."""

    model: str | None
    device: str
    precision: options.Precision
    engine: options.Engine
    batch_size: int | None = None

    def encoder(
        self, verbosity: Verbosity, found: Source | Gallery, reading: Reading, *, default: str | None = None,
        for_text: bool = False,
    ) -> Encoder | None:  # fmt: skip
        """The model for a source; for a gallery its own, only if texts are to be encoded."""
        from zsretrieve import api
        from zsretrieve.store.indexes import Gallery

        if isinstance(found, Gallery):
            if self.model is not None:
                api.check_model(self.model, found.space)
            if not for_text:
                return None
            name = self.model or found.space.model
            return options.load_encoder(verbosity, name, self.device, self.precision, self.engine)
        return options.load_encoder(
            verbosity, self.model or default or options.MODEL_DEFAULT, self.device, self.precision, self.engine,
            self.batch_size, source=found, exif=reading.exif, max_megapixels=reading.max_megapixels,
            fast_decode=reading.fast_decode,
        )  # fmt: skip


def prototypes_from_images(
    verbosity: Verbosity,
    out: Path,
    labelled: str,
    reading: Reading,
    loading: Loading,
    *,
    shots: int | None,
    seed: int,
    classes: str | None,
    templates: str | None,
    text_weight: float | None,
    allow_fewer: bool,
    force: bool,
) -> None:
    """``index prototypes OUT --from-images LABELLED``."""
    from zsretrieve import api

    if templates is not None and text_weight is None:
        raise typer.BadParameter("images need no templates, unless text is mixed in by --mix", param_hint="--templates")
    api.check_output(out, force=force)
    found = reading.open(labelled)
    fill = text_weight is not None
    prompts = api.few_shot_classes(found, classes, templates, where=reading.where, prompted=fill)
    api.check_shots(found, prompts, shots, allow_fewer=allow_fewer, fill=fill, where=reading.where)
    encoder = loading.encoder(verbosity, found, reading, for_text=fill)
    with output.progress(verbosity, "encoding images") as on_progress:
        made = api.build_image_prototypes(
            out, found, encoder, shots=shots, seed=seed, classes=prompts, text_weight=text_weight,
            allow_fewer=allow_fewer, force=force, on_progress=on_progress, **reading.arguments(),
        )  # fmt: skip
    trained.tell_of_images(verbosity, made, shots)
    cut = made.prototypes.manifest.cut_prompts
    if cut:
        output.note(verbosity, f"prompts cut, since they are longer than the model's tokens: {cut}")
    output.report_skipped(verbosity, made.skipped, reading.skipped)
    output.note(verbosity, f"{len(made.prototypes.vectors)} classes, {made.training.n_images} images -> {out}")


def probe(
    context: typer.Context,
    labelled: LabelledSource,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    shots: Shots = None,
    seed: Seed = 0,
    classes: Annotated[
        str | None,
        typer.Option("--classes", "-c", help="A bundled set, a file or a comma list. (default: the labels there are)"),
    ] = None,
    c: C = None,
    validation: Validation = 0.2,
    allow_fewer: AllowFewer = False,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print the sweep.")] = ReportFormat.TABLE,
    force: options.Force = False,
    ground_truth: options.GroundTruth = None,
    where: options.Where = None,
    exif: options.Exif = True,
    strict: options.Strict = False,
    skipped: options.SkippedFile = None,
    max_megapixels: options.MaxMegapixels = None,
    fast_decode: options.FastDecode = False,
    model: ModelOfImages = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
) -> None:
    """Train a linear probe on labelled images: an index that classify and evaluate open like any other.

    It is multinomial logistic regression on the frozen vectors. Its regularisation is chosen on images held back from
    training; accuracies are fractions of these.

    Example: zsretrieve probe indexes/photos indexes/photos-probe --shots 16 --seed 1
    """
    from zsretrieve import api
    from zsretrieve.verbs.probing import check_probe

    verbosity = options.verbosity(context)
    _check_validation(context, c)
    reading = Reading(ground_truth, where, exif, strict, skipped, max_megapixels, fast_decode)
    loading = Loading(model, device, precision, engine, batch_size)
    api.check_output(out, force=force)
    found = reading.open(labelled)
    prompts = api.few_shot_classes(found, classes, where=where)
    api.check_shots(found, prompts, shots, allow_fewer=allow_fewer, where=where)
    check_probe(len(prompts.class_names), c, validation)
    encoder = loading.encoder(verbosity, found, reading)
    with output.stages(verbosity) as on_stage:
        fitted = api.train_probe(
            found, out, encoder, shots=shots, seed=seed, classes=prompts, c=c, validation=validation,
            allow_fewer=allow_fewer, force=force,
            on_progress=lambda done, total: on_stage("encoding images", done, total),
            on_step=lambda done, total: on_stage("choosing the regularisation", done, total),
            **reading.arguments(),
        )  # fmt: skip
    if form is ReportFormat.JSON:
        output.write_json(trained.probe_as_json(fitted))
    else:
        trained.show_probe(fitted)
    trained.tell_of_images(verbosity, fitted.made, shots)
    if not fitted.converged:
        output.note(verbosity, f"the fit with C = {fitted.sweep.c:.4g} did not converge; a lower --c does sooner")
    output.report_skipped(verbosity, fitted.made.skipped, skipped)
    made = fitted.made
    output.note(verbosity, f"{len(made.prototypes.vectors)} classes, {made.training.n_images} images -> {out}")


@app.command("curve", cls=Command)
def curve(
    context: typer.Context,
    labelled: LabelledSource,
    prototypes: Annotated[
        Path, typer.Option("--prototypes", "-p", help="The zero-shot index: prototypes of text, of the same classes.")
    ],
    test: Annotated[
        Path | None,
        typer.Option("--test", help="A labelled gallery to score; images that are among LABELLED are left out of it."),
    ] = None,
    held_out: Annotated[
        float,
        typer.Option("--held-out", help="Without --test, the share of each class that is scored and never trained on."),
    ] = 0.5,
    shots: Annotated[
        str, typer.Option("--shots", help="Images of each class, several numbers; 0 is zero-shot.")
    ] = "0,1,2,4,8,16",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many draws each point is the mean of.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the first draw.")] = 0,
    mix: Annotated[
        float | None,
        typer.Option(
            "--mix", min=0, max=1, help="Also mix: this weight of text, the rest of images (1 is text alone)."
        ),
    ] = None,
    c: C = None,
    validation: Validation = 0.2,
    allow_fewer: AllowFewer = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Also draw the curve here (.png, .svg, .pdf; needs the extra report).")
    ] = None,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
    ground_truth: options.GroundTruth = None,
    where: options.Where = None,
    exif: options.Exif = True,
    strict: options.Strict = False,
    skipped: options.SkippedFile = None,
    max_megapixels: options.MaxMegapixels = None,
    fast_decode: options.FastDecode = False,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
) -> None:
    """Compare zero-shot, multi-shot and a probe by the number of labelled images of each class.

    All points are scored on the same images, which train none of them. Prec@1 is the mean over the draws, in per cent
    (in programs' formats a fraction), with its 95 % interval; the spread is the standard deviation over the draws.

    Example: zsretrieve fewshot curve indexes/photos --prototypes indexes/photos-text --shots 0,1,2,4 --plot curve.png
    """
    from zsretrieve import api

    verbosity = options.verbosity(context)
    numbers = _numbers(shots)
    _check_validation(context, c)
    if test is not None and options.given(context, "held_out"):
        raise typer.BadParameter("with --test nothing is held out of the labelled images", param_hint="--held-out")
    reading = Reading(ground_truth, where, exif, strict, skipped, max_megapixels, fast_decode)
    loading = Loading(model, device, precision, engine, batch_size)
    if plot is not None:
        api.check_plot(plot)
    found = reading.open(labelled)
    text = api.open_prototypes(prototypes, device="cpu")
    if model is not None:
        api.check_model(model, text.space)
    if max(numbers):
        api.check_shots(found, text.prompts, max(numbers), allow_fewer=allow_fewer, where=where)
    encoder = loading.encoder(verbosity, found, reading, default=text.space.model)
    with output.stages(verbosity) as on_stage:
        result = api.few_shot_curve(
            found, text, encoder, test=test, held_out=held_out, shots=numbers, seeds=seeds, first_seed=seed,
            text_weight=mix, c=c, validation=validation, allow_fewer=allow_fewer,
            on_progress=lambda done, total: on_stage("encoding images", done, total),
            on_run=lambda done, total: on_stage("training on drawn images", done, total),
            **reading.arguments(),
        )  # fmt: skip
    if form is OutputFormat.TABLE:
        trained.show_curve(result)
    else:
        flat = form is OutputFormat.CSV
        output.write_rows([trained.point_of(result, point, flat=flat) for point in result.points], form)
    if plot is not None:
        api.plot_curve(result, plot)
        output.note(verbosity, f"plot -> {plot}")
    trained.tell_of_curve(verbosity, result)
    output.report_skipped(verbosity, result.skipped, skipped)


def _check_validation(context: typer.Context, c: float | None) -> None:
    if c is not None and options.given(context, "validation"):
        raise typer.BadParameter("with --c there is nothing to choose by it", param_hint="--validation")


def _numbers(shots: str) -> list[int]:
    try:
        numbers = [int(part) for part in shots.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0:
        raise typer.BadParameter("give numbers from 0 on, such as 0,1,2,4", param_hint="--shots")
    return numbers
