"""``zsretrieve index prototypes``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.commands.probe import SHOTS, Mix, for_images
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.views import prototypes as views
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.shots import Shots

_FOR_IMAGES = (
    "shots", "seed", "mix", "allow_fewer", "ground_truth", "where", "exif", "strict", "skipped", "max_megapixels",
    "fast_decode", "batch_size",
)  # fmt: skip


_CLASSES = 'A set, a file, or a comma-separated list such as "cat,dog" (default with --from-images: the labels).'
_TEMPLATES = "A bundled set, a file, or one template with {} (default: the set's own, else standard)."
_FROM_IMAGES = "Average images instead: of a labelled gallery, folder, archive, hf:DATASET:SPLIT or URL."


@grouped
def prototypes(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    shots: Annotated[Shots, SHOTS],
    reading: options.ReadImages,
    compute: options.ComputeImages,
    classes: Annotated[str | None, options.classes_option(_CLASSES)] = None,
    templates: Annotated[str | None, typer.Option("--templates", "-t", help=_TEMPLATES)] = None,
    from_images: Annotated[str | None, for_images("--from-images", metavar="LABELLED", help=_FROM_IMAGES)] = None,
    mix: Mix = None,
    scale: options.Scale = None,
    model: options.Model = None,
    ground_truth: options.GroundTruth = None,
    where: options.Where = None,
    skipped: options.SkippedFile = None,
    force: options.Force = False,
) -> None:
    """Build a prototype index: one vector per class, from text prompts, labelled images or both.

    Example: zsretrieve index prototypes indexes/imagenet --classes imagenet1k --templates openai80
    """
    import zsretrieve as zs

    if from_images is None:
        for name in (name for name in _FOR_IMAGES if options.is_given(context, name)):
            option = "no-exif" if name == "exif" else name.replace("_", "-")
            raise UsageError(f"--{option} goes with --from-images", hint=f"Leave --{option} out.")
        if classes is None:
            raise UsageError("there are no classes", hint="Give --classes, or --from-images LABELLED.")
        with output.progress() as on_stage:
            chosen = zs.Model(model, compute, on_stage=on_stage)
            built = zs.build_prototypes(
                out, classes, chosen, templates=templates, scale=scale, force=force, on_stage=on_stage
            )
        for line in built.notes():
            output.note(line)
        prompts = built.prototypes.prompts.prompts
        output.note(f"{len(prompts)} classes, {sum(map(len, prompts))} prompts -> {out}")
        output.note(f"Try next: zsretrieve classify FOLDER --prototypes {shlex.quote(str(out))}")
        return
    options.check_skipped(skipped)
    with output.progress() as on_stage:
        trained = zs.build_image_prototypes(
            out, from_images, zs.Model(model, compute, on_stage=on_stage), shots=shots, classes=classes,
            templates=templates, text_weight=mix, scale=scale, reading=reading, ground_truth=ground_truth, where=where,
            force=force, on_stage=on_stage,
        )  # fmt: skip
    views.note_training(trained, out)
    output.report_skipped(trained.skipped, skipped)
