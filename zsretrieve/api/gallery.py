"""Galleries: build them and keep them up to date."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from zsretrieve.api.indexes import cpu_backend
from zsretrieve.api.models import calibrate_once
from zsretrieve.api.origins import followed_sources
from zsretrieve.api.sources import SourceLike, as_source
from zsretrieve.api.texts import open_texts
from zsretrieve.api.tiles import checked, note_unseen
from zsretrieve.cluster import encode as _cluster
from zsretrieve.cluster.job import Job
from zsretrieve.domain.arguments import Count
from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.filters import selection
from zsretrieve.domain.kind_choice import demands_of
from zsretrieve.domain.kinds import AUTO, FLAT, FLAT_UP_TO, spelt
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.domain.records import Changes, IndexKind, Item, Manifest, PathLike
from zsretrieve.domain.settings import Choice, Cluster, Reading
from zsretrieve.encoders.image_sides import gallery_space
from zsretrieve.encoders.loading import Model, ModelLike, as_model
from zsretrieve.gallery import build as _build
from zsretrieve.gallery import origins as _origins
from zsretrieve.gallery import update as _update
from zsretrieve.gallery.build import BuiltGallery
from zsretrieve.gallery.ingest import CHECKPOINT_IMAGES, Ingest
from zsretrieve.gallery.update import How
from zsretrieve.store import folder as folders
from zsretrieve.store import manifest as manifests
from zsretrieve.store import moving
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.named import folder_of
from zsretrieve.system import extras

_log = logging.getLogger("zsretrieve")


def build_gallery(
    source: SourceLike,
    out: PathLike,
    model: ModelLike | None = None,
    *,
    reading: Reading | None = None,
    ground_truth: PathLike | None = None,
    exclude: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
    kind: str = FLAT,
    memory: int | str | None = None,
    regions: str | None = None,
    force: bool = False,
    ray: Cluster | None = None,
    checkpoint: Count = CHECKPOINT_IMAGES,
    on_stage: OnStage | None = None,
) -> Gallery:
    """Encode a source into a gallery index in the folder ``out``. After an interruption the same call continues.

    Parameters
    ----------
    source : path, sequence of path or Source
        See ``open_source``; or texts that ``open_texts`` found.
    out : path
    model : Model, Encoder or str, optional
        The default model unless another is given.
    reading : Reading, optional
    ground_truth : path, optional
        Labels for a flat folder or an archive, see ``open_source``.
    exclude, include : sequence of str
        Globs of what to leave out of the source, and to take although it would be left out, see ``open_source``. The
        gallery keeps them for ``add`` and ``sync``.
    kind : str
        The index kind, see ``set_index_kind``.
    memory : int or str, optional
        How much memory it may take, see ``set_index_kind``. A model that has encoded before takes its own.
    regions : str, optional
        Give overlapping tiles of each image vectors of their own: ``pyramid:2`` for 9 per image, ``pyramid:3`` for 34,
        ``pyramid:4`` for 83. Encoding, memory and searches take as many times as long and as much.
    force : bool
        Replace an existing index, or discard an interrupted build of another kind.
    ray : Cluster, optional
        Encode on the nodes of this cluster; the vectors are those of one machine.
    checkpoint : int
        Images that may wait in memory for the next commit.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    OutputExistsError
        If ``out`` holds something else; or an index, or an interrupted build from another source or with another model,
        and ``force`` is not given.
    SkippedInputError
        If ``reading`` is strict and an image cannot be used.
    SourceError
        If no image can be read.
    ModelNameError, WeightsUnavailableError, DeviceError, OptionalDependencyError
        See ``Model``; an index kind other than Flat needs FAISS, including one that ``auto`` chooses.
    UsageError
        If the index kind cannot be made of the source, see ``set_index_kind``; if the model does not run on a cluster;
        if ``regions`` names none, or is given with another kind than Flat, with ``ray``, with ``fast`` or with texts.
    ClusterError
        If the cluster, its storage or its nodes do not suit the work, or if no node is left.
    """
    reading, model, folder = reading or Reading(), as_model(model), folder_of(out)
    folders.check_output(folder, force=force)
    model.check_installed()
    kind = spelt(kind)
    demands = demands_of(kind, memory)
    if regions is not None:
        regions = checked(regions, kind, ray, reading)
    if kind not in (FLAT, AUTO):
        extras.require_faiss(f"the index kind '{kind}'")
    if ray is not None:
        extras.require_ray("encoding on a cluster")
        _cluster.check_model(model)
    with one_step(on_stage, "finding images"):
        images = as_source(source, ground_truth, Choice.of(exclude, include))
    what = "texts" if images.holds_texts else "images"
    if ray is not None and images.holds_texts:
        raise UsageError("only images are encoded on a cluster", hint="Leave out `ray`.")
    if regions is not None and images.holds_texts:
        raise UsageError("texts have no regions", hint="Leave out `regions`.")
    if kind == AUTO and len(images.files) > FLAT_UP_TO:
        extras.require_faiss(f"an index of more than {FLAT_UP_TO:,} {what}")
    how = _ingest(model, reading, checkpoint, on_stage, what)
    if ray is None:
        if not images.holds_texts:
            calibrate_once(model, images, reading, on_stage)
        with _reporting_interruption(folder):
            built = _build.build_gallery(folder, images, how, kind=kind, demands=demands, regions=regions, force=force)
        note_unseen(built)
        return built
    with (
        _cluster.encoding_on(ray, Job(images, folder, model, reading), on_stage) as elsewhere,
        _reporting_interruption(folder),
    ):
        how = replace(how, elsewhere=elsewhere)
        return _build.build_gallery(folder, images, how, kind=kind, demands=demands, force=force)


def add(
    gallery: PathLike,
    source: SourceLike,
    model: ModelLike | None = None,
    *,
    reading: Reading | None = None,
    ground_truth: PathLike | None = None,
    exclude: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
    relabel: bool = False,
    checksum: bool = False,
    dry_run: bool = False,
    checkpoint: Count = CHECKPOINT_IMAGES,
    on_stage: OnStage | None = None,
) -> Changes:
    """Add new and changed images of a source to a gallery, or texts to a gallery of texts.

    Images whose path, size and time are the same are left alone; content that the gallery holds is not encoded again.

    Parameters
    ----------
    source : path, sequence of path or Source
        See ``open_source``, and for a gallery of texts ``open_texts``.
    model : Model, Encoder or str, optional
        By default the model that the gallery names; loaded only if an image must be encoded.
    reading : Reading, optional
        ``strict`` and ``max_pixels`` count; the rest is as the gallery was built.
    relabel : bool
        Take the source's labels for images that are in the gallery already; so does a ground truth.
    checksum : bool
        Read every image, even where size and time are the same.
    dry_run : bool
        Only report what would be done; new images are read, but not encoded, and nothing is written.

    The other parameters, and the errors, are those of ``build_gallery``.

    Raises
    ------
    SpaceMismatchError
        If the model has another embedding space than the gallery.
    """
    folder = folder_of(gallery)
    manifest = moving.followed(folder, manifests.read(folder))
    what = "texts" if manifest.holds_texts else "images"
    how = _ingest(model_of(manifest, model), reading, checkpoint, on_stage, what)
    choice = Choice(manifest.exclude, manifest.include).joined(Choice.of(exclude, include))
    with one_step(on_stage, f"finding {what}"):
        if manifest.holds_texts and isinstance(source, str | os.PathLike):
            source = open_texts(source)
        images = _origins.as_followed(as_source(source, ground_truth, choice), manifest.origins)
    if images.holds_texts != manifest.holds_texts:
        raise UsageError(f"'{gallery}' is a gallery of {what}", hint=f"Give {what} to add to it.")
    update = How(how, checksum, relabel or ground_truth is not None, dry_run)
    with _reporting_interruption(folder):
        return _update.add(folder, images, update)


def sync(
    gallery: PathLike,
    model: ModelLike | None = None,
    *,
    reading: Reading | None = None,
    ground_truth: PathLike | None = None,
    exclude: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
    checksum: bool = False,
    prune: bool = False,
    dry_run: bool = False,
    checkpoint: Count = CHECKPOINT_IMAGES,
    on_stage: OnStage | None = None,
) -> Changes:
    """Bring a gallery up to date with the sources it was made from: as ``add``, and images that are gone are removed.

    What may only be away stays, and is reported among the skipped: images behind a link without a target, in a folder
    that is empty now or cannot be read, or of a source that is missing while others are there.

    Parameters
    ----------
    prune : bool
        Remove these images as well.

    The other parameters and the errors are those of ``add``.

    Raises
    ------
    SourceError
        If no source can be listed, or all images would be removed; a missing drive is more likely.
    UsageError
        If it is a gallery of texts.
    """
    folder = folder_of(gallery)
    manifest = moving.followed(folder, manifests.read(folder))
    if manifest.holds_texts:
        raise UsageError(
            f"'{gallery}' is a gallery of texts, which are not synced with their files",
            hint="Add new texts with: zsretrieve index add; drop some with: zsretrieve index remove",
        )
    if ground_truth is not None and len(manifest.origins) != 1:
        raise SourceError(
            f"a ground truth goes with one folder, and '{gallery}' has {len(manifest.origins)}",
            hint="Give it to: zsretrieve index add",
        )
    how = _ingest(model_of(manifest, model), reading, checkpoint, on_stage)
    choice = Choice(manifest.exclude, manifest.include).joined(Choice.of(exclude, include))
    with one_step(on_stage, "finding images"):
        sources = followed_sources(folder, manifest, ground_truth, choice)
    update = How(how, checksum, ground_truth is not None, dry_run)
    with _reporting_interruption(folder):
        return _update.sync(folder, sources, update, prune=prune)


def remove(
    gallery: PathLike,
    patterns: Sequence[str] = (),
    *,
    where: str | None = None,
    dry_run: bool = False,
    on_stage: OnStage | None = None,
) -> Changes:
    """Remove images from a gallery by path, folder or glob, by a filter, or by both at once; the files stay.

    A pattern is taken as the first of these that matches anything: an image's path as the gallery writes it; an image's
    path from the current folder; a folder, in the same two ways, with everything below it; a glob over paths, in which
    ``*`` matches ``/`` too, in the same two ways. For filters see ``zsretrieve.domain.filters``. ``on_stage`` is called
    with (name of the stage, steps done, steps in all) while an approximate index is made.

    Raises
    ------
    SourceError, FilterError
        If a pattern or the filter matches nothing.
    UsageError
        If neither is given.
    """

    def select(manifest: Manifest, items: Sequence[Item]) -> set[int]:
        ids = _update.ids_by_path(patterns, manifest, items) if patterns else {item.id for item in items}
        rows = selection(items, where)
        return ids if rows is None else ids & {items[row].id for row in rows}

    if not patterns and where is None:
        raise UsageError("nothing says what to remove", hint="Give paths, or a condition as `where`.")
    return _update.remove(folder_of(gallery), select, cpu_backend(), dry_run=dry_run, on_stage=on_stage)


def compact(gallery: PathLike, *, on_stage: OnStage | None = None) -> tuple[Manifest, Manifest]:
    """Rewrite a gallery as one segment, and make its approximate index again; returns its manifests before and after.

    ``on_stage`` is called with (name of the stage, steps done, steps in all) while that is made.
    """
    return _update.compact(folder_of(gallery), cpu_backend(), on_stage)


def rebuild(
    gallery: PathLike,
    model: ModelLike | None = None,
    *,
    reading: Reading | None = None,
    drop_missing: bool = False,
    force: bool = False,
    checkpoint: Count = CHECKPOINT_IMAGES,
    on_stage: OnStage | None = None,
) -> BuiltGallery:
    """Encode every image of a gallery again, perhaps with another model, beside the old gallery; then swap the two.

    IDs, labels and sources stay. After an interruption the same call continues; the old gallery stays until the end.

    Parameters
    ----------
    model : Model, Encoder or str, optional
        By default the model that the gallery names.
    reading : Reading, optional
        ``strict`` and ``max_pixels`` count; the rest is as the gallery was built.
    drop_missing : bool
        Swap even if some images can no longer be read; the new gallery is without them.
    force : bool
        Discard another interrupted build.

    Raises
    ------
    SourceError
        If some images can no longer be read, unless ``drop_missing``; what was encoded is kept for the next call.
    """
    folder = folder_of(gallery)
    manifest = manifests.read(folder)
    model = as_model(model).named(manifest.space.model)
    how = _ingest(model, reading, checkpoint, on_stage, "texts" if manifest.holds_texts else "images")
    with _reporting_interruption(folder):
        return _build.rebuild(folder, how, drop_missing=drop_missing, force=force)


def _ingest(
    model: Model, reading: Reading | None, checkpoint: int, on_stage: OnStage | None, what: str = "images"
) -> Ingest:
    def on_progress(done: int, total: int) -> None:
        if on_stage is not None:
            on_stage(f"encoding {what}", done, total)
            if done == total:
                on_stage("writing the index", 0, 1)

    return Ingest(model, cpu_backend(), reading or Reading(), checkpoint, on_progress, on_stage)


def model_of(manifest: Manifest, model: ModelLike | None) -> Model:
    """The model for an index: by default the one it names; another must have the same weights, or for a gallery the
    same image tower.
    """
    model = as_model(model).named(manifest.space.model)
    model.check(gallery_space(model, manifest) if manifest.kind is IndexKind.GALLERY else manifest.space)
    return model


@contextlib.contextmanager
def _reporting_interruption(folder: Path) -> Iterator[None]:
    """Report what this run has kept if it is interrupted or fails."""
    before = _commits(folder)
    try:
        yield
    except BaseException:
        after, build = _commits(folder), folders.staged(folder)
        if build is not None and build.count and after[0] != before[0]:
            _log.info(f"{build.count} images are kept; run the same command again to continue")
        elif after[1] != before[1]:
            _log.info("what was done so far is in the gallery; run the same command again to continue")
        raise


def _commits(folder: Path) -> tuple[int, int]:
    """How often the staging index and the index itself were committed."""
    build, index = folders.staged(folder), folders.current(folder)
    return 0 if build is None else build.generation, 0 if index is None else index.generation
