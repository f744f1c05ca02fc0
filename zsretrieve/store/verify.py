"""Checking an index through and through."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zsretrieve.errors import IndexFolderError, IndexFormatError, IndexVersionError, IntegrityError, ShapeError
from zsretrieve.ports import IndexBackend
from zsretrieve.records import Damage, IndexKind, Manifest
from zsretrieve.store import files, indexes, rows
from zsretrieve.store import manifest as passport
from zsretrieve.store.folder import SEGMENTS, now, writing
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.items import ids_of
from zsretrieve.vectors import check_unit_rows

_ROWS = 8192


@dataclass(frozen=True)
class Verdict:
    """What a verification found. ``opened`` is the index where it is sound enough to be opened."""

    damages: tuple[Damage, ...]
    opened: Gallery | Prototypes | None


def verify(folder: Path, backend: IndexBackend, *, attempts: int = 5) -> Verdict:
    """Check every digest, count, id, norm and the FAISS file against the vectors.

    Where the index is sound and the folder can be written, its passport is renewed to say that it was verified now.

    Raises
    ------
    IndexFormatError
        If there is no index at all, or it is of another version.
    """
    try:
        manifest = passport.read(folder)
    except IndexFormatError as error:
        if isinstance(error, IndexVersionError) or not passport.is_there(folder):
            raise
        return Verdict((Damage(passport.NAME, error.message),), None)
    verdict = _verify(folder, manifest, backend)
    if not verdict.damages:
        _note(folder, manifest)
    elif attempts > 1 and passport.read_either(folder) != manifest:
        return verify(folder, backend, attempts=attempts - 1)  # a writer replaced meanwhile what was looked at
    return verdict


def _verify(folder: Path, manifest: Manifest, backend: IndexBackend) -> Verdict:
    found = files.check(folder, manifest, deep=True) + _copy(folder, manifest) + _each_segment(folder, manifest)
    if found:
        return Verdict(tuple(found), None)
    try:
        open_index = indexes.open_gallery if manifest.kind is IndexKind.GALLERY else indexes.open_prototypes
        opened = open_index(folder, backend)
    except (IndexFormatError, IntegrityError) as error:
        return Verdict((Damage(None, error.message),), None)
    return Verdict(tuple(_rows(opened)), opened)


def _copy(folder: Path, manifest: Manifest) -> list[Damage]:
    try:
        copy = passport.from_bytes((folder / passport.COPY).read_bytes(), folder / passport.COPY)
    except FileNotFoundError:
        return []  # a writer died between its first commit and this copy; the next one makes it
    except OSError as error:
        return [Damage(passport.COPY, f"'{passport.COPY}' cannot be read: {error.strerror}")]
    except IndexFormatError as error:
        return [Damage(passport.COPY, error.message)]
    # A writer that died right after its commit leaves the copy a commit behind.
    if copy != manifest and copy.generation >= manifest.generation:
        return [Damage(passport.COPY, f"'{passport.COPY}' is not a copy of '{passport.NAME}'")]
    return []


def _each_segment(folder: Path, manifest: Manifest) -> list[Damage]:
    """What a careless writer may have done wrong though every digest matches."""
    if manifest.kind is not IndexKind.GALLERY:
        return []
    found = []
    for segment in manifest.segments:
        where = f"{SEGMENTS}/{segment.name}"
        try:
            part = rows.read_part(folder, manifest, segment)
        except IntegrityError as error:
            found.append(Damage(where, error.message))
            continue
        ids = ids_of(part.items)
        if (np.diff(ids) <= 0).any():
            found.append(Damage(f"{where}/{rows.ITEMS}", f"the ids of '{where}' are not strictly increasing"))
        for start in range(0, len(part.vectors), _ROWS):
            try:
                check_unit_rows(part.vectors[start : start + _ROWS], manifest.space.dim)
            except ShapeError as error:
                found.append(Damage(f"{where}/{rows.VECTORS}", f"in '{where}', from row {start}: {error.message}"))
    return found


def _rows(opened: Gallery | Prototypes) -> list[Damage]:
    found = []
    if isinstance(opened, Prototypes):
        try:
            check_unit_rows(opened.vectors, opened.manifest.dim)
        except ShapeError as error:
            found.append(Damage(None, error.message))
    vectors = opened.live if isinstance(opened, Gallery) else rows.LiveVectors.of(opened.vectors)
    for start in range(0, len(vectors), _ROWS):
        some = np.arange(start, min(start + _ROWS, len(vectors)))
        if not np.array_equal(opened.index.stored(some), vectors.take(some)):
            found.append(Damage(opened.manifest.index, "the FAISS file does not hold the vectors of this index"))
            break
    return found


def _note(folder: Path, manifest: Manifest) -> None:
    """Record the verification; an index that cannot be written, or is being written, stays as it is."""
    with contextlib.suppress(IndexFolderError), writing(folder) as writer:
        if writer.manifest == manifest:
            writer.commit(replace(manifest, verified=now()))
