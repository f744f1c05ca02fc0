"""``zsretrieve index gallery``, ``add``, ``sync``, ``remove``, ``compact`` and ``rebuild``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.output import ReportFormat
from zsretrieve.cli.parameters import option
from zsretrieve.domain.errors import UsageError

if TYPE_CHECKING:
    from zsretrieve.domain.records import Changes
    from zsretrieve.store.indexes import Gallery as BuiltGallery

Gallery = Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery index.")]
Form = Annotated[ReportFormat, typer.Option("--format", help="How to print.")]

_COUNTS = ("added", "changed", "moved", "removed", "unchanged", "missing")


@grouped
def gallery(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of images; a .tar, .zip or .parquet file, or several as 'train-{000..012}.tar'; "
            "hf:DATASET:SPLIT; a URL; @FILE with a list of paths, or - for stdin.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write, or @NAME for one in your data folder.")],
    reading: options.ReadImages,
    compute: options.ComputeLong,
    ray: options.EncodeOnRay,
    model: options.Model = None,
    ground_truth: options.GroundTruth = None,
    null: options.Null = False,
    exclude: options.Exclude = None,
    include: options.Include = None,
    skipped: options.SkippedFile = None,
    kind: Annotated[
        str,
        typer.Option(
            "--index",
            metavar="KIND",
            help="Index kind: Flat (exact), auto (by the number of images), or a FAISS factory string, e.g. HNSW32.",
        ),
    ] = "Flat",
    memory: options.IndexMemory = None,
    regions: Annotated[
        str | None,
        typer.Option(
            "--regions",
            metavar="SPEC",
            help="Also encode overlapping tiles of each image, to find small things: pyramid:2 (9 tiles per image), "
            "pyramid:3 (34) or pyramid:4 (83).",
        ),
    ] = None,
    force: options.Force = False,
) -> None:
    """Encode images into a gallery index, to search and classify them without encoding them again.

    Builds are resumable: after an interruption, run the same command again and it picks up where it left off. With
    --ray, the nodes of a cluster encode the images; the vectors are the same.

    Example: zsretrieve index gallery ~/Pictures indexes/pictures
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    with output.progress() as on_stage:
        built = zs.build_gallery(
            options.listed(source, null), out, zs.Model(model, compute, on_stage=on_stage), reading=reading,
            ground_truth=ground_truth, exclude=exclude or (), include=include or (), kind=kind, memory=memory,
            regions=regions, force=force, ray=ray, on_stage=on_stage,
        )  # fmt: skip
    output.report_skipped(built.manifest.skipped, skipped)
    output.note(f"{len(built.items)} images -> {out}{effect_of(built)}")
    place = shlex.quote(str(out))
    query = "a red circle" if built.manifest.space.model == "demo" else "a dog on a beach"
    output.note(f"Try next:\n  zsretrieve search {place} {query}\n  zsretrieve serve {place}")


@grouped
def add(
    gallery: Gallery,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What to add: as for index gallery, or index texts.")],
    columns: options.TextColumns,
    reading: options.ReadNewImages,
    compute: options.ComputeImages,
    ground_truth: options.GroundTruth = None,
    exclude: options.Exclude = None,
    include: options.Include = None,
    checksum: options.Checksum = False,
    null: options.Null = False,
    dry_run: options.DryRun = False,
    skipped: options.SkippedFile = None,
    form: Form = ReportFormat.TABLE,
    model: options.ModelOfIndex = None,
) -> None:
    """Add new and changed images from a source to a gallery, or texts to a gallery of texts; nothing else is encoded.

    A file is read if its size or time has changed; moved and copied images are recognised by their content hash. A text
    is known by its place in its file. The model is loaded only if there is something to encode.

    Example: zsretrieve index add indexes/pictures ~/Pictures/2026
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    if zs.read_manifest(gallery).holds_texts:
        found = zs.open_texts(source, **columns)
    elif given := next((name for name, value in columns.items() if value is not None), None):
        raise UsageError(f"{option(given)} is for a gallery of texts", hint=f"Leave {option(given)} out.")
    else:
        found = options.listed(source, null)
    with output.progress() as on_stage:
        changes = zs.add(
            gallery, found, zs.Model(model, compute, on_stage=on_stage), reading=reading,
            ground_truth=ground_truth, exclude=exclude or (), include=include or (), checksum=checksum,
            dry_run=dry_run, on_stage=on_stage,
        )  # fmt: skip
    _note_dry_run(dry_run)
    _report(changes, form, skipped)


@grouped
def sync(
    gallery: Gallery,
    reading: options.ReadNewImages,
    compute: options.ComputeImages,
    ground_truth: options.GroundTruth = None,
    exclude: options.Exclude = None,
    include: options.Include = None,
    checksum: options.Checksum = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also remove images whose drive or folder may only be away.")
    ] = False,
    dry_run: options.DryRun = False,
    skipped: options.SkippedFile = None,
    form: Form = ReportFormat.TABLE,
    model: options.ModelOfIndex = None,
) -> None:
    """Bring a gallery up to date with the folders it was made from: add, change, move and remove images.

    Images are removed only if they are definitely gone. Those behind a link without a target, or in a folder that is
    empty now or cannot be read, stay as missing. IDs never change.

    Example: zsretrieve index sync indexes/pictures
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    with output.progress() as on_stage:
        changes = zs.sync(
            gallery, zs.Model(model, compute, on_stage=on_stage), reading=reading, ground_truth=ground_truth,
            exclude=exclude or (), include=include or (), checksum=checksum, prune=prune, dry_run=dry_run,
            on_stage=on_stage,
        )  # fmt: skip
    _note_dry_run(dry_run)
    _report(changes, form, skipped)


def remove(
    gallery: Gallery,
    which: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Images, folders, or globs in quotes; * matches / too."),
    ] = None,
    where: options.Where = None,
    dry_run: options.DryRun = False,
    form: Form = ReportFormat.TABLE,
) -> None:
    """Remove images from a gallery by path, folder, glob or condition; the files themselves stay.

    While they stay in a folder that the gallery was made from, index sync and index add take them in again, under
    new IDs.

    Example: zsretrieve index remove indexes/pictures "screenshots/*"
    """
    import zsretrieve as zs

    with output.progress() as on_stage:
        changes = zs.remove(gallery, which or (), where=where, dry_run=dry_run, on_stage=on_stage)
    _note_dry_run(dry_run)
    _report(changes, form, None)
    manifest = zs.read_manifest(gallery)
    if changes.removed and not dry_run and manifest.origins and not manifest.holds_texts:
        output.note("files that are still in the gallery's folders are added again by index sync and index add")


def compact(gallery: Gallery) -> None:
    """Rewrite a gallery as one segment, dropping removed and replaced rows. IDs are preserved.

    Example: zsretrieve index compact indexes/pictures
    """
    import zsretrieve as zs

    with output.progress() as on_stage:
        before, after = zs.compact(gallery, on_stage=on_stage)
    sizes = [sum(entry.bytes for entry in m.files.values()) / 1e6 for m in (before, after)]
    dead = sum(segment.rows for segment in before.segments) - before.count
    output.note(
        f"segments: {len(before.segments)} -> 1; dead rows: {dead} -> 0; {sizes[0]:.1f} MB -> {sizes[1]:.1f} MB"
    )


@grouped
def rebuild(
    gallery: Gallery,
    reading: options.ReadNewImages,
    compute: options.ComputeLong,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="The model to encode with (default: the one it has)."),
    ] = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Swap even if some images can no longer be read.")
    ] = False,
    skipped: options.SkippedFile = None,
    force: Annotated[bool, typer.Option("--force", help="Discard an unfinished build of another kind.")] = False,
    form: Form = ReportFormat.TABLE,
) -> None:
    """Encode all images of a gallery again, perhaps with another model, then swap. IDs are preserved.

    Rebuilds are resumable, and the old gallery stays in place until the end.

    Example: zsretrieve index rebuild indexes/pictures --model ViT-B-16-SigLIP/webli
    """
    import zsretrieve as zs

    options.check_skipped(skipped)
    with output.progress() as on_stage:
        built = zs.rebuild(
            gallery,
            zs.Model(model, compute, on_stage=on_stage),
            reading=reading,
            drop_missing=drop_missing,
            force=force,
            on_stage=on_stage,
        )
    _report(built.changes, form, skipped)


def effect_of(built: BuiltGallery) -> str:
    """What follows if a gallery has no approximate index, although its kind says so."""
    named = built.manifest.factory
    is_missing = named != "Flat" and built.approximate is None
    return f"; the index {named} was not made, so every search is exact" if is_missing else ""


def _note_dry_run(dry_run: bool) -> None:
    if dry_run:
        output.note("nothing was written: this was a dry run")


def _report(changes: Changes, form: ReportFormat, skipped: Path | None) -> None:
    if form is ReportFormat.JSON:
        output.write_json(changes.to_dict())
    else:
        table = output.table(*_COUNTS, "skipped", right=(*_COUNTS, "skipped"))
        table.add_row(*(str(getattr(changes, name)) for name in _COUNTS), str(len(changes.skipped)))
        output.show(table)
    output.report_skipped(changes.skipped, skipped)
