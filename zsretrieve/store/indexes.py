"""Prototype and gallery folders: what is in them, and how they are written, opened and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from zsretrieve.errors import IndexFormatError, IntegrityError, ShapeError, SpaceMismatchError
from zsretrieve.ports import IndexBackend, VectorIndex
from zsretrieve.records import IndexKind, Item, Manifest, PromptSet, Space
from zsretrieve.store import folder as folders
from zsretrieve.store import items as item_table
from zsretrieve.store import manifest as passport
from zsretrieve.vectors import Vectors, check_unit_rows

VECTORS = "vectors.npy"
ITEMS = "items.parquet"
PROMPTS = "prompts.json"
FAISS = "index.faiss"

_OPEN_ATTEMPTS = 20
_VERIFY_ROWS = 4096
_Opened = TypeVar("_Opened")


@dataclass(frozen=True, repr=False)
class Prototypes:
    """An open prototype index. ``vectors`` are float32 of shape (n_classes, dim), unit rows."""

    folder: Path | None
    manifest: Manifest
    prompts: PromptSet
    vectors: Vectors
    index: VectorIndex

    @property
    def space(self) -> Space:
        return self.manifest.space

    def __repr__(self) -> str:
        return (
            f"Prototypes({str(self.folder)!r}, {len(self.vectors)} classes, {self.space.model}, dim {self.space.dim})"
        )


@dataclass(frozen=True, repr=False)
class Gallery:
    """An open gallery index. ``items[i]`` belongs to row i of ``vectors`` (n, dim) and of ``index``."""

    folder: Path | None
    manifest: Manifest
    items: tuple[Item, ...]
    vectors: Vectors
    index: VectorIndex

    @property
    def space(self) -> Space:
        return self.manifest.space

    def __repr__(self) -> str:
        return f"Gallery({str(self.folder)!r}, {len(self.items)} images, {self.space.model}, dim {self.space.dim})"

    def path_of(self, item: Item) -> str:
        """Where the picture lay when it was encoded."""
        return os.path.join(self.manifest.root or "", item.path)

    @cached_property
    def rows_by_real_path(self) -> dict[str, list[int]]:
        """Rows of each picture by its path with all links resolved; a list of paths may name a file twice."""
        rows: dict[str, list[int]] = {}
        for row, item in enumerate(self.items):
            rows.setdefault(os.path.realpath(self.path_of(item)), []).append(row)
        return rows


def write_prototypes(
    draft: folders.Draft, manifest: Manifest, prompts: PromptSet, vectors: Vectors, index: VectorIndex
) -> Manifest:
    """Fill a draft with a prototype index and commit it."""
    content = {
        "class_names": prompts.class_names,
        "class_keys": prompts.class_keys,
        "templates": prompts.templates,
        "prompts": prompts.prompts,
        "classes_source": prompts.classes_source,
        "templates_source": prompts.templates_source,
    }
    with draft.writing() as segment:
        np.save(segment / VECTORS, vectors)
        (segment / PROMPTS).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        index.save(segment / FAISS)
    return draft.commit(manifest)


def write_gallery(
    draft: folders.Draft, manifest: Manifest, items: tuple[Item, ...], vectors: Vectors, index: VectorIndex
) -> Manifest:
    """Fill a draft with a gallery index and commit it."""
    with draft.writing() as segment:
        np.save(segment / VECTORS, vectors)
        item_table.write(segment / ITEMS, items)
        index.save(segment / FAISS)
    return draft.commit(manifest)


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
    """Whether a folder holds a passport of ours; opening it tells whether it is sound."""
    return passport.is_index(Path(folder))


def verify(folder: str | Path, backend: IndexBackend) -> list[str]:
    """Check every digest, count, id, norm and the FAISS file against the vectors.

    Returns
    -------
    list of str
        What is wrong; empty when the index is sound.
    """
    folder = Path(folder)
    try:
        manifest = passport.read(folder)
    except IndexFormatError as error:
        return [error.message]
    problems = folders.check_files(folder, manifest, deep=True)
    if problems:
        return problems
    try:
        opened = (open_gallery if manifest.kind is IndexKind.GALLERY else open_prototypes)(folder, backend)
        check_unit_rows(opened.vectors, manifest.space.dim)
    except (IndexFormatError, IntegrityError, ShapeError) as error:
        return [error.message]
    if isinstance(opened, Gallery):
        ids = [item.id for item in opened.items]
        if any(later <= earlier for earlier, later in pairwise(ids)):
            problems.append("item ids are not strictly increasing")
    for start in range(0, len(opened.vectors), _VERIFY_ROWS):
        rows = np.arange(start, min(start + _VERIFY_ROWS, len(opened.vectors)))
        if not np.array_equal(opened.index.stored(rows), opened.vectors[rows]):
            problems.append("the FAISS file does not hold the vectors of this index")
            break
    return problems


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
    prompts = _read_prompts(folders.file_named(folder, manifest, PROMPTS))
    vectors, index = _vectors_and_index(folder, manifest, backend)
    if not len(prompts.class_names) == len(vectors) == manifest.count:
        raise IntegrityError(f"the index at '{folder}' is damaged: its counts differ", hint=passport.REBUILD)
    return Prototypes(folder, manifest, prompts, vectors, index)


def _open_gallery(folder: Path, backend: IndexBackend) -> Gallery:
    manifest = _checked(folder, IndexKind.GALLERY)
    items = item_table.read(folders.file_named(folder, manifest, ITEMS))
    vectors, index = _vectors_and_index(folder, manifest, backend)
    if not len(items) == len(vectors) == manifest.count:
        raise IntegrityError(f"the index at '{folder}' is damaged: its counts differ", hint=passport.REBUILD)
    return Gallery(folder, manifest, items, vectors, index)


def _checked(folder: Path, kind: IndexKind) -> Manifest:
    manifest = passport.read(folder)
    if manifest.kind is not kind:
        other = "classify and evaluate" if manifest.kind is IndexKind.PROTOTYPES else "search"
        raise IndexFormatError(
            f"'{folder}' is a {manifest.kind} index, but a {kind} index is needed here",
            hint=f"A {manifest.kind} index serves {other}.",
        )
    folders.refuse_damaged(folder, manifest)
    return manifest


def _vectors_and_index(folder: Path, manifest: Manifest, backend: IndexBackend) -> tuple[Vectors, VectorIndex]:
    try:
        vectors = np.load(folders.file_named(folder, manifest, VECTORS), mmap_mode="r", allow_pickle=False)
        index = backend.load(folders.file_named(folder, manifest, FAISS))
    except (OSError, ValueError, RuntimeError) as error:
        raise IntegrityError(
            f"the index at '{folder}' is damaged: {_one_line(error)}", hint=passport.REBUILD
        ) from error
    shape = (manifest.count, manifest.space.dim)
    if vectors.shape != shape or vectors.dtype != np.float32 or (len(index), index.dim) != shape:
        raise IntegrityError(f"the index at '{folder}' is damaged: its vectors are not {shape}", hint=passport.REBUILD)
    return vectors, index


def _read_prompts(path: Path) -> PromptSet:
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
