"""Prototype and gallery indexes: opened and checked, written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import IndexFormatError, IntegrityError, ShapeError, UsageError
from zsretrieve.domain.kinds import Approximate, Effort
from zsretrieve.domain.ports import CandidateIndex, IndexBackend, SearchIndex, VectorIndex
from zsretrieve.domain.records import IndexKind, Item, Manifest, Space
from zsretrieve.domain.regions import boxes_of
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.domain.wording import one_line
from zsretrieve.images import opening
from zsretrieve.store import approximate, files, moving, rows
from zsretrieve.store import folder as folders
from zsretrieve.store import items as item_table
from zsretrieve.store import manifest as manifests
from zsretrieve.store.approximate import ApproximateSearch, Flags
from zsretrieve.store.folder import SEGMENTS, Writer
from zsretrieve.store.key_values import read_key_values
from zsretrieve.store.prototype_files import PROMPTS, read_drawn, read_prompts
from zsretrieve.store.prototypes import Prototypes as Prototypes
from zsretrieve.store.regions import RegionIndex
from zsretrieve.store.rows import Live, LiveVectors

_OPEN_ATTEMPTS = 20
_Opened = TypeVar("_Opened")


class RemoteIndexes(Protocol):
    """What opens the indexes of a gallery on other machines."""

    def exact(self, folder: Path, manifest: Manifest, vectors: LiveVectors) -> SearchIndex:
        """The index that compares every row, over the live rows. Raises ZsRetrieveError."""
        ...

    def candidates(self, folder: Path, made: Approximate, dim: int) -> CandidateIndex | None:
        """The approximate index, as ``zsretrieve.store.approximate.load`` returns it."""
        ...


@dataclass(frozen=True, repr=False)
class Gallery:
    """An open gallery index. ``items[i]`` belongs to row i of ``vectors`` (n, dim) and of ``index``; ids ascend.

    ``index`` compares every row. ``approximate`` compares a part of them, for searches; None for a gallery without.
    ``regions`` compares the images and their regions; None for a gallery without.
    """

    folder: Path | None
    manifest: Manifest
    items: Sequence[Item]
    live: LiveVectors
    index: SearchIndex
    approximate: ApproximateSearch | None = None
    regions: RegionIndex | None = None

    @property
    def space(self) -> Space:
        return self.manifest.space

    def bundles(self, rows: Rows) -> Vectors:
        """All vectors of rows, see ``zsretrieve.store.rows``, float32 of shape (len(rows), (1 + r) * dim)."""
        return self.index.stored(rows) if self.regions is None else self.regions.bundles(rows).reshape(len(rows), -1)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        among: Rows | None = None,
        *,
        exact: bool = False,
        effort: Effort | None = None,
    ) -> tuple[Rows, Flags]:
        """The k best rows for each query, int64 of shape (n, k), by the approximate index unless ``exact``; and for
        which queries every row was compared, bool of shape (n,). Parameters and errors: see ``ApproximateSearch``.
        """
        if self.approximate is not None and not exact:
            return self.approximate.search(queries, k, among, effort)
        return self.index.search(queries, k, among)[1], np.ones(len(queries), np.bool_)

    @cached_property
    def vectors(self) -> Vectors:
        """float32 of shape (n, dim), unit rows; mapped from the file where one segment holds just these rows."""
        return self.live.whole()

    @cached_property
    def revision(self) -> str:
        """What identifies its content: another one after every change, 16 hexadecimal digits."""
        # A verification changes only its own time, and perhaps where the folder is; an approximate index holds nothing
        # of its own.
        derived = () if self.manifest.approximate is None else self.manifest.approximate.files
        kept = {path: entry for path, entry in self.manifest.files.items() if path not in derived}
        content = manifests.to_bytes(
            replace(self.manifest, generation=0, verified="", home=None, approximate=None, files=kept)
        )
        return hashlib.sha256(content).hexdigest()[:16]

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The IDs of the images, int64 of shape (n,), ascending."""
        return item_table.ids_of(self.items)

    @cached_property
    def mtimes_ns(self) -> NDArray[np.int64]:
        """The times of their files when they were encoded, int64 of shape (n,)."""
        return item_table.mtimes_of(self.items)

    @cached_property
    def memo(self) -> dict[Hashable, Any]:
        """What was derived from its content before, so that it need not be again."""
        return {}

    def row_of(self, number: int) -> int | None:
        """The row of the image with an ID; None if there is no such image."""
        row = int(np.searchsorted(self.ids, number))
        return row if row < len(self.ids) and self.ids[row] == number else None

    def __repr__(self) -> str:
        what = "texts" if self.manifest.holds_texts else "images"
        return f"Gallery({str(self.folder)!r}, {len(self.items)} {what}, {self.space.model}, dim {self.space.dim})"

    def path_of(self, item: Item) -> str:
        """The address of an image when it was encoded, or where it was moved to together with the gallery."""
        return self._address(item.path)

    def image_of(self, item: Item) -> str | None:
        """The address of the image that a text describes, if it is known."""
        return None if item.image is None else self._address(item.image)

    def _address(self, path: str) -> str:
        address = opening.join(self.manifest.root or "", path)
        if self._was_moved and os.path.isabs(path):
            return moving.follow(self._folder, self.manifest, address)
        return address

    @cached_property
    def _was_moved(self) -> bool:
        return self.manifest.home not in (None, str(self._folder.absolute()))

    @property
    def _folder(self) -> Path:
        return self.folder or Path()

    @cached_property
    def rows_by_real_path(self) -> dict[str, list[int]]:
        """Rows of each image by its path with all links resolved; a list of paths may name a file twice."""
        rows: dict[str, list[int]] = {}
        for row, item in enumerate(() if self.manifest.holds_texts else self.items):
            rows.setdefault(opening.canonical(self.path_of(item)), []).append(row)
        return rows


def index_of(vectors: LiveVectors, dim: int, backend: IndexBackend) -> VectorIndex:
    """An index over vectors, in their order. Raises ShapeError if one of them is not a unit row."""
    index = backend.create(dim)
    # Files that hold exactly these rows stay mapped, however many there are; other rows must be copied.
    for block in vectors.in_order() or vectors.blocks():
        index.add(block)
    return index


def open_prototypes(folder: str | Path, backend: IndexBackend) -> Prototypes:
    """Open a prototype index after checking its manifest and files.

    Raises
    ------
    IndexFormatError
        If it is not a prototype index, or its manifest is damaged or of a newer format.
    IntegrityError
        If a file differs from the manifest.
    """
    return _open(Path(folder), lambda path: _open_prototypes(path, backend))


def open_gallery(folder: str | Path, backend: IndexBackend, remote: RemoteIndexes | None = None) -> Gallery:
    """Open a gallery index after checking its manifest and files. Raises as ``open_prototypes`` does."""
    return _open(Path(folder), lambda path: _open_gallery(path, backend, remote))


def is_index(folder: str | Path) -> bool:
    """Whether a folder holds an index or an unfinished one, sound or not."""
    return manifests.is_index(Path(folder)) or folders.staged(Path(folder)) is not None


def _open(folder: Path, opener: Callable[[Path], _Opened]) -> _Opened:
    """Open an index; if a writer replaced it meanwhile, open what it wrote."""
    for _ in range(_OPEN_ATTEMPTS):
        before = _manifest_bytes(folder)
        try:
            return opener(folder)
        except IntegrityError:
            if _manifest_bytes(folder) == before:
                raise
    return opener(folder)


def _manifest_bytes(folder: Path) -> bytes | None:
    try:
        return (folder / manifests.NAME).read_bytes()
    except OSError:
        return None


def _open_prototypes(folder: Path, backend: IndexBackend) -> Prototypes:
    manifest = _checked(folder, IndexKind.PROTOTYPES)
    if len(manifest.segments) != 1:
        raise files.damaged(folder, "prototypes have one segment")
    where = folder / SEGMENTS / manifest.segments[0].name
    prompts = read_prompts(where / PROMPTS)
    vectors = rows.read_vectors(where, manifest.segments[0].rows, manifest.dim)
    if not len(prompts.class_names) == len(vectors) == manifest.count:
        raise files.damaged(folder, "its counts differ")
    index = _index(folder, manifest, LiveVectors.of(vectors), backend)
    drawn, keys = read_drawn(where, manifest), read_key_values(where, manifest)
    return Prototypes(folder, manifest, prompts, vectors, index, drawn, keys)


def _open_gallery(folder: Path, backend: IndexBackend, remote: RemoteIndexes | None) -> Gallery:
    manifest = moving.followed(folder, _checked(folder, IndexKind.GALLERY))
    if remote is not None and manifest.regions is not None:
        raise UsageError(
            f"'{manifests.shown(folder)}' has regions, which are not searched on a cluster",
            hint="Search it on this machine: leave out `ray`.",
        )
    live = read_live(folder, manifest)
    index: SearchIndex
    if remote is None:
        index = _index(folder, manifest, live.vectors, backend)
    else:
        index = remote.exact(folder, manifest, live.vectors)

    def load(made: Approximate) -> CandidateIndex | None:
        if remote is None:
            return approximate.load(folder, made.parts, manifest.dim, backend)
        return remote.candidates(folder, made, manifest.dim)

    nearly = approximate.opened(manifest, live.vectors, index, load)
    boxes = boxes_of(manifest.regions)
    regions = RegionIndex(live.vectors, live.regions, boxes) if boxes else None
    return Gallery(folder, manifest, live.items, live.vectors, index, nearly, regions)


def read_live(folder: Path, manifest: Manifest) -> Live:
    """The live rows of a gallery. Raises IntegrityError if they are not what the manifest says."""
    live = rows.read(folder, manifest)
    if len(live.items) != manifest.count:
        raise files.damaged(folder, f"{len(live.items)} images instead of {manifest.count}")
    if live.items and not 0 <= live.items[0].id <= live.items[-1].id < manifest.next_id:
        raise files.damaged(folder, f"its ids are not below {manifest.next_id}")
    return live


def gallery_rows(writer: Writer) -> tuple[Manifest, Live]:
    """The manifest and the live rows of the gallery that is being written.

    Raises
    ------
    IndexFormatError
        If it is not a gallery.
    IntegrityError
        If it is damaged.
    """
    manifest = _gallery(writer)
    return moving.followed(writer.out, manifest), read_live(writer.out, manifest)


def gallery_vectors(writer: Writer) -> tuple[Manifest, list[Vectors]]:
    """The manifest of the gallery that is being written, and the vectors of each segment, float32 of shape (rows, dim),
    mapped; the items, which take more memory, are not read. Raises as ``gallery_rows`` does.
    """
    manifest = _gallery(writer)
    where = writer.out / SEGMENTS
    return moving.followed(writer.out, manifest), [
        rows.read_vectors(where / segment.name, segment.rows, manifest.dim) for segment in manifest.segments
    ]


def _gallery(writer: Writer) -> Manifest:
    manifest = writer.manifest
    if manifest is None or manifest.kind is not IndexKind.GALLERY:
        raise IndexFormatError(f"'{writer.out}' is not a gallery index", hint="Prototypes are rebuilt, not added to.")
    files.refuse_damaged(writer.out, manifest)
    return manifest


def _checked(folder: Path, kind: IndexKind) -> Manifest:
    manifest = manifests.read(folder)
    if manifest.kind is not kind:
        prototypes, gallery = "a prototype index", "a gallery index"
        if kind is IndexKind.GALLERY:
            message, hint = f"{prototypes}, but {gallery} is needed", f"{prototypes} is for classify and evaluate"
        else:
            message, hint = f"{gallery}, but {prototypes} is needed", f"{gallery} is for search"
        raise IndexFormatError(f"'{manifests.shown(folder)}' is {message}", hint=f"{hint[0].upper()}{hint[1:]}.")
    files.refuse_damaged(folder, manifest)
    return manifest


def _index(folder: Path, manifest: Manifest, vectors: LiveVectors, backend: IndexBackend) -> VectorIndex:
    shape = (manifest.count, manifest.dim)
    try:
        if manifest.index is None:
            return index_of(vectors, shape[1], backend)
        index = backend.load(folder / manifest.index, vectors.in_order() or ())
    except (OSError, ValueError, RuntimeError, ShapeError) as error:
        raise files.damaged(folder, one_line(error)) from error
    if (len(index), index.dim) != shape:
        raise files.damaged(folder, f"its FAISS file does not hold {shape[0]} x {shape[1]} numbers")
    return index
