"""``zsretrieve index``: build and inspect indexes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import few_shot, keep, options, output
from zsretrieve.cli.later import Group, Later
from zsretrieve.cli.output import ReportFormat

if TYPE_CHECKING:
    from zsretrieve.records import Encoding, Training


class _Commands(Group):
    later = (
        Later(
            "prototypes", "index:prototypes",
            "Build a prototype index: one vector per class, from text prompts, labelled images or both.",
        ),
        Later(
            "gallery", "index:gallery",
            "Encode images into a gallery index, for search and for classification without encoding again.",
        ),
        Later(
            "info", "index:info",
            "Show the passport of an index: kind, model, counts, files, what was skipped.",
        ),
        Later(
            "add", "keep:add",
            "Encode what is new or changed in a source into a gallery; nothing else is encoded.",
        ),
        Later(
            "sync", "keep:sync",
            "Bring a gallery to the present state of the folders it was made from: add, change, move and remove.",
        ),
        Later(
            "remove", "keep:remove",
            "Take images out of a gallery by path, folder, glob or condition; the files themselves stay.",
        ),
        Later(
            "compact", "keep:compact",
            "Write a gallery anew as one segment, without what was removed or replaced. Ids stay.",
        ),
        Later(
            "rebuild", "keep:rebuild",
            "Encode all images of a gallery again, with another model, beside the old gallery; then swap. Ids stay.",
        ),
        Later(
            "duplicates", "duplicates:duplicates",
            "List images that a gallery holds more than once, as equal files or as near vectors.",
        ),
        Later(
            "verify", "mend:verify",
            "Check every digest, count, norm and id of an index; exit code 1 if anything is wrong.",
        ),
        Later(
            "repair", "mend:repair",
            "Mend a damaged index: make again what is derived, encode again what is damaged, say what is lost.",
        ),
        Later(
            "import", "exchange:import_vectors",
            "Make a gallery of vectors that were computed elsewhere; nothing is encoded.",
        ),
        Later(
            "export", "exchange:export",
            "Write an index for other programs. Only parquet holds all there is, to be imported again bit by bit.",
        ),
    )  # fmt: skip


app = typer.Typer(name="index", cls=_Commands, no_args_is_help=True, help="Build, keep, check and mend indexes.")


def prototypes(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            "-c",
            help='A bundled set, a file, or a comma list such as "cat,dog". (with --from-images default: their labels)',
        ),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option(
            "--templates",
            "-t",
            help="A bundled set, a file, or one template with {}. (default: the set's own, else standard).",
        ),
    ] = None,
    from_images: Annotated[
        str | None,
        typer.Option(
            "--from-images",
            metavar="LABELLED",
            rich_help_panel=few_shot.PANEL,
            help="Make each prototype the mean of images: of a labelled gallery, of which nothing is encoded, or of a "
            "labelled folder, archive, hf:DATASET:SPLIT or URL.",
        ),
    ] = None,
    shots: few_shot.Shots = None,
    seed: few_shot.Seed = 0,
    mix: Annotated[
        float | None,
        typer.Option(
            "--mix",
            min=0,
            max=1,
            rich_help_panel=few_shot.PANEL,
            help="Mix text prototypes in: W of text, 1 - W of images; 1 is text alone.",
            metavar="W",
        ),
    ] = None,
    allow_fewer: few_shot.AllowFewer = False,
    ground_truth: options.GroundTruth = None,
    where: options.Where = None,
    exif: options.Exif = True,
    strict: options.Strict = False,
    skipped: options.SkippedFile = None,
    max_megapixels: options.MaxMegapixels = None,
    fast_decode: options.FastDecode = False,
    model: options.Model = options.MODEL_DEFAULT,
    force: options.Force = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
) -> None:
    """Build a prototype index: one vector per class, from text prompts, labelled images or both.

    Example: zsretrieve index prototypes indexes/imagenet --classes imagenet1k --templates openai80
    """
    from zsretrieve import api

    verbosity = options.verbosity(context)
    if from_images is not None:
        few_shot.prototypes_from_images(
            verbosity, out, from_images,
            few_shot.Reading(ground_truth, where, exif, strict, skipped, max_megapixels, fast_decode),
            few_shot.Loading(
                model if options.given(context, "model") else None, device, precision, engine, batch_size
            ),
            shots=shots, seed=seed, classes=classes, templates=templates, text_weight=mix, allow_fewer=allow_fewer,
            force=force,
        )  # fmt: skip
        return
    for_images = (
        "shots", "seed", "mix", "allow_fewer", "ground_truth", "where", "exif", "strict", "skipped", "max_megapixels",
        "fast_decode", "batch_size",
    )  # fmt: skip
    for name in (name for name in for_images if options.given(context, name)):
        raise typer.BadParameter("it goes with --from-images", param_hint=f"--{name.replace('_', '-')}")
    if classes is None:
        raise typer.BadParameter("give --classes, or --from-images LABELLED", param_hint="--classes")
    prompts = api.read_prompts(classes, templates)
    api.check_output(out, force=force)
    encoder = options.load_encoder(verbosity, model, device, precision, engine)
    with output.progress(verbosity, "encoding prompts") as on_progress:
        built = api.build_prototypes(out, prompts, encoder, force=force, on_progress=on_progress)
    for line in options.prompt_notes(built):
        output.note(verbosity, line)
    count = len(built.prototypes.prompts.class_names)
    output.note(verbosity, f"{count} classes, {_prompt_count(prompts.prompts)} prompts -> {out}")


def gallery(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of images; a .tar, .zip or .parquet file, or several as 'train-{000..012}.tar'; "
            "hf:DATASET:SPLIT; a URL; @FILE with a list of paths, or - for stdin.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    model: options.Model = options.MODEL_DEFAULT,
    ground_truth: options.GroundTruth = None,
    exif: options.Exif = True,
    strict: options.Strict = False,
    skipped: options.SkippedFile = None,
    max_megapixels: options.MaxMegapixels = None,
    fast_decode: options.FastDecode = False,
    force: options.Force = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
    compiled: options.Compile = False,
) -> None:
    """Encode images into a gallery index, for search and for classification without encoding again.

    If it is interrupted, the same command goes on where it stopped.

    Example: zsretrieve index gallery ~/Pictures indexes/pictures
    """
    from zsretrieve import api

    verbosity = options.verbosity(context)
    options.check_skipped(skipped)
    found = options.open_source([source], ground_truth)
    api.check_output(out, force=force)
    begun = api.interrupted_build(out)
    if begun is not None:
        output.note(verbosity, f"an interrupted build is there: {begun.count} images are encoded already")
    encoder = options.load_encoder(
        verbosity, model, device, precision, engine, batch_size, source=found, exif=exif,
        max_megapixels=max_megapixels, fast_decode=fast_decode, compiled=compiled,
    )  # fmt: skip
    with keep.told_if_interrupted(verbosity, out), output.progress(verbosity, "encoding images") as on_progress:
        built = api.build_gallery(
            found, out, encoder, exif=exif, strict=strict, max_pixels=options.pixels(max_megapixels),
            fast_decode=fast_decode, force=force, on_progress=on_progress,
        )  # fmt: skip
    output.report_skipped(verbosity, built.manifest.skipped, skipped)
    output.note(verbosity, f"{len(built.items)} images -> {out}")


def info(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")],
    form: Annotated[
        ReportFormat, typer.Option("--format", help="json prints the whole passport.")
    ] = ReportFormat.TABLE,
) -> None:
    """Show the passport of an index: kind, model, counts, files, what was skipped.

    Example: zsretrieve index info indexes/pictures --format json
    """
    from zsretrieve.store import manifest as passport

    manifest = passport.read(folder)
    if form is ReportFormat.JSON:
        output.write_json(passport.to_json(manifest))
        return
    size = sum(entry.bytes for entry in manifest.files.values())
    space = manifest.space
    rows = {
        "kind": str(manifest.kind),
        "model": space.model,
        "weights": space.weights,
        "vectors": f"{manifest.count} x {manifest.dim}, {manifest.factory}{', with a bias' if manifest.lifted else ''}",
        "preprocessing": f"{space.preprocessing.size[0]} x {space.preprocessing.size[1]}, "
        f"{space.preprocessing.resize_mode}, {space.preprocessing.interpolation}",
        "activation": space.activation,
        "text": f"{space.text.tokenizer}, {space.text.context_length} tokens",
        "computed by": f"{manifest.encoding.engine}, {manifest.encoding.precision}, {manifest.encoding.device}",
        "cosine to fp32": _int8_loss(manifest.encoding),
        "EXIF orientation": "applied" if manifest.encoding.exif else "ignored",
        "decoding": None if manifest.encoding.decoding == "exact" else manifest.encoding.decoding,
        "classes": manifest.classes_source,
        "templates": manifest.templates_source,
        "trained on": _training(manifest.training),
        "duplicate names": ", ".join(manifest.duplicate_names) or None,
        "prompts cut": str(manifest.cut_prompts) if manifest.cut_prompts else None,
        "images from": manifest.root,
        "kept in step with": ", ".join(manifest.origins) or None if manifest.origins != (manifest.root,) else None,
        "skipped": str(len(manifest.skipped)) if manifest.root else None,
        "size": f"{size / 1e6:.1f} MB in {len(manifest.files)} files",
        "segments": f"{len(manifest.segments)}, of {sum(segment.rows for segment in manifest.segments)} rows",
        "written": f"{manifest.created} by zsretrieve {manifest.tool_version}, commit {manifest.generation}",
        "verified": manifest.verified,
    }
    made = output.table("", "")
    made.show_header = False
    for name, value in rows.items():
        if value is not None:
            made.add_row(name, output.cell(value))
    output.show(made, str(folder))


def _int8_loss(encoding: Encoding) -> str | None:
    mean, least = encoding.cosine_to_fp32, encoding.least_cosine_to_fp32
    if mean is None or least is None:
        return None
    return f"mean {mean:.4f}, least {least:.4f}, of int8 vectors (calibration {encoding.calibration})"


def _training(training: Training | None) -> str | None:
    if training is None:
        return None
    shots = "" if training.shots is None else f", {training.shots} of each class, seed {training.seed}"
    c = "" if training.c is None else f", C = {training.c:.4g}"
    return f"{training.n_images} images of {training.source}{shots}{c}"


def _prompt_count(prompts: tuple[tuple[str, ...], ...]) -> int:
    return sum(len(group) for group in prompts)
