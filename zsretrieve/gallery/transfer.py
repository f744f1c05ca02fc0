"""Importing vectors that were computed elsewhere into a gallery, and exporting indexes for other programs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import OutputExistsError, ShapeError, SourceError, SpaceMismatchError
from zsretrieve.domain.kinds import FLAT
from zsretrieve.domain.ports import Encoder, IndexBackend, OnProgress
from zsretrieve.domain.records import Changes, Encoding, IndexKind, Item, Manifest, Skipped
from zsretrieve.domain.settings import Form
from zsretrieve.domain.vectors import UNIT_TOLERANCE, Vectors
from zsretrieve.exchange import clip_retrieval, databases, parquet, plain
from zsretrieve.exchange.foreign import Block, ForeignVectors
from zsretrieve.gallery.build import BuiltGallery
from zsretrieve.images import opening
from zsretrieve.store import rows
from zsretrieve.store.folder import UNITS, creating, now, staged
from zsretrieve.store.index_files import write_index
from zsretrieve.store.indexes import Gallery, Prototypes, index_of, open_gallery
from zsretrieve.store.manifest import STAGING, shown
from zsretrieve.store.rows import LiveVectors
from zsretrieve.system.atomic import OutputKind, replacing
from zsretrieve.system.version import tool_version

_log = logging.getLogger("zsretrieve")

# A row whose norm is further from 1 was never meant as a unit vector; float16 alone changes it by less than 1e-3.
_MEANT_AS_UNIT = 1e-2
# A row nearer to 1 than this stays as it is, bit for bit: dividing by the norm would only change its last bits.
_UNIT = 1e-6

_KINDS = {
    Form.CLIP_RETRIEVAL: OutputKind(True, clip_retrieval.is_ours),
    Form.NPY: OutputKind(True, plain.is_ours),
    Form.PARQUET: OutputKind(False, parquet.is_ours),
    **{
        form: OutputKind(True, partial(databases.is_ours, form=form))
        for form in (Form.MILVUS, Form.LANCEDB, Form.QDRANT)
    },
}


@dataclass(frozen=True)
class Import:
    """How vectors become a gallery, see ``api.exchange.import_gallery``."""

    root: Path | None = None
    normalise: bool = False
    exif: bool | None = None
    force: bool = False
    on_progress: OnProgress | None = None


def import_gallery(
    out: Path, foreign: ForeignVectors, encoder: Encoder, backend: IndexBackend, how: Import
) -> BuiltGallery:
    """See ``api.exchange.import_gallery``; ``encoder`` is that of the model that computed the vectors."""
    _check_space(foreign, encoder)
    usable, skipped = _usable(foreign, normalise=how.normalise)
    manifest = _manifest(foreign, encoder, how, skipped)
    items = _items(foreign, usable, None if how.root is None and foreign.manifest else manifest.root)
    dim = encoder.space.dim
    with creating(out, force=how.force) as writer:
        build = staged(out)
        if build is not None and not how.force:
            raise OutputExistsError(
                f"'{shown(out)}' holds an interrupted build with {build.count} images",
                hint="Finish it with the command that started it, or discard it with `force`.",
            )
        segment = rows.write_blocks(writer, items, _unit_blocks(foreign, usable, how.on_progress), dim)
        vectors = LiveVectors.of(rows.read_part(out, manifest, segment).vectors)
        index = write_index(writer, index_of(vectors, dim, backend))
        writer.commit(replace(manifest, count=len(items), segments=(segment,), index=index))
        writer.clean()
        for unfinished in (STAGING, UNITS):
            shutil.rmtree(out / unfinished, ignore_errors=True)
    return BuiltGallery(open_gallery(out, backend), Changes(added=len(items), skipped=skipped))


def export_gallery(
    gallery: Gallery, out: Path, form: Form, *, half: bool = False, force: bool = False, part_rows: int | None = None
) -> None:
    """See ``api.exchange.export_index``."""
    dtype = _dtype(half)
    if gallery.regions is not None and form is not Form.NPY:
        _log.warning(f"the form {form} holds whole images alone; only npy holds the vectors of their regions, too")
    with replacing(out, _KINDS[form], force=force) as part:
        match form:
            case Form.CLIP_RETRIEVAL:
                clip_retrieval.write_gallery(part, gallery, part_rows or clip_retrieval.PART_ROWS)
            case Form.NPY:
                plain.write_gallery(part, gallery, dtype)
            case Form.PARQUET:
                parquet.write_gallery(part, gallery, dtype)
            case Form.MILVUS | Form.LANCEDB | Form.QDRANT:
                databases.write_gallery(part, gallery, form, dtype, part_rows)


def export_prototypes(
    prototypes: Prototypes, out: Path, form: Form, *, half: bool = False, force: bool = False
) -> None:
    """See ``api.exchange.export_index``."""
    if form is not Form.NPY:
        raise SourceError(f"prototypes cannot be exported as {form}", hint="Export them with `form` npy.")
    if prototypes.keys is not None:
        raise SourceError(
            "prototypes with an adapter cannot be exported: their scores are not inner products",
            hint="Export the text prototypes that the adapter was made with.",
        )
    with replacing(out, _KINDS[form], force=force) as part:
        plain.write_prototypes(part, prototypes, _dtype(half))


def _dtype(half: bool) -> np.dtype[np.float16] | np.dtype[np.float32]:
    return np.dtype(np.float16) if half else np.dtype(np.float32)


def _check_space(foreign: ForeignVectors, encoder: Encoder) -> None:
    model = encoder.space.model
    if foreign.items and foreign.dim != encoder.space.dim:
        raise SpaceMismatchError(
            f"the vectors of '{foreign.where}' have {foreign.dim} dimensions, those of '{model}' {encoder.space.dim}",
            hint="Give the `model` that computed them.",
        )
    differences = foreign.manifest.space.differences(encoder.space) if foreign.manifest else []
    if foreign.manifest and differences:
        computed_by = foreign.manifest.space.model
        raise SpaceMismatchError(
            f"the vectors of '{foreign.where}' were computed by '{computed_by}', not by '{model}'; the embedding "
            f"spaces differ in {', '.join(differences)}",
            hint=f"Give the `model` that computed them, {computed_by}.",
        )


def _usable(foreign: ForeignVectors, *, normalise: bool) -> tuple[NDArray[np.bool_], tuple[Skipped, ...]]:
    """Which vectors can be used, bool of shape (n,), and why the others cannot."""
    usable = np.zeros(len(foreign.items), dtype=np.bool_)
    skipped = []
    for start, block in _counted(foreign):
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
                f"{norms[row]:.4g}, so it is not a unit vector",
                hint="Scale vectors to unit length with `normalise`.",
            )
    if not usable.any():
        first = f": first '{skipped[0].path}': {skipped[0].reason}" if skipped else ""
        raise SourceError(f"no vector of '{foreign.where}' can be used{first}", hint="Check what wrote it.")
    return usable, tuple(skipped)


def _unit_blocks(
    foreign: ForeignVectors, usable: NDArray[np.bool_], on_progress: OnProgress | None
) -> Iterator[Vectors]:
    # Vectors of our own galleries stay the same bit for bit.
    exact = UNIT_TOLERANCE if foreign.manifest is not None and foreign.dtype == np.float32 else _UNIT
    for start, block in _counted(foreign):
        kept = block[usable[start : start + len(block)]]
        norms = _norms(kept)
        if not (np.isfinite(norms) & (norms > 0)).all():
            raise ShapeError(f"the vectors of '{foreign.where}' changed while they were read", hint="Run it again.")
        vectors: Vectors = kept.astype(np.float32)
        odd = np.abs(norms - 1) > exact
        vectors[odd] = kept[odd].astype(np.float64) / norms[odd, None]
        yield vectors
        if on_progress is not None:
            on_progress(start + len(block), len(foreign.items))


def _counted(foreign: ForeignVectors) -> Iterator[tuple[int, Block]]:
    """The blocks of vectors, each with its first row. Raises SourceError unless there is one vector for each item."""
    count, wanted = 0, len(foreign.items)
    for block in foreign.blocks():
        if count + len(block) <= wanted:
            yield count, block
        count += len(block)
        if count > wanted:
            break
    if count != wanted:
        raise SourceError(
            f"'{foreign.where}' holds {count} vectors and {wanted} paths",
            hint="Did it change while it was read? Run the command again.",
        )


def _norms(block: Block) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.float64] = np.linalg.norm(block.astype(np.float64), axis=1)
    return norms


def _items(foreign: ForeignVectors, usable: NDArray[np.bool_], root: str | None) -> tuple[Item, ...]:
    """The items whose vectors can be used, their paths relative to ``root`` if one is given."""
    kept = (item for item, good in zip(foreign.items, usable, strict=True) if good)
    if root is None:
        return tuple(kept)
    return tuple(replace(item, path=opening.relative(root, item.path)) for item in kept)


def _manifest(foreign: ForeignVectors, encoder: Encoder, how: Import, skipped: tuple[Skipped, ...]) -> Manifest:
    exported = foreign.manifest
    encoding = exported.encoding if exported else Encoding("imported", foreign.dtype.name, "unknown")
    same_place = exported is not None and how.root is None
    return Manifest(
        kind=IndexKind.GALLERY,
        space=encoder.space,
        head=encoder.head,
        encoding=encoding if how.exif is None else replace(encoding, exif=how.exif),
        count=0,
        factory=FLAT,
        files={},
        created=now(),
        tool_version=tool_version(),
        verified=now(),
        next_id=max(foreign.items[-1].id + 1, exported.next_id if exported else 0),
        root=exported.root if exported and same_place else str((how.root or Path()).absolute()),
        origins=exported.origins if exported and same_place else (),
        exclude=exported.exclude if exported and same_place else (),
        include=exported.include if exported and same_place else (),
        skipped=(*(exported.skipped if exported else ()), *skipped),
        holds_texts=exported is not None and exported.holds_texts,
    )
