"""A part of the rows of galleries, held and searched by a process of its own."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.backends.faiss_flat import FaissFlatIndex
from zsretrieve.backends.loading import index_backend
from zsretrieve.domain.errors import IndexFolderError, ZsRetrieveError
from zsretrieve.domain.kinds import Effort, Part
from zsretrieve.domain.ports import CandidateIndex
from zsretrieve.domain.ranking import rescored
from zsretrieve.domain.records import Segment
from zsretrieve.domain.vectors import Limits, Rows, Scores, Vectors
from zsretrieve.domain.wording import one_line
from zsretrieve.store import approximate
from zsretrieve.store import rows as row_files
from zsretrieve.store.folder import SEGMENTS
from zsretrieve.store.rows import LiveVectors


class NotHeldError(Exception):
    """A shard is asked for rows that it does not hold: it was restarted."""


@dataclass(frozen=True)
class Held:
    """Rows of a gallery, by the files that hold them.

    ``segments`` are all of the gallery in ``folder``, whose rows have ``dim`` dimensions. Row i of the shard is row
    ``places[i]`` of these, one after the other, int64 of shape (n,); or row ``places[0] + i``, below ``places[1]``.
    With ``reads`` they are read when they are opened, so that the first search need not wait for the storage.
    """

    folder: Path
    segments: tuple[Segment, ...]
    dim: int
    places: Rows | tuple[int, int]
    reads: bool = True

    @classmethod
    def of(
        cls, folder: Path, segments: tuple[Segment, ...], vectors: LiveVectors, start: int, stop: int, *, reads: bool
    ) -> Held:
        """Rows ``start`` to ``stop`` of a gallery."""
        places = vectors.places(start, stop)
        is_run = len(places) > 0 and bool((np.diff(places) == 1).all())
        run = (int(places[0]), int(places[-1]) + 1) if is_run else places
        return cls(folder, segments, vectors.dim, run, reads)

    @property
    def is_there(self) -> bool:
        """Whether this machine still sees the files; a writer deletes what it has replaced."""
        return all((self.folder / SEGMENTS / one.name / row_files.VECTORS).exists() for one in self.segments)

    def open(self) -> FaissFlatIndex:
        """An index over them, which maps consecutive rows from the files and holds copies of others.

        Raises
        ------
        IndexFolderError
            If the folder is not on this machine.
        IntegrityError, ShapeError
            If the files are not what the gallery says.
        """
        _check_there(self.folder)
        parts = [row_files.read_vectors(self.folder / SEGMENTS / one.name, one.rows, self.dim) for one in self.segments]
        blocks = self._blocks(parts)
        if not self.reads:
            return FaissFlatIndex(self.dim, aligned=blocks)
        index = FaissFlatIndex(self.dim)
        for block in blocks:
            index.add(block)
        return index

    def _blocks(self, parts: list[Vectors]) -> list[Vectors]:
        if not isinstance(self.places, tuple):
            copied = LiveVectors(parts, self.places, self.dim).whole()
            copied.flags.writeable = False  # so that the index does not copy it once more
            return [copied]
        start, stop = self.places
        blocks, first = [], 0
        for part in parts:
            blocks.append(part[max(0, start - first) : max(0, stop - first)])
            first += len(part)
        return [block for block in blocks if len(block)]


@dataclass(frozen=True)
class HeldParts:
    """Parts of the approximate index of the gallery in ``folder``, perhaps none, for vectors of ``dim`` dimensions."""

    folder: Path
    parts: tuple[Part, ...]
    dim: int

    @property
    def is_there(self) -> bool:
        """As for ``Held``."""
        return all((self.folder / part.file).exists() for part in self.parts)

    def open(self) -> CandidateIndex | None:
        """An index of them, None if there are none.

        Raises
        ------
        IndexFolderError
            If the folder or a file is not on this machine.
        IntegrityError
            If a file is damaged.
        OptionalDependencyError
            If FAISS is not installed.
        """
        if not self.parts:
            return None
        _check_there(self.folder)
        index = approximate.load(self.folder, self.parts, self.dim, index_backend("cpu"))
        if index is None:
            raise IndexFolderError(f"files of the approximate index of '{self.folder}' are gone", hint="Open it again.")
        return index


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        raise IndexFolderError(
            f"the folder '{folder}' is not on the node {platform.node()}",
            hint="Keep galleries on storage that every node mounts at the same path.",
        )


class Shard:
    """Holds rows of some galleries, by key, and searches them. Called by several threads at once."""

    def __init__(self) -> None:
        self._indexes: dict[str, Any] = {}
        self._changing = threading.Lock()

    def hold(self, wanted: Mapping[str, Held | HeldParts]) -> dict[str, ZsRetrieveError]:
        """Hold exactly these from now on; returns the reason for each that cannot be opened."""
        problems: dict[str, ZsRetrieveError] = {}
        with self._changing:
            kept = {key: index for key, index in self._indexes.items() if key in wanted}
            for key in wanted.keys() - kept.keys():
                try:
                    kept[key] = wanted[key].open()
                except ZsRetrieveError as error:
                    problems[key] = error
                except OSError as error:
                    problems[key] = IndexFolderError(
                        f"on the node {platform.node()}: {one_line(error)}", hint="See that it can read the gallery."
                    )
            self._indexes = kept
        return problems

    def search(self, key: str, queries: Vectors, k: int, rows: Rows | None) -> tuple[Scores, Rows]:
        """As ``SearchIndex.search``, with exact scores and at most as many hits as there are rows."""
        index: FaissFlatIndex = self._index(key)
        found = index.search(queries, min(k, len(index) if rows is None else len(rows)), rows)[1]
        return rescored(queries, found, index.stored), found

    def range_search(
        self, key: str, queries: Vectors, threshold: float, rows: Rows | None
    ) -> tuple[Limits, Scores, Rows]:
        """As ``SearchIndex.range_search``."""
        found: tuple[Limits, Scores, Rows] = self._index(key).range_search(queries, threshold, rows)
        return found

    def candidates(
        self, key: str, queries: Vectors, depth: int, effort: Effort, among: NDArray[np.bool_] | None
    ) -> tuple[Scores, Rows]:
        """As ``CandidateIndex.candidates``."""
        found: tuple[Scores, Rows] = self._index(key).candidates(queries, depth, effort, among)
        return found

    def _index(self, key: str) -> Any:
        try:
            return self._indexes[key]
        except KeyError:
            raise NotHeldError from None
