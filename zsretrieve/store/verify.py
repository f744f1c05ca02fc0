"""Checking an index in full."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zsretrieve.domain.errors import (
    IndexFolderError,
    IndexFormatError,
    IndexVersionError,
    IntegrityError,
    OptionalDependencyError,
    ShapeError,
)
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.prompts import prompt_digest
from zsretrieve.domain.records import Damage, IndexKind, Manifest
from zsretrieve.domain.vectors import check_unit_rows
from zsretrieve.store import approximate, files, indexes, maps, rows
from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import SEGMENTS, now, writing
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.items import ids_of

_ROWS = 8192


@dataclass(frozen=True)
class Verdict:
    """The result of a verification. ``opened`` is the index if it is sound enough to be opened."""

    damages: tuple[Damage, ...]
    opened: Gallery | Prototypes | None


def verify(folder: Path, backend: IndexBackend, *, attempts: int = 5) -> Verdict:
    """Check every digest, count, ID, norm and the FAISS file against the vectors.

    If the index is sound and the folder can be written, its manifest records that it was verified now.

    Raises
    ------
    IndexFormatError
        If there is no index at all, or it is of another version.
    """
    try:
        manifest = manifests.read(folder)
    except IndexFormatError as error:
        if isinstance(error, IndexVersionError) or not manifests.exists(folder):
            raise
        return Verdict((Damage(manifests.NAME, error.message),), None)
    verdict = _verify(folder, manifest, backend)
    if not verdict.damages:
        _record(folder, manifest)
    elif attempts > 1 and manifests.read_either(folder) != manifest:
        return verify(folder, backend, attempts=attempts - 1)  # a writer replaced the index meanwhile
    return verdict


def _verify(folder: Path, manifest: Manifest, backend: IndexBackend) -> Verdict:
    damages = files.check(folder, manifest, deep=True) + _check_copy(folder, manifest)
    if manifest.kind is IndexKind.GALLERY:
        damages += _check_segments(folder, manifest)
    if damages:
        return Verdict(tuple(damages), None)
    try:
        open_index = indexes.open_gallery if manifest.kind is IndexKind.GALLERY else indexes.open_prototypes
        opened = open_index(folder, backend)
    except (IndexFormatError, IntegrityError) as error:
        return Verdict((Damage(None, error.message),), None)
    return Verdict((*_check_rows(opened), *_check_approximate(folder, manifest, backend), *_check_map(folder)), opened)


def _check_copy(folder: Path, manifest: Manifest) -> list[Damage]:
    try:
        copy = manifests.from_bytes((folder / manifests.COPY).read_bytes(), folder / manifests.COPY)
    except FileNotFoundError:
        return [Damage(manifests.COPY, f"'{manifests.COPY}' is missing, which a repair of '{manifests.NAME}' needs")]
    except OSError as error:
        return [Damage(manifests.COPY, f"'{manifests.COPY}' cannot be read: {error.strerror}")]
    except IndexFormatError as error:
        return [Damage(manifests.COPY, error.message)]
    # A writer that died right after its commit leaves the copy one commit behind.
    if copy != manifest and copy.generation >= manifest.generation:
        return [Damage(manifests.COPY, f"'{manifests.COPY}' is not a copy of '{manifests.NAME}'")]
    return []


def _check_segments(folder: Path, manifest: Manifest) -> list[Damage]:
    """What another program may have written wrong although every digest matches."""
    damages = []
    for segment in manifest.segments:
        where = f"{SEGMENTS}/{segment.name}"
        try:
            part = rows.read_part(folder, manifest, segment)
        except IntegrityError as error:
            damages.append(Damage(where, error.message))
            continue
        if (np.diff(ids_of(part.items)) <= 0).any():
            damages.append(Damage(f"{where}/{rows.ITEMS}", f"the IDs of '{where}' are not strictly increasing"))
        for name, vectors in ((rows.VECTORS, part.vectors), (rows.REGIONS, part.regions)):
            for start in range(0, len(vectors), _ROWS):
                try:
                    check_unit_rows(vectors[start : start + _ROWS].reshape(-1, manifest.space.dim), manifest.space.dim)
                except ShapeError as error:
                    damages.append(Damage(f"{where}/{name}", f"in '{where}', from row {start}: {error.message}"))
    return damages


def _check_approximate(folder: Path, manifest: Manifest, backend: IndexBackend) -> list[Damage]:
    """Whether FAISS opens the parts of an approximate index, if FAISS is installed."""
    damages = []
    for part in () if manifest.approximate is None else manifest.approximate.parts:
        try:
            with contextlib.suppress(OptionalDependencyError):
                approximate.load_part(folder, part, manifest.dim, backend)
        except IntegrityError as error:
            damages.append(Damage(part.file, error.message))
    return damages


def _check_map(folder: Path) -> list[Damage]:
    if not maps.exists(folder):
        return []
    try:
        maps.read(folder)
    except IndexVersionError:  # a later version keeps it
        return []
    except IntegrityError as error:
        return [Damage(manifests.MAP, error.message)]
    return []


def _check_rows(opened: Gallery | Prototypes) -> list[Damage]:
    damages = []
    if isinstance(opened, Prototypes):
        vectors = rows.LiveVectors.of(opened.vectors)
        try:
            check_unit_rows(opened.vectors, opened.manifest.dim)
        except ShapeError as error:
            damages.append(Damage(None, error.message))
        if opened.manifest.prompt_digest not in (None, prompt_digest(opened.prompts)):
            damages.append(Damage(manifests.NAME, "the prompts are not those that the manifest names"))
    else:
        vectors = opened.live
    for start in range(0, len(vectors), _ROWS):
        some = np.arange(start, min(start + _ROWS, len(vectors)))
        if not np.array_equal(opened.index.stored(some), vectors.take(some)):
            damages.append(Damage(opened.manifest.index, "the FAISS file does not hold the vectors of this index"))
            break
    return damages


def _record(folder: Path, manifest: Manifest) -> None:
    """Record the verification; an index that cannot be written, or is being written, stays as it is."""
    with contextlib.suppress(IndexFolderError), writing(folder) as writer:
        if writer.manifest == manifest:
            writer.commit(replace(manifest, verified=now()))
