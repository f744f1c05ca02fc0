"""Keeping indexes: adding, removing, synchronising, compacting, re-encoding, deep checks, repair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from zsretrieve.api.finding import open_source
from zsretrieve.api.models import load_encoder
from zsretrieve.api.opening import PathLike, cpu_backend, open_gallery, open_prototypes
from zsretrieve.errors import IndexFormatError, SourceError
from zsretrieve.filters import selection
from zsretrieve.ports import Encoder
from zsretrieve.records import Changes, IndexKind, Item, Manifest
from zsretrieve.sources import Source
from zsretrieve.store import manifest as passport
from zsretrieve.store.folder import staged
from zsretrieve.verbs import gallery as _gallery
from zsretrieve.verbs import keep as _keep
from zsretrieve.verbs import mend as _mend
from zsretrieve.verbs.ahead import Reading
from zsretrieve.verbs.encode import OnProgress
from zsretrieve.verbs.gallery import BuiltGallery
from zsretrieve.verbs.grow import CHECKPOINT_IMAGES
from zsretrieve.verbs.mend import DeepCheck, Repaired

EncoderOrMaker = Encoder | Callable[[], Encoder]


def add(
    gallery: PathLike,
    source: PathLike | Source,
    encoder: EncoderOrMaker | None = None,
    *,
    ground_truth: PathLike | None = None,
    relabel: bool = False,
    checksum: bool = False,
    strict: bool = False,
    max_pixels: int | None = None,
    checkpoint: int = CHECKPOINT_IMAGES,
    on_progress: OnProgress | None = None,
) -> Changes:
    """Add what is new or changed in a source to a gallery. See ``zsretrieve.verbs.keep.add``.

    Parameters
    ----------
    encoder : Encoder, or a function that gives one, optional
        By default the model that the gallery names is loaded if a picture must be encoded.
    """
    found = source if isinstance(source, Source) else open_source([source], ground_truth=ground_truth)
    relabel = relabel or ground_truth is not None
    return _keep.add(
        Path(gallery), found, _maker(gallery, encoder), cpu_backend(), Reading(strict=strict, max_pixels=max_pixels),
        checksum=checksum, relabel=relabel, checkpoint=checkpoint, on_progress=on_progress,
    )  # fmt: skip


def sync(
    gallery: PathLike,
    encoder: EncoderOrMaker | None = None,
    *,
    ground_truth: PathLike | None = None,
    checksum: bool = False,
    strict: bool = False,
    max_pixels: int | None = None,
    checkpoint: int = CHECKPOINT_IMAGES,
    on_progress: OnProgress | None = None,
) -> Changes:
    """Bring a gallery to the present state of the sources it was made from. See ``zsretrieve.verbs.keep.sync``."""
    origins = passport.read(Path(gallery)).origins
    if ground_truth is not None and len(origins) != 1:
        raise SourceError(
            f"a ground truth goes with one folder, and '{gallery}' has {len(origins)}",
            hint="Give it to: zsretrieve index add",
        )
    listed = [open_source([origin], ground_truth=ground_truth) for origin in origins]
    return _keep.sync(
        Path(gallery), listed, _maker(gallery, encoder), cpu_backend(), Reading(strict=strict, max_pixels=max_pixels),
        checksum=checksum, relabel=ground_truth is not None, checkpoint=checkpoint, on_progress=on_progress,
    )  # fmt: skip


def remove(
    gallery: PathLike, patterns: Sequence[str] = (), *, where: str | None = None, dry_run: bool = False
) -> Changes:
    """Take pictures out of a gallery by path, folder or glob, by a filter, or by both at once.

    See ``zsretrieve.verbs.keep.chosen_by_path`` and ``zsretrieve.filters``; the files themselves stay.

    Raises
    ------
    SourceError, FilterError
        If a pattern or the filter finds nothing.
    """

    def chosen(manifest: Manifest, items: Sequence[Item]) -> set[int]:
        ids = _keep.chosen_by_path(patterns, manifest, items) if patterns else {item.id for item in items}
        rows = selection(items, where)
        return ids if rows is None else ids & {items[row].id for row in rows}

    if not patterns and where is None:
        raise SourceError("nothing says what to remove", hint="Give paths, or a filter with --where.")
    return _keep.remove(Path(gallery), chosen, cpu_backend(), dry_run=dry_run)


def compact(gallery: PathLike) -> tuple[Manifest, Manifest]:
    """Write a gallery anew as one segment; its passport before and after."""
    return _keep.compact(Path(gallery), cpu_backend())


def rebuild(
    gallery: PathLike,
    encoder: Encoder,
    *,
    drop_missing: bool = False,
    strict: bool = False,
    max_pixels: int | None = None,
    force: bool = False,
    checkpoint: int = CHECKPOINT_IMAGES,
    on_progress: OnProgress | None = None,
) -> BuiltGallery:
    """Encode a gallery again, with another model perhaps, and swap. See ``zsretrieve.verbs.gallery.rebuild``."""
    return _gallery.rebuild(
        Path(gallery), encoder, cpu_backend(), Reading(strict=strict, max_pixels=max_pixels),
        drop_missing=drop_missing, force=force, checkpoint=checkpoint, on_progress=on_progress,
    )  # fmt: skip


def verify_deep(folder: PathLike, encoder: Encoder | None = None, *, sample: int = 64, seed: int = 0) -> DeepCheck:
    """Encode a random sample of an index again and compare. See ``zsretrieve.verbs.mend.deep_check``.

    Without an encoder the model is loaded as ``load_encoder`` does.
    """
    manifest = passport.read(Path(folder))
    opened = (open_gallery if manifest.kind is IndexKind.GALLERY else open_prototypes)(folder, device="cpu")
    again = encoder or load_encoder(opened.space.model)
    return _mend.deep_check(opened, again, sample=sample, seed=seed)


def repair(
    folder: PathLike,
    encoder: EncoderOrMaker | None = None,
    *,
    encode: bool = True,
    on_progress: OnProgress | None = None,
) -> Repaired:
    """Rebuild what is derived and save what can be saved. See ``zsretrieve.verbs.mend.repair``.

    Parameters
    ----------
    encode : bool
        Encode pictures again whose vectors are damaged; otherwise they are lost.
    """
    maker = _maker(folder, encoder) if encode else None
    return _mend.repair(Path(folder), cpu_backend(), maker, on_progress=on_progress)


def interrupted_build(out: PathLike) -> Manifest | None:
    """What an interrupted build in a folder holds so far; None if there is none."""
    return staged(Path(out))


def commits(folder: PathLike) -> int:
    """How often an index was committed; 0 if there is none that can be read."""
    try:
        return passport.read(Path(folder)).generation
    except IndexFormatError:
        return 0


def _maker(folder: PathLike, encoder: EncoderOrMaker | None) -> Callable[[], Encoder]:
    def make() -> Encoder:
        if encoder is None:
            return load_encoder(passport.read(Path(folder)).space.model)
        return encoder() if callable(encoder) else encoder

    return make
