"""``zsretrieve index add``, ``sync``, ``remove``, ``compact`` and ``rebuild``: keeping a gallery."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import ReportFormat, Verbosity

if TYPE_CHECKING:
    from zsretrieve.ports import Encoder
    from zsretrieve.records import Changes

Gallery = Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery index.")]
Form = Annotated[ReportFormat, typer.Option("--format", help="How to print.")]

_WORDS = ("added", "changed", "moved", "removed", "unchanged")


def add(
    context: typer.Context,
    gallery: Gallery,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What to add: as for index gallery.")],
    ground_truth: options.GroundTruth = None,
    checksum: options.Checksum = False,
    strict: options.Strict = False,
    skipped: options.SkippedFile = None,
    max_megapixels: options.MaxMegapixels = None,
    form: Form = ReportFormat.TABLE,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
) -> None:
    """Encode what is new or changed in a source into a gallery; nothing else is encoded.

    A file is looked into if its size or time is not what it was; a moved or copied image is known by its content.
    The model is loaded only if there is something to encode.

    Example: zsretrieve index add indexes/pictures ~/Pictures/2026
    """
    from zsretrieve import api

    verbosity = options.verbosity(context)
    options.check_skipped(skipped)
    found = options.open_source([source], ground_truth)
    with told_if_interrupted(verbosity, gallery), output.progress(verbosity, "encoding images") as on_progress:
        changes = api.add(
            gallery, found, _encoder(gallery, model, device, precision, engine, batch_size),
            relabel=ground_truth is not None, checksum=checksum, strict=strict,
            max_pixels=options.pixels(max_megapixels), on_progress=on_progress,
        )  # fmt: skip
    _report(verbosity, changes, form, skipped)


def sync(
    context: typer.Context,
    gallery: Gallery,
    ground_truth: options.GroundTruth = None,
    checksum: options.Checksum = False,
    strict: options.Strict = False,
    skipped: options.SkippedFile = None,
    max_megapixels: options.MaxMegapixels = None,
    form: Form = ReportFormat.TABLE,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
) -> None:
    """Bring a gallery to the present state of the folders it was made from: add, change, move and remove.

    Removed is only what surely is not there any more. Ids never change.

    Example: zsretrieve index sync indexes/pictures
    """
    from zsretrieve import api

    verbosity = options.verbosity(context)
    options.check_skipped(skipped)
    with told_if_interrupted(verbosity, gallery), output.progress(verbosity, "encoding images") as on_progress:
        changes = api.sync(
            gallery, _encoder(gallery, model, device, precision, engine, batch_size), ground_truth=ground_truth,
            checksum=checksum, strict=strict, max_pixels=options.pixels(max_megapixels), on_progress=on_progress,
        )  # fmt: skip
    _report(verbosity, changes, form, skipped)


def remove(
    context: typer.Context,
    gallery: Gallery,
    which: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Images, folders, or globs in quotes; * matches / too."),
    ] = None,
    where: options.Where = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many it would be.")] = False,
    form: Form = ReportFormat.TABLE,
) -> None:
    """Take images out of a gallery by path, folder, glob or condition; the files themselves stay.

    While they stay in a folder that the gallery was made from, index sync and index add take them in again, under
    new ids.

    Example: zsretrieve index remove indexes/pictures "screenshots/*"
    """
    from zsretrieve import api
    from zsretrieve.store import manifest as passport

    if not which and where is None:
        raise typer.BadParameter("give paths, or a condition with --where", param_hint="PATH... / --where")
    verbosity = options.verbosity(context)
    changes = api.remove(gallery, which or (), where=where, dry_run=dry_run)
    if dry_run:
        output.note(verbosity, "nothing was removed: this was a dry run")
    _report(verbosity, changes, form, None)
    if changes.removed and not dry_run and passport.read(gallery).origins:
        output.note(verbosity, "files that still lie in the gallery's folders are taken in again by index sync and add")


def compact(context: typer.Context, gallery: Gallery) -> None:
    """Write a gallery anew as one segment, without what was removed or replaced. Ids stay.

    Example: zsretrieve index compact indexes/pictures
    """
    from zsretrieve import api

    before, after = api.compact(gallery)
    sizes = [sum(entry.bytes for entry in m.files.values()) / 1e6 for m in (before, after)]
    dead = sum(segment.rows for segment in before.segments) - before.count
    output.note(
        options.verbosity(context),
        f"segments: {len(before.segments)} -> 1; dead rows: {dead} -> 0; {sizes[0]:.1f} MB -> {sizes[1]:.1f} MB",
    )


def rebuild(
    context: typer.Context,
    gallery: Gallery,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The model to encode with (default: the one it has)."),
    ] = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Swap even if some images cannot be read any more.")
    ] = False,
    strict: options.Strict = False,
    skipped: options.SkippedFile = None,
    max_megapixels: options.MaxMegapixels = None,
    force: Annotated[bool, typer.Option("--force", help="Throw away the beginning of another build.")] = False,
    form: Form = ReportFormat.TABLE,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
    batch_size: options.BatchSize = None,
    compiled: options.Compile = False,
) -> None:
    """Encode all images of a gallery again, with another model, beside the old gallery; then swap. Ids stay.

    If it is interrupted, the same command goes on where it stopped; the old gallery stands until the end.

    Example: zsretrieve index rebuild indexes/pictures --model ViT-B-16-SigLIP/webli
    """
    from zsretrieve import api
    from zsretrieve.store import manifest as passport

    verbosity = options.verbosity(context)
    options.check_skipped(skipped)
    name = model or passport.read(gallery).space.model
    encoder = options.load_encoder(verbosity, name, device, precision, engine, batch_size, compiled=compiled)
    with told_if_interrupted(verbosity, gallery), output.progress(verbosity, "encoding images") as on_progress:
        built = api.rebuild(
            gallery, encoder, drop_missing=drop_missing, strict=strict, force=force,
            max_pixels=options.pixels(max_megapixels), on_progress=on_progress,
        )  # fmt: skip
    _report(verbosity, built.changes, form, skipped)


@contextlib.contextmanager
def told_if_interrupted(verbosity: Verbosity, folder: Path) -> Iterator[None]:
    """Say what was kept in this run when it is interrupted or fails."""
    from zsretrieve import api

    def commits() -> tuple[int, int]:
        begun = api.interrupted_build(folder)
        return (0 if begun is None else begun.generation, api.commits(folder))

    before = commits()
    try:
        yield
    except BaseException:
        after, begun = commits(), api.interrupted_build(folder)
        if begun is not None and after[0] != before[0]:
            output.note(verbosity, f"{begun.count} images are kept; the same command goes on from there")
        elif after[1] != before[1]:
            output.note(verbosity, "what was done until now is in the gallery; the same command goes on from there")
        raise


def _encoder(
    gallery: Path,
    model: str | None,
    device: str,
    precision: options.Precision,
    engine: options.Engine,
    batch: int | None,
) -> Callable[[], Encoder]:
    """What loads the model once it is needed; that a model does not fit is told before anything is done."""
    from zsretrieve import api
    from zsretrieve.store import manifest as passport

    space = passport.read(gallery).space
    if model is not None:
        api.check_model(model, space)
    # Not under a spinner: it is loaded while the progress of the images is shown.
    return lambda: api.load_encoder(
        model or space.model, device=device, precision=precision.value, engine=engine.value, batch_size=batch
    )


def _report(verbosity: Verbosity, changes: Changes, form: ReportFormat, skipped: Path | None) -> None:
    if form is ReportFormat.JSON:
        output.write_json(asdict(changes))
    else:
        made = output.table(*_WORDS, "skipped", right=(*_WORDS, "skipped"))
        made.add_row(*(str(getattr(changes, word)) for word in _WORDS), str(len(changes.skipped)))
        output.show(made)
    output.report_skipped(verbosity, changes.skipped, skipped)
