"""Taking vectors that were computed elsewhere into a gallery, and handing indexes to other programs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsretrieve import addresses
from zsretrieve.errors import OutputExistsError, ShapeError, SourceError, SpaceMismatchError
from zsretrieve.exchange import clip_retrieval, parquet, plain
from zsretrieve.exchange.foreign import Block, ForeignVectors, Form
from zsretrieve.exchange.output import Kind, replacing
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.records import Changes, Encoding, IndexKind, Item, Manifest, Skipped
from zsretrieve.store import rows
from zsretrieve.store.folder import creating, now, staged
from zsretrieve.store.indexes import Gallery, Prototypes, index_of, open_gallery, write_index
from zsretrieve.store.manifest import STAGING
from zsretrieve.store.rows import LiveVectors
from zsretrieve.vectors import UNIT_TOLERANCE, Vectors
from zsretrieve.verbs.encode import OnProgress
from zsretrieve.verbs.gallery import BuiltGallery
from zsretrieve.version import tool_version

# A row whose norm is further from 1 was never meant as a unit vector; float16 alone moves it by less than 1e-3.
_MEANT_AS_UNIT = 1e-2
# Nearer than this, a row stays as it is, bit by bit: dividing by the norm would only move the last bits about.
_UNIT = 1e-6

_KINDS = {
    Form.CLIP_RETRIEVAL: Kind(True, clip_retrieval.is_ours),
    Form.NPY: Kind(True, plain.is_ours),
    Form.PARQUET: Kind(False, parquet.is_ours),
}


def import_gallery(
    out: Path,
    foreign: ForeignVectors,
    encoder: Encoder,
    backend: IndexBackend,
    *,
    root: Path | None = None,
    normalise: bool = False,
    exif: bool | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> BuiltGallery:
    """Write vectors that somebody else computed to a gallery in the folder ``out``.

    A vector that is zero or not finite is skipped, and its place in the ids stays empty.

    Parameters
    ----------
    out : Path
    foreign : ForeignVectors
    encoder : Encoder
        Of the model that the vectors are of. Only a passport of ours can tell whether that is so; otherwise it is
        taken on trust as soon as the dims agree.
    backend : IndexBackend
    root : Path, optional
        What the paths are relative to; by default the current folder, or what the passport says.
    normalise : bool
        Make vectors unit that are not.
    exif : bool, optional
        Whether pictures were turned upright by their EXIF orientation when they were encoded; by default what the
        passport says, or yes.
    force : bool
        Replace an index that is there.
    on_progress : callable, optional
        Called with (vectors written, vectors in all).

    Raises
    ------
    SpaceMismatchError
        If the vectors are not of the encoder's space, as far as that can be told.
    SourceError
        If a vector is no unit vector and ``normalise`` is not given, or none can be used.
    OutputExistsError
        If ``out`` holds something already, unless it is an index and ``force`` is given.
    """
    _check_space(foreign, encoder)
    usable, skipped = _judge(foreign, normalise=normalise)
    manifest = _manifest(foreign, encoder, root, exif, skipped)
    items = _items(foreign, usable, None if root is None and foreign.passport else manifest.root)
    dim = encoder.space.dim
    with creating(out, force=force) as writer:
        begun = staged(out)
        if begun is not None and not force:
            raise OutputExistsError(
                f"'{out}' holds an interrupted build with {begun.count} images",
                hint="Finish it with the command that began it, or throw it away with --force.",
            )
        segment = rows.write_blocks(writer, items, _unit_blocks(foreign, usable, on_progress), dim)
        vectors = LiveVectors.of(rows.read_part(out, manifest, segment).vectors)
        index = write_index(writer, index_of(vectors, dim, backend))
        writer.commit(replace(manifest, count=len(items), segments=(segment,), index=index))
        writer.clean()
        shutil.rmtree(out / STAGING, ignore_errors=True)
    return BuiltGallery(open_gallery(out, backend), Changes(added=len(items), skipped=skipped))


def export_gallery(
    gallery: Gallery, out: Path, form: Form, *, half: bool = False, force: bool = False, part_rows: int | None = None
) -> None:
    """Write a gallery in a form that other programs read.

    Parameters
    ----------
    gallery : Gallery
    out : Path
        A folder, or for Parquet a file.
    form : Form
    half : bool
        Write float16; clip-retrieval's form is always of float16.
    force : bool
        Replace an export of the same form.
    part_rows : int, optional
        Images a part, in clip-retrieval's form.

    Raises
    ------
    OutputExistsError
        If ``out`` holds something else, or something and ``force`` is not given.
    SourceError
        If a path or label does not fit into the form.
    IndexFolderError
        If the system refuses to write.
    """
    dtype = np.dtype(np.float16 if half else np.float32)
    with replacing(out, _KINDS[form], force=force) as beside:
        match form:
            case Form.CLIP_RETRIEVAL:
                clip_retrieval.write_gallery(beside, gallery, part_rows or clip_retrieval.PART_ROWS)
            case Form.NPY:
                plain.write_gallery(beside, gallery, dtype)
            case Form.PARQUET:
                parquet.write_gallery(beside, gallery, dtype)


def export_prototypes(
    prototypes: Prototypes, out: Path, form: Form, *, half: bool = False, force: bool = False
) -> None:
    """Write the vectors and class names of prototypes as ``.npy`` and text. Raises as ``export_gallery`` does."""
    if form is not Form.NPY:
        raise SourceError(f"prototypes have no form of {form}", hint="Export them with --as npy.")
    with replacing(out, _KINDS[form], force=force) as beside:
        plain.write_prototypes(beside, prototypes, np.dtype(np.float16 if half else np.float32))


def _check_space(foreign: ForeignVectors, encoder: Encoder) -> None:
    model = encoder.space.model
    if foreign.items and foreign.dim != encoder.space.dim:
        raise SpaceMismatchError(
            f"the vectors of '{foreign.where}' have {foreign.dim} dimensions, those of '{model}' {encoder.space.dim}",
            hint="Name the model that they were made with: --model M",
        )
    if foreign.passport is not None:
        differences = foreign.passport.space.differences(encoder.space)
        if differences:
            made_with = foreign.passport.space.model
            raise SpaceMismatchError(
                f"the vectors of '{foreign.where}' are of the space of '{made_with}', not of '{model}'; "
                f"they differ in {', '.join(differences)}",
                hint=f"Name the model that they were made with: --model {made_with}",
            )


def _judge(foreign: ForeignVectors, *, normalise: bool) -> tuple[NDArray[np.bool_], tuple[Skipped, ...]]:
    """Which vectors have a direction, and what is said of the others."""
    usable = np.zeros(len(foreign.items), dtype=np.bool_)
    skipped = []
    start = 0
    for block in foreign.blocks():
        _check_count(foreign, start + len(block), at_most=True)
        norms = _norms(block)
        good = np.isfinite(norms) & (norms > 0)
        usable[start : start + len(block)] = good
        for row in np.flatnonzero(~good).tolist():
            reason = "its vector is zero" if norms[row] == 0 else "its vector is not finite"
            skipped.append(Skipped(foreign.items[start + row].path, reason))
        odd = np.flatnonzero(good & (np.abs(norms - 1) > _MEANT_AS_UNIT))
        if len(odd) and not normalise:
            row = int(odd[0])
            raise SourceError(
                f"row {start + row} of '{foreign.where}' ('{foreign.items[start + row].path}') has norm "
                f"{norms[row]:.4g}, so it is no unit vector",
                hint="If vectors of any length are meant, make them unit with --normalise.",
            )
        start += len(block)
    _check_count(foreign, start)
    if not usable.any():
        first = f": first '{skipped[0].path}': {skipped[0].reason}" if skipped else ""
        raise SourceError(f"'{foreign.where}' holds no vector that can be used{first}", hint="Check what wrote it.")
    return usable, tuple(skipped)


def _unit_blocks(
    foreign: ForeignVectors, usable: NDArray[np.bool_], on_progress: OnProgress | None
) -> Iterator[Vectors]:
    # What our own galleries hold is taken back bit by bit.
    exact = UNIT_TOLERANCE if foreign.passport is not None and foreign.dtype == np.float32 else _UNIT
    start = 0
    for block in foreign.blocks():
        _check_count(foreign, start + len(block), at_most=True)
        kept = block[usable[start : start + len(block)]]
        norms = _norms(kept)
        if not (np.isfinite(norms) & (norms > 0)).all():
            raise ShapeError(f"the vectors of '{foreign.where}' changed while they were read", hint="Run it again.")
        vectors: Vectors = kept.astype(np.float32)
        odd = np.abs(norms - 1) > exact
        vectors[odd] = kept[odd].astype(np.float64) / norms[odd, None]
        start += len(block)
        yield vectors
        if on_progress is not None:
            on_progress(start, len(foreign.items))
    _check_count(foreign, start)


def _norms(block: Block) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.float64] = np.linalg.norm(block.astype(np.float64), axis=1)
    return norms


def _check_count(foreign: ForeignVectors, found: int, *, at_most: bool = False) -> None:
    if found > len(foreign.items) or (found < len(foreign.items) and not at_most):
        raise SourceError(
            f"'{foreign.where}' holds {found} vectors and {len(foreign.items)} paths",
            hint="Did it change while it was read? Run the command again.",
        )


def _items(foreign: ForeignVectors, usable: NDArray[np.bool_], root: str | None) -> tuple[Item, ...]:
    """The items whose vectors can be used, their paths relative to ``root`` where one is given."""
    kept = (item for item, good in zip(foreign.items, usable, strict=True) if good)
    if root is None:
        return tuple(kept)
    return tuple(replace(item, path=addresses.relative(root, item.path)) for item in kept)


def _manifest(
    foreign: ForeignVectors, encoder: Encoder, root: Path | None, exif: bool | None, skipped: tuple[Skipped, ...]
) -> Manifest:
    passport = foreign.passport
    encoding = passport.encoding if passport else Encoding("imported", foreign.dtype.name, "unknown")
    where = str((root or Path()).absolute())
    same_place = passport is not None and root is None
    return Manifest(
        kind=IndexKind.GALLERY,
        space=encoder.space,
        head=encoder.head,
        encoding=encoding if exif is None else replace(encoding, exif=exif),
        count=0,
        factory="Flat",
        files={},
        created=now(),
        tool_version=tool_version(),
        verified=now(),
        next_id=max(foreign.items[-1].id + 1, passport.next_id if passport else 0),
        root=passport.root if passport and same_place else where,
        origins=passport.origins if passport and same_place else (),
        skipped=(*(passport.skipped if passport else ()), *skipped),
    )
