"""``zsretrieve index``: build and inspect indexes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import output
from zsretrieve.cli.lazy import Group, Later
from zsretrieve.cli.output import OutputFormat, ReportFormat
from zsretrieve.domain.kinds import FLAT, QueryKind

if TYPE_CHECKING:
    from zsretrieve.domain.records import Encoding, Manifest
    from zsretrieve.domain.training import Training


class _Commands(Group):
    later = (
        Later("prototypes", "prototypes:prototypes"),
        Later("gallery", "gallery:gallery"),
        Later("texts", "texts:texts"),
        Later("list", "index:list_"),
        Later("info", "index:info"),
        Later("add", "gallery:add"),
        Later("sync", "gallery:sync"),
        Later("remove", "gallery:remove"),
        Later("sources", "origins:sources"),
        Later("relocate", "origins:relocate"),
        Later("kind", "kinds:kind"),
        Later("plan", "plan:plan"),
        Later("tune", "kinds:tune"),
        Later("compact", "gallery:compact"),
        Later("rebuild", "gallery:rebuild"),
        Later("duplicates", "duplicates:duplicates"),
        Later("searches", "searches:searches"),
        Later("map", "maps:map_"),
        Later("verify", "repair:verify"),
        Later("repair", "repair:repair"),
        Later("import", "exchange:import_vectors"),
        Later("export", "exchange:export"),
    )


app = typer.Typer(name="index", cls=_Commands, no_args_is_help=True, help="Build, update, check and repair indexes.")


def list_(form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE) -> None:
    """List the indexes in your data folder, which every command opens as @NAME.

    An index is put there by its name: zsretrieve index gallery ~/Photos @photos; delete its folder to remove it.

    Example: zsretrieve index list
    """
    import zsretrieve as zs

    rows: list[dict[str, Any]] = [
        {
            "name": index.name,
            "kind": str(index.manifest.kind),
            "count": index.manifest.count,
            "model": index.manifest.space.model,
            "source": index.manifest.root,
            "finished": index.manifest.building is None,
            "bytes": sum(entry.bytes for entry in index.manifest.files.values()),
            "created": index.manifest.created,
            "folder": str(index.folder),
        }
        for index in zs.named_indexes()
    ]
    if form is not OutputFormat.TABLE:
        output.write_rows(rows, form)
        return
    if not rows:
        output.note("no index has a name yet; give it one: zsretrieve index gallery ~/Photos @photos")
        return
    table = output.table("name", "vectors", "MB", "model", "of", right=("vectors", "MB"))
    for row in rows:
        of = f"{row['source'] or 'prompts'}{'' if row['finished'] else ' (not finished)'}"
        cells = (row["name"], row["count"], f"{row['bytes'] / 1e6:.1f}", row["model"], of)
        table.add_row(*(output.cell(str(cell)) for cell in cells))
    output.show(table)


def info(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")],
    form: Annotated[
        ReportFormat, typer.Option("--format", help="json prints the whole manifest.")
    ] = ReportFormat.TABLE,
) -> None:
    """Show the manifest of an index: kind, model, counts, files, skipped images.

    Example: zsretrieve index info indexes/pictures --format json
    """
    import zsretrieve as zs

    manifest = zs.read_manifest(folder)
    if form is ReportFormat.JSON:
        output.write_json(zs.manifest_dict(manifest))
        return
    size = sum(entry.bytes for entry in manifest.files.values())
    space, encoding = manifest.space, manifest.encoding
    rows = {
        "kind": f"{manifest.kind}{' of texts' if manifest.holds_texts else ''}",
        "model": space.model,
        "weights": space.weights,
        "vectors": f"{manifest.count} x {manifest.dim}, {manifest.factory}{', with a bias' if manifest.lifted else ''}",
        "regions": manifest.regions,
        "preprocessing": f"{space.preprocessing.size[0]} x {space.preprocessing.size[1]}, "
        f"{space.preprocessing.resize_mode}, {space.preprocessing.interpolation}",
        "activation": space.activation,
        "text": f"{space.text.tokenizer}, {space.text.context_length} tokens",
        "computed by": f"{encoding.engine}, {encoding.precision}, {encoding.device}",
        "cosine to fp32": _int8_loss(encoding),
        "EXIF orientation": None if manifest.holds_texts else "applied" if encoding.exif else "ignored",
        "decoding": None if encoding.decoding == "exact" else encoding.decoding,
        "classes": manifest.classes_source,
        "templates": manifest.templates_source,
        "scale": None if manifest.fitted_scale is None else f"{manifest.fitted_scale:.4g}, for probabilities",
        "trained on": _training(manifest.training),
        "adapter": None
        if (adapter := manifest.adapter) is None
        else f"{adapter.n_keys} keys, alpha = {adapter.alpha:.4g}, beta = {adapter.beta:.4g}",
        "duplicate names": ", ".join(manifest.duplicate_names),
        "prompts cut": str(manifest.cut_prompts or ""),
        f"{'texts' if manifest.holds_texts else 'images'} from": manifest.root,
        "added from" if manifest.holds_texts else "synced with": (
            ", ".join(manifest.origins) if manifest.origins != (manifest.root,) else None
        ),
        "left out": ", ".join(manifest.exclude),
        "taken in any case": ", ".join(manifest.include),
        "skipped": str(len(manifest.skipped)) if manifest.root else None,
        "size": f"{size / 1e6:.1f} MB in {len(manifest.files)} files",
        "approximate index": _approximate(manifest),
        "recall": _recall(manifest),
        "segments": f"{len(manifest.segments)}, of {sum(segment.rows for segment in manifest.segments)} rows",
        "written": f"{manifest.created} by zsretrieve {manifest.tool_version}, generation {manifest.generation}",
        "verified": manifest.verified,
    }
    table = output.table("", "")
    table.show_header = False
    for name, value in rows.items():
        if value:
            table.add_row(name, output.cell(value))
    output.show(table, str(folder))


def _approximate(manifest: Manifest) -> str | None:
    made = manifest.approximate
    if made is None:
        return None if manifest.factory == FLAT else f"{manifest.factory}, not made yet; every image is compared"
    rows = sum(segment.rows for segment in manifest.segments)
    covered = sum(made.held.get(segment.name, 0) for segment in manifest.segments)
    size = sum(manifest.files[file].bytes for file in made.files) / 1e6
    parts = "" if len(made.parts) == 1 else f" in {len(made.parts)} parts"
    return f"{made.kind}, {size:.1f} MB{parts}, covers {covered:,} of {rows:,} rows"


def _recall(manifest: Manifest) -> str | None:
    """What an approximate index finds by its settings, and whether that may not be true any more."""
    made = manifest.approximate
    if made is None:
        return None
    tuning = made.tuning
    setting = None if tuning is None else tuning.setting(made.effort)
    if tuning is None or setting is None:
        return "never measured; do so with: zsretrieve index tune"
    found = ", ".join(
        f"{kind} {one.mean:.3f} ({one.interval.low:.3f} to {one.interval.high:.3f}; one in twenty {one.p5:.2f} or less)"
        for kind, one in ((kind, setting.of(kind)) for kind in QueryKind)
    )
    measured = f"of the {tuning.k} best, tuned for {tuning.recall:g} on {tuning.rows:,} images ({tuning.source})"
    changed = "; the gallery has changed by more than a tenth since: tune again"
    return f"{found}, {measured}{changed if tuning.has_outgrown(manifest.count) else ''}"


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
