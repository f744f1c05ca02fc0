"""Galleries: build them, keep them up to date, verify and repair them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from zsretrieve.api.indexes import cpu_backend, open_gallery, open_prototypes
from zsretrieve.api.models import calibrate_once
from zsretrieve.api.origins import followed_sources
from zsretrieve.api.sources import SourceLike, as_source
from zsretrieve.cluster import encode as _cluster
from zsretrieve.cluster.job import Job
from zsretrieve.domain.arguments import Count, Seed
from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.filters import selection
from zsretrieve.domain.kind_choice import demands_of
from zsretrieve.domain.kinds import AUTO, FLAT, FLAT_UP_TO, spelt
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.domain.records import Changes, IndexKind, Item, Manifest, PathLike
from zsretrieve.domain.settings import Choice, Cluster, Reading
from zsretrieve.encoders.loading import Model, ModelLike, as_model
from zsretrieve.gallery import build as _build
from zsretrieve.gallery import origins as _origins
from zsretrieve.gallery import repair as _repair
from zsretrieve.gallery import update as _update
from zsretrieve.gallery.build import BuiltGallery
from zsretrieve.gallery.ingest import CHECKPOINT_IMAGES, Ingest
from zsretrieve.gallery.repair import DeepCheck, Repaired
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
    force: bool = False,
    ray: Cluster | None = None,
    checkpoint: Count = CHECKPOINT_IMAGES,
    on_stage: OnStage | None = None,
) -> Gallery:
    """Encode a source into a gallery index in the folder ``out``. After an interruption the same call continues.

    Parameters
    ----------
    source : path, sequence of path or Source
        See ``open_source``.
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
        If the index kind cannot be made of the source, see ``set_index_kind``; if the model does not run on a cluster.
    ClusterError
        If the cluster, its storage or its nodes do not suit the work, or if no node is left.
    """
    reading, model, folder = reading or Reading(), as_model(model), folder_of(out)
    folders.check_output(folder, force=force)
    model.check_installed()
    kind = spelt(kind)
    demands = demands_of(kind, memory)
    if kind not in (FLAT, AUTO):
        extras.require_faiss(f"the index kind '{kind}'")
    if ray is not None:
        extras.require_ray("encoding on a cluster")
        _cluster.check_model(model)
    with one_step(on_stage, "finding images"):
        images = as_source(source, ground_truth, Choice.of(exclude, include))
    if kind == AUTO and len(images.files) > FLAT_UP_TO:
        extras.require_faiss(f"an index of more than {FLAT_UP_TO:,} images")
    how = _ingest(model, reading, checkpoint, on_stage)
    if ray is None:
        calibrate_once(model, images, reading, on_stage)
        with _reporting_interruption(folder):
            return _build.build_gallery(folder, images, how, kind=kind, demands=demands, force=force)
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
    """Add new and changed images of a source to a gallery.

    Images whose path, size and time are the same are left alone; content that the gallery holds is not encoded again.

    Parameters
    ----------
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
    how = _ingest(_model_of(manifest, model), reading, checkpoint, on_stage)
    choice = Choice(manifest.exclude, manifest.include).joined(Choice.of(exclude, include))
    with one_step(on_stage, "finding images"):
        images = _origins.as_followed(as_source(source, ground_truth, choice), manifest.origins)
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
    """
    folder = folder_of(gallery)
    manifest = moving.followed(folder, manifests.read(folder))
    if ground_truth is not None and len(manifest.origins) != 1:
        raise SourceError(
            f"a ground truth goes with one folder, and '{gallery}' has {len(manifest.origins)}",
            hint="Give it to: zsretrieve index add",
        )
    how = _ingest(_model_of(manifest, model), reading, checkpoint, on_stage)
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
    model = as_model(model).named(manifests.read(folder).space.model)
    how = _ingest(model, reading, checkpoint, on_stage)
    with _reporting_interruption(folder):
        return _build.rebuild(folder, how, drop_missing=drop_missing, force=force)


def verify_deep(folder: PathLike, model: ModelLike | None = None, *, sample: Count = 64, seed: Seed = 0) -> DeepCheck:
    """Encode a random sample of an index again and compare.

    ``model`` is by default the one that the index names.

    Raises
    ------
    SpaceMismatchError
        If the model has another embedding space.
    SourceError
        If the index holds prototypes that were made from images, which it does not keep.
    """
    manifest = manifests.read(folder_of(folder))
    model = _model_of(manifest, model)
    opened = (open_gallery if manifest.kind is IndexKind.GALLERY else open_prototypes)(folder, device="cpu")
    return _repair.deep_check(opened, model, sample=sample, seed=seed)


def repair(
    folder: PathLike, model: ModelLike | None = None, *, encode: bool = True, on_stage: OnStage | None = None
) -> Repaired:
    """Rebuild derived files, encode again what a damaged segment held, and report what is lost.

    The FAISS file is rebuilt from the vectors. Damaged vectors are encoded again from their images, under the same IDs,
    if these have not changed; otherwise the images are removed from the gallery and reported. A damaged manifest is
    restored from its copy.

    Parameters
    ----------
    model : Model, Encoder or str, optional
        By default the model that the index names; loaded only if vectors are damaged.
    encode : bool
        Encode images again whose vectors are damaged; otherwise they are lost.

    Raises
    ------
    IndexFormatError
        If neither the manifest nor its copy is sound.
    IntegrityError
        If nothing can be saved.
    SpaceMismatchError
        If the model has another embedding space, or another calibration in int8.
    """
    index = folder_of(folder)
    needed = as_model(model).named(manifests.read_either(index).space.model) if encode else None
    return _repair.repair(index, cpu_backend(), needed, on_stage=on_stage)


def _ingest(model: Model, reading: Reading | None, checkpoint: int, on_stage: OnStage | None) -> Ingest:
    def on_progress(done: int, total: int) -> None:
        if on_stage is not None:
            on_stage("encoding images", done, total)
            if done == total:
                on_stage("writing the index", 0, 1)

    return Ingest(model, cpu_backend(), reading or Reading(), checkpoint, on_progress, on_stage)


def _model_of(manifest: Manifest, model: ModelLike | None) -> Model:
    """The model for an index: by default the one it names; another must have the same weights."""
    model = as_model(model).named(manifest.space.model)
    model.check(manifest.space)
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
