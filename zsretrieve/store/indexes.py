"""Prototype and gallery folders: what is in them, and how they are written, opened and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from zsretrieve import addresses, metrics
from zsretrieve.errors import IndexFormatError, IntegrityError, ShapeError, SpaceMismatchError
from zsretrieve.ports import IndexBackend, VectorIndex
from zsretrieve.ranking import check_k
from zsretrieve.records import IndexKind, Item, Manifest, PromptSet, Segment, Space
from zsretrieve.store import files, rows
from zsretrieve.store import folder as folders
from zsretrieve.store import manifest as passport
from zsretrieve.store.folder import SEGMENTS, Writer
from zsretrieve.store.rows import Live, LiveVectors
from zsretrieve.vectors import Rows, Scores, Vectors, lifted_queries, unit_rows

PROMPTS = "prompts.json"
FAISS = "index.faiss"
DRAWN = "drawn.npy"

_OPEN_ATTEMPTS = 20
# So many vectors are lifted at a time.
_LIFTED_AT_ONCE = 1 << 15
Digests = NDArray[np.uint8]
_Opened = TypeVar("_Opened")


@dataclass(frozen=True, repr=False)
class Prototypes:
    """An open prototype index.

    ``vectors`` are float32 of shape (n_classes, ``manifest.dim``), unit rows. ``drawn`` are the sha256 of the pictures
    they were made from, uint8 of shape (n, 32), ascending; None for prototypes of texts alone.
    """

    folder: Path | None
    manifest: Manifest
    prompts: PromptSet
    vectors: Vectors
    index: VectorIndex
    drawn: Digests | None = None

    @property
    def space(self) -> Space:
        return self.manifest.space

    @property
    def class_queries(self) -> Vectors:
        """What ranks pictures for each class, float32 of shape (n_classes, ``space.dim``), unit rows.

        A bias shifts the scores of a class for all pictures alike, so it does not change their order.
        """
        return unit_rows(self.vectors[:, :-2]) if self.manifest.lifted else self.vectors

    def queries(self, vectors: Vectors) -> Vectors:
        """Vectors of the space as they meet ``vectors`` and ``index``, float32 of shape (n, ``manifest.dim``)."""
        return lifted_queries(vectors) if self.manifest.lifted else vectors

    def search(self, vectors: Vectors, k: int) -> tuple[Scores, Rows]:
        """The k best classes of each vector of the space, best first, ties to the lowest class id.

        Parameters
        ----------
        vectors : float32 of shape (n, ``space.dim``), unit rows
        k : int

        Returns
        -------
        scores : float32 of shape (n, k)
            What ``manifest.head`` makes logits of: cosine similarity, unless the prototypes are lifted.
        rows : int64 of shape (n, k)

        Raises
        ------
        RankError
            If k does not fit the number of classes.
        """
        if not self.manifest.lifted:
            return self.index.search(vectors, k)
        check_k(k, len(self.index), "classes")
        scores, rows = np.empty((len(vectors), k), np.float32), np.empty((len(vectors), k), np.int64)
        for start in range(0, len(vectors), _LIFTED_AT_ONCE):
            some = slice(start, start + _LIFTED_AT_ONCE)
            scores[some], rows[some] = self.index.search(self.queries(vectors[some]), k)
        return scores, rows

    def log_normaliser(self, vectors: Vectors, best: Scores) -> NDArray[np.float64]:
        """Log of the softmax denominator over all classes for each vector of the space, float64 of shape (n,).

        ``best`` is each one's greatest score, float32 of shape (n,), as ``search`` gives it.
        """
        if not self.manifest.lifted:
            return metrics.log_normaliser(vectors, self.vectors, self.manifest.head, best)
        found = np.empty(len(vectors), dtype=np.float64)
        for start in range(0, len(vectors), _LIFTED_AT_ONCE):
            some = slice(start, start + _LIFTED_AT_ONCE)
            found[some] = metrics.log_normaliser(
                self.queries(vectors[some]), self.vectors, self.manifest.head, best[some]
            )
        return found

    def __repr__(self) -> str:
        return (
            f"Prototypes({str(self.folder)!r}, {len(self.vectors)} classes, {self.space.model}, dim {self.space.dim})"
        )


@dataclass(frozen=True, repr=False)
class Gallery:
    """An open gallery index. ``items[i]`` belongs to row i of ``vectors`` (n, dim) and of ``index``; ids ascend."""

    folder: Path | None
    manifest: Manifest
    items: Sequence[Item]
    live: LiveVectors
    index: VectorIndex

    @property
    def space(self) -> Space:
        return self.manifest.space

    @cached_property
    def vectors(self) -> Vectors:
        """float32 of shape (n, dim), unit rows; mapped from the file where one segment holds just these rows."""
        return self.live.whole()

    def __repr__(self) -> str:
        return f"Gallery({str(self.folder)!r}, {len(self.items)} images, {self.space.model}, dim {self.space.dim})"

    def path_of(self, item: Item) -> str:
        """Where the picture lay when it was encoded."""
        return addresses.join(self.manifest.root or "", item.path)

    @cached_property
    def rows_by_real_path(self) -> dict[str, list[int]]:
        """Rows of each picture by its path with all links resolved; a list of paths may name a file twice."""
        rows: dict[str, list[int]] = {}
        for row, item in enumerate(self.items):
            rows.setdefault(addresses.canonical(self.path_of(item)), []).append(row)
        return rows


def write_prototypes(
    writer: Writer,
    manifest: Manifest,
    prompts: PromptSet,
    vectors: Vectors,
    index: VectorIndex,
    drawn: Digests | None = None,
) -> Manifest:
    """Write a prototype index and commit it; ``drawn`` as in ``Prototypes``."""
    content = {
        "class_names": prompts.class_names,
        "class_keys": prompts.class_keys,
        "templates": prompts.templates,
        "prompts": prompts.prompts,
        "classes_source": prompts.classes_source,
        "templates_source": prompts.templates_source,
    }
    segment = writer.new_segment()
    with files.written(writer.out):
        np.save(segment / rows.VECTORS, vectors)
        (segment / PROMPTS).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if drawn is not None:
            np.save(segment / DRAWN, drawn)
    writer.seal(segment)
    return writer.commit(
        replace(manifest, segments=(Segment(segment.name, len(vectors)),), index=write_index(writer, index))
    )


def write_index(writer: Writer, index: VectorIndex) -> str:
    """Write the FAISS file of an index into a segment folder of its own; its path in the index folder."""
    folder = writer.new_segment()
    with files.written(writer.out):
        index.save(folder / FAISS)
    writer.seal(folder)
    return f"{SEGMENTS}/{folder.name}/{FAISS}"


def index_of(vectors: LiveVectors, dim: int, backend: IndexBackend) -> VectorIndex:
    """An index over vectors, in their order. Raises ShapeError if one of them is no unit row."""
    index = backend.create(dim)
    # Files that hold just these rows stay where they are mapped, however many there are; other rows must be copied.
    for block in vectors.in_order() or vectors.blocks():
        index.add(block)
    return index


def open_prototypes(folder: str | Path, backend: IndexBackend) -> Prototypes:
    """Open a prototype index after checking its passport and files.

    Raises
    ------
    IndexFormatError
        If it is no prototype index, damaged, or of a newer format.
    IntegrityError
        If a file differs from what the passport says.
    """
    return _open(Path(folder), lambda path: _open_prototypes(path, backend))


def open_gallery(folder: str | Path, backend: IndexBackend) -> Gallery:
    """Open a gallery index after checking its passport and files. Raises as ``open_prototypes`` does."""
    return _open(Path(folder), lambda path: _open_gallery(path, backend))


def is_index(folder: str | Path) -> bool:
    """Whether a folder holds an index of ours or the beginning of one; opening it tells whether it is sound."""
    return passport.is_index(Path(folder)) or folders.staged(Path(folder)) is not None


def check_same_space(one: Space, one_name: str, other: Space, other_name: str) -> None:
    """Raise SpaceMismatchError, naming both sides, unless vectors of the two spaces may meet."""
    differences = one.differences(other)
    if differences:
        raise SpaceMismatchError(
            f"{one_name} is of the space of '{one.model}' and {other_name} of '{other.model}'; "
            f"they differ in {', '.join(differences)}",
            hint=f"Build one of the two again with the other's model: --model {other.model}",
        )


def _open(folder: Path, opener: Callable[[Path], _Opened]) -> _Opened:
    """Open an index; if a writer replaced it meanwhile, open what it wrote."""
    for _ in range(_OPEN_ATTEMPTS):
        before = _passport_bytes(folder)
        try:
            return opener(folder)
        except IntegrityError:
            if _passport_bytes(folder) == before:
                raise
    return opener(folder)


def _passport_bytes(folder: Path) -> bytes | None:
    try:
        return (folder / passport.NAME).read_bytes()
    except OSError:
        return None


def _open_prototypes(folder: Path, backend: IndexBackend) -> Prototypes:
    manifest = _checked(folder, IndexKind.PROTOTYPES)
    if len(manifest.segments) != 1:
        raise _damaged(folder, "prototypes lie in one segment")
    where = folder / SEGMENTS / manifest.segments[0].name
    prompts = read_prompts(where / PROMPTS)
    vectors = rows.read_vectors(where, manifest.segments[0].rows, manifest.dim)
    if not len(prompts.class_names) == len(vectors) == manifest.count:
        raise _damaged(folder, "its counts differ")
    index = _index(folder, manifest, LiveVectors.of(vectors), backend)
    return Prototypes(folder, manifest, prompts, vectors, index, read_drawn(where, manifest))


def read_drawn(where: Path, manifest: Manifest) -> Digests | None:
    """The digests of the pictures that prototypes were made from. Raises IntegrityError."""
    if manifest.training is None:
        return None
    try:
        drawn = np.load(where / DRAWN, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IntegrityError(f"'{where / DRAWN}' is damaged: {_one_line(error)}", hint=passport.REBUILD) from error
    if drawn.dtype != np.uint8 or drawn.ndim != 2 or drawn.shape[1] != 32:
        raise IntegrityError(f"'{where / DRAWN}' is damaged: it holds no digests", hint=passport.REBUILD)
    digests: Digests = drawn
    return digests


def _open_gallery(folder: Path, backend: IndexBackend) -> Gallery:
    manifest = _checked(folder, IndexKind.GALLERY)
    live = read_live(folder, manifest)
    return Gallery(folder, manifest, live.items, live.vectors, _index(folder, manifest, live.vectors, backend))


def read_live(folder: Path, manifest: Manifest) -> Live:
    """The rows of a gallery that count. Raises IntegrityError if they are not what the passport says."""
    live = rows.read(folder, manifest)
    if len(live.items) != manifest.count:
        raise _damaged(folder, f"{len(live.items)} images instead of {manifest.count}")
    if live.items and not 0 <= live.items[0].id <= live.items[-1].id < manifest.next_id:
        raise _damaged(folder, f"its ids do not lie below {manifest.next_id}")
    return live


def gallery_rows(writer: Writer) -> tuple[Manifest, Live]:
    """The passport and the rows of the gallery that is being written.

    Raises
    ------
    IndexFormatError
        If it is no gallery.
    IntegrityError
        If it is damaged.
    """
    manifest = writer.manifest
    if manifest is None or manifest.kind is not IndexKind.GALLERY:
        raise IndexFormatError(
            f"'{writer.out}' is not a gallery index", hint="Prototypes are built again, not added to."
        )
    files.refuse_damaged(writer.out, manifest)
    return manifest, read_live(writer.out, manifest)


def _checked(folder: Path, kind: IndexKind) -> Manifest:
    manifest = passport.read(folder)
    if manifest.kind is not kind:
        other = "classify and evaluate" if manifest.kind is IndexKind.PROTOTYPES else "search"
        raise IndexFormatError(
            f"'{folder}' is a {manifest.kind} index, but a {kind} index is needed here",
            hint=f"A {manifest.kind} index serves {other}.",
        )
    files.refuse_damaged(folder, manifest)
    return manifest


def _index(folder: Path, manifest: Manifest, vectors: LiveVectors, backend: IndexBackend) -> VectorIndex:
    shape = (manifest.count, manifest.dim)
    try:
        if manifest.index is None:
            return index_of(vectors, shape[1], backend)
        index = backend.load(folder / manifest.index, vectors.in_order() or ())
    except (OSError, ValueError, RuntimeError, ShapeError) as error:
        raise _damaged(folder, _one_line(error)) from error
    if (len(index), index.dim) != shape:
        raise _damaged(folder, f"its FAISS file is not of {shape[0]} x {shape[1]}")
    return index


def _damaged(folder: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"the index at '{folder}' is damaged: {what}",
        hint=f"See what can be saved with: zsretrieve index repair '{folder}'",
    )


def read_prompts(path: Path) -> PromptSet:
    """The prompts of a prototype index. Raises IntegrityError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return PromptSet(
            tuple(content["class_names"]),
            tuple(content["class_keys"]),
            tuple(tuple(group) for group in content["prompts"]),
            tuple(content["templates"]),
            content["classes_source"],
            content["templates_source"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"'{path}' is damaged: {_one_line(error)}", hint=passport.REBUILD) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
