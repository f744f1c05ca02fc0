"""Arrays as ``.npy`` files, with lists of paths and labels, one entry per line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.backends.flat_file import FlatFile
from zsretrieve.domain.errors import IntegrityError, SourceError
from zsretrieve.domain.settings import Form
from zsretrieve.domain.text_files import entries_of
from zsretrieve.domain.wording import one_line
from zsretrieve.exchange.foreign import BLOCK_ROWS, Block, ForeignVectors, checked, item
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.rows import REGIONS, write_npy

VECTORS = "vectors.npy"
PATHS = "paths.txt"
LABELS = "labels.txt"
IDS = "ids.npy"
CLASS_NAMES = "class_names.txt"
NAMES = frozenset({VECTORS, REGIONS, PATHS, LABELS, IDS, CLASS_NAMES})

_MAGIC = b"\x93NUMPY"
_FAISS = b"Ix"
_FAISS_SUFFIXES = (".faiss", ".index")


def is_npy(path: Path) -> bool:
    """Whether a file is a NumPy array, or at least named so."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC or path.suffix == ".npy"
    except OSError:
        return path.suffix == ".npy"


def is_faiss(path: Path) -> bool:
    """Whether a file is an index of FAISS, or at least named so."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_FAISS)) == _FAISS or path.suffix in _FAISS_SUFFIXES
    except OSError:
        return path.suffix in _FAISS_SUFFIXES


def is_export(folder: Path) -> bool:
    """Whether a folder holds the vectors and paths that ``write_gallery`` writes."""
    return (folder / VECTORS).is_file() and (folder / PATHS).is_file()


def is_ours(folder: Path) -> bool:
    """Whether a folder holds an export of this program and nothing else."""
    try:
        names = {path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
        return VECTORS in names and names <= NAMES and len(names) == len(list(folder.iterdir()))
    except OSError:
        return False


def open_vectors(where: Path, paths: Path, labels: Path | None = None, ids: Path | None = None) -> ForeignVectors:
    """Open vectors with the list of their images.

    Parameters
    ----------
    where : Path
        ``.npy``, floating of shape (n, dim), or a flat inner-product index of FAISS.
    paths, labels : Path
        Text with one entry per line; an empty line in ``labels`` stands for none.
    ids : Path, optional
        ``.npy``, integer of shape (n,), ascending. By default rows are numbered from 0.

    Raises
    ------
    SourceError
        If a file cannot be read, or their lengths differ.
    """
    vectors = _map_faiss(where) if is_faiss(where) else map_matrix(where)
    names = read_lines(paths)
    _same_length(len(names), "paths", paths, len(vectors), where)
    of_class: Sequence[str] = [""] * len(names)
    if labels is not None:
        of_class = read_lines(labels)
        _same_length(len(of_class), "labels", labels, len(vectors), where)
    numbers: Sequence[int] = range(len(names))
    if ids is not None:
        numbers = _read_ids(ids)
        _same_length(len(numbers), "ids", ids, len(vectors), where)
    items = [item(i, path, label or None) for i, path, label in zip(numbers, names, of_class, strict=True)]
    return ForeignVectors(
        Form.NPY, where, checked(items, paths), vectors.shape[1], vectors.dtype, lambda: slices(vectors)
    )


def map_matrix(path: Path) -> Block:
    """Map the vectors of a ``.npy`` file, floating of shape (n, dim). Raises SourceError."""
    array = _load(path)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise SourceError(
            f"'{path}' holds {array.dtype} of shape {array.shape}, not floating-point numbers of shape (n, dim)",
            hint="Give one row per image.",
        )
    return array


def _map_faiss(path: Path) -> Block:
    """Map the rows of a flat inner-product index, float32 of shape (n, dim). Raises SourceError."""
    try:
        return FlatFile(path).mapped
    except (IntegrityError, OSError) as error:
        reason = error.message if isinstance(error, IntegrityError) else f"'{path}' cannot be read: {one_line(error)}"
        raise SourceError(
            reason,
            hint="Only flat inner-product indexes (IndexFlatIP) can be imported; from another, save the vectors with "
            "index.reconstruct_n and numpy.save.",
        ) from error


def slices(vectors: Block) -> Iterator[Block]:
    """A mapped array, a few thousand rows at a time."""
    for start in range(0, len(vectors), BLOCK_ROWS):
        yield vectors[start : start + BLOCK_ROWS]


def read_lines(path: Path) -> list[str]:
    """The entries of a text file, see ``zsretrieve.domain.text_files.entries_of``. Raises SourceError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"the list '{path}' cannot be read: {one_line(error)}", hint="Check the path.") from error
    return entries_of(content, str(path), SourceError)


def write_gallery(folder: Path, gallery: Gallery, dtype: np.dtype[Any]) -> None:
    """Write vectors, paths, labels and ids of a gallery into a folder, and the vectors of its regions if it has any.

    Raises SourceError for a path with a newline.
    """
    folder.mkdir()
    _write_lines(folder / PATHS, [gallery.path_of(one) for one in gallery.items], "path")
    _write_lines(folder / LABELS, [one.label or "" for one in gallery.items], "label")
    np.save(folder / IDS, np.array([one.id for one in gallery.items], dtype=np.int64))
    count, dim = len(gallery.items), gallery.space.dim
    write_npy(folder / VECTORS, gallery.live.blocks(), (count, dim), dtype)
    if gallery.regions is not None:
        regions = gallery.regions.regions
        write_npy(folder / REGIONS, regions.blocks(), (count, regions.dim // dim, dim), dtype)


def write_prototypes(folder: Path, prototypes: Prototypes, dtype: np.dtype[Any]) -> None:
    """Write vectors and class names into a folder. Raises SourceError for a name with a newline."""
    folder.mkdir()
    _write_lines(folder / CLASS_NAMES, prototypes.prompts.class_names, "class name")
    write_npy(folder / VECTORS, [prototypes.vectors], prototypes.vectors.shape, dtype)


def _write_lines(path: Path, entries: Sequence[str], what: str) -> None:
    for entry in entries:
        if "\n" in entry or entry.endswith("\r"):
            raise SourceError(
                f"the {what} {entry!r} holds a line break, so it does not fit in one line of a list",
                hint="Export with `form` parquet."
                if what != "class name"
                else "Build the index with other class names.",
            )
    path.write_bytes(b"".join(os.fsencode(entry) + b"\n" for entry in entries))


def _read_ids(path: Path) -> list[int]:
    array = _load(path)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise SourceError(
            f"'{path}' holds {array.dtype} of shape {array.shape}, not integers of shape (n,)", hint="Leave it out."
        )
    ids: list[int] = array.tolist()
    return ids


def _load(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses a damaged header with Python's own parser, which raises anything
        raise SourceError(
            f"'{path}' cannot be read as an array: {one_line(error)}", hint="Give a .npy file without pickled objects."
        ) from error
    if not isinstance(array, np.ndarray):
        raise SourceError(f"'{path}' is an archive of arrays, not one array", hint="Save the vectors with numpy.save.")
    return array


def _same_length(count: int, what: str, where: Path, n_vectors: int, vectors: Path) -> None:
    if count != n_vectors:
        raise SourceError(
            f"'{vectors}' holds {n_vectors} vectors, but '{where}' holds {count} {what}",
            hint=f"Give the {what} of all vectors, in the same order.",
        )
