"""What the use cases need from the outside, and nothing more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.records import Encoding, Head, Space
from zsretrieve.domain.vectors import Limits, Rows, Scores, Vectors

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[Any]


class ImageEncoder(Protocol):
    """What turns images into unit vectors."""

    @property
    def space(self) -> Space: ...

    @property
    def head(self) -> Head: ...

    @property
    def encoding(self) -> Encoding:
        """How it computes the vectors of images."""
        ...

    @property
    def batch_size(self) -> int:
        """The preferred number of images per batch."""
        ...

    @property
    def concurrency(self) -> int:
        """How many calls of ``encode_prepared`` may run at once, each in a thread of its own; 1 if only one may."""
        ...

    def prepare(self, image: Image.Image) -> Pixels:
        """Resize, crop and convert one image. Safe to call from several threads at once."""
        ...

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        """Vectors of prepared images.

        Returns
        -------
        float32 of shape (len(batch), dim), unit rows
        """
        ...


class Encoder(ImageEncoder, Protocol):
    """A model that embeds images and texts as unit vectors in one embedding space."""

    @property
    def text_encoding(self) -> Encoding:
        """How it computes the vectors of texts."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors of prompts; a prompt longer than the context is cut.

        Returns
        -------
        float32 of shape (len(texts), dim), unit rows
        """
        ...

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each prompt has before any cut, start and end tokens included."""
        ...


class TextEncoder(Protocol):
    """What turns prompts into vectors: an encoder, or a cache in front of one."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """See ``Encoder.encode_texts``."""
        ...


class PromptEncoder(TextEncoder, Protocol):
    """What of an encoder makes class vectors of prompts, see ``Encoder``."""

    @property
    def space(self) -> Space: ...

    @property
    def text_encoding(self) -> Encoding: ...

    def token_counts(self, texts: Sequence[str]) -> list[int]: ...


class PromptMemory(Protocol):
    """Vectors of prompts that were encoded before in one and the same way."""

    def recall(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """The vectors that are there of these texts, each float32 of shape (dim,)."""
        ...

    def keep(self, texts: Sequence[str], vectors: Vectors, encoding: Encoding) -> None:
        """Keep vectors, float32 of shape (len(texts), dim), that were computed as ``encoding`` says, if possible."""
        ...


@dataclass(frozen=True)
class Known:
    """An image that was encoded before: its size in pixels and its vector, float32 of shape (dim,); where regions have
    vectors, too, these follow it.
    """

    width: int
    height: int
    vector: Vectors


class ImageMemory(Protocol):
    """Images that were read and encoded before in one and the same way, by the sha256 of their files."""

    def recall(self, digest: str) -> Known | None:
        """What is known of an image. It is called from several threads."""
        ...

    def keep(self, images: Mapping[str, Known], encoding: Encoding) -> None:
        """Keep images that were encoded as ``encoding`` says, if possible."""
        ...


class SearchIndex(Protocol):
    """Exact search by inner product over unit rows."""

    @property
    def dim(self) -> int: ...

    @property
    def factory(self) -> str:
        """The FAISS factory string of its structure, e.g. ``Flat``."""
        ...

    @property
    def device(self) -> str: ...

    def __len__(self) -> int: ...

    def search(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None = None
    ) -> tuple[Scores, Rows]:
        """The k rows of greatest inner product for each query, best first, ties to the lowest row.

        Parameters
        ----------
        queries : float32 of shape (n, dim), unit rows
        k : int
            From 1 to the number of rows searched.
        rows : int64 of shape (m,), optional
            Search among these rows only, given strictly ascending; among all by default.

        Returns
        -------
        scores : float32 of shape (n, k)
        rows : int64 of shape (n, k)

        Raises
        ------
        RankError
            If k is below 1 or above the number of rows searched, or the selection is empty, not strictly ascending
            or beyond the index.
        ShapeError
            If the selection is not int64 of one dimension.
        MissingRowsError
            If rows that are to be searched are on machines that do not answer.
        """
        ...

    def range_search(
        self, queries: NDArray[np.float32], threshold: float, rows: NDArray[np.int64] | None = None
    ) -> tuple[Limits, Scores, Rows]:
        """Every row whose inner product with a query, rounded to float32, is at least ``threshold``.

        A query may find every row there is, so callers bound the memory by the number of queries times that of rows.

        Parameters
        ----------
        queries : float32 of shape (n, dim), unit rows
        threshold : float
            Rounded to float32, as scores are.
        rows : int64 of shape (m,), optional
            As for ``search``.

        Returns
        -------
        limits : int64 of shape (n + 1,)
            What query i found stands at ``limits[i]`` to ``limits[i + 1]`` of the other two.
        scores : float32 of shape (limits[n],)
        rows : int64 of shape (limits[n],)
            Ascending for each query.

        Raises
        ------
        RankError
            If the threshold is not a number, or the selection as for ``search``.
        ShapeError, MissingRowsError
            As for ``search``.
        """
        ...

    def stored(self, rows: NDArray[np.int64]) -> Vectors:
        """The float32 vectors of rows, of shape (rows.shape..., dim). Raises RankError if one is not there."""
        ...


class VectorIndex(SearchIndex, Protocol):
    """A search index that is made in memory and saved. Rows are numbered in the order added."""

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Append unit rows, float32 of shape (n, dim). Raises ShapeError otherwise."""
        ...

    def save(self, path: Path) -> None:
        """Write the index in its CPU form. Raises OSError if that cannot be done."""
        ...


class CandidateIndex(Protocol):
    """An approximate index: it names rows that are likely to be near a query, to be compared exactly by others."""

    @property
    def dim(self) -> int: ...

    @property
    def starves(self) -> bool:
        """Whether it finds too little among a small share of its rows, as walks through graphs do."""
        ...

    def __len__(self) -> int: ...

    def candidates(
        self, queries: NDArray[np.float32], depth: int, effort: Effort, among: NDArray[np.bool_] | None = None
    ) -> tuple[Scores, Rows]:
        """Rows that are likely to be near each query, best first by the scores that the index itself gives them.

        Parameters
        ----------
        queries : float32 of shape (n, dim), unit rows
        depth : int
            How many, from 1 to the number of rows searched.
        effort : Effort
        among : bool of shape (rows,), optional
            Which rows to search; all by default.

        Returns
        -------
        scores : float32 of shape (n, depth)
            Comparable among parts of one index; -inf in the places after the last row that was found.
        rows : int64 of shape (n, depth)
            -1 in those places.

        Raises
        ------
        IntegrityError
            If the index refuses, which a sound one does not.
        """
        ...


class PartMaker(Protocol):
    """Writes parts of an approximate index, which all share what was trained."""

    @property
    def effort(self) -> Effort:
        """How much a search looks at by default."""
        ...

    def write(self, vectors: Sequence[Vectors], path: Path, on_progress: Callable[[int], None] | None = None) -> None:
        """Write the file of a part.

        Parameters
        ----------
        vectors : sequence of float32 arrays of shape (n_i, dim), unit rows
            Rows are numbered through all of them. What is mapped from files is read block by block.
        path : Path
        on_progress : callable, optional
            Called with the rows that are in it.

        Raises
        ------
        OSError
            If it cannot be written.
        UsageError
            If a trial finds that the index ignores filters.
        """
        ...


class IndexBackend(Protocol):
    """Makes and opens exact indexes, and approximate ones beside them."""

    def create(self, dim: int) -> VectorIndex: ...

    def load(self, path: Path, aligned: Sequence[Vectors] = ()) -> VectorIndex:
        """Open a file that ``save`` wrote.

        Parameters
        ----------
        path : Path
        aligned : sequence of float32 arrays of shape (n_i, dim)
            The same rows, one array after the other, mapped from the layout that a matrix product needs. May be
            searched in place of those in the file.

        Raises
        ------
        IntegrityError
            If it is not such a file.
        """
        ...

    def check_kind(self, kind: str, dim: int, count: int) -> None:
        """Refuse an approximate kind that cannot be made of ``count`` rows.

        Raises
        ------
        OptionalDependencyError
            If FAISS is not installed.
        UsageError
            If the kind is not supported, does not fit the dimensions, or there are too few rows for it.
        """
        ...

    def train_candidates(
        self, kind: str, dim: int, vectors: Sequence[Vectors], sample: int, on_stage: OnStage | None = None
    ) -> PartMaker:
        """Train an approximate index.

        Parameters
        ----------
        kind : str
            A FAISS factory string that ``check_kind`` lets pass.
        dim : int
        vectors : sequence of float32 arrays of shape (n_i, dim), unit rows
        sample : int
            How many of these rows to train on.
        on_stage : callable, optional

        Raises
        ------
        UsageError
            If it cannot be trained.
        """
        ...

    def trained_candidates(self, kind: str, dim: int, path: Path) -> PartMaker:
        """What was trained for the part of an approximate index in a file, for more parts. Raises IntegrityError."""
        ...

    def load_candidates(self, path: Path) -> CandidateIndex:
        """Open a file that ``PartMaker.write`` wrote.

        Raises
        ------
        OptionalDependencyError
            If FAISS is not installed.
        IntegrityError
            If it is not such a file.
        """
        ...


# Called with (steps done, steps in all).
OnProgress = Callable[[int, int], None]
# Called with (name of the stage, steps done, steps in all).
OnStage = Callable[[str, int, int], None]


def progress_of(on_stage: OnStage | None, name: str) -> OnProgress | None:
    """The progress of one stage, or None if nobody listens."""
    return None if on_stage is None else partial(on_stage, name)


@contextlib.contextmanager
def one_step(on_stage: OnStage | None, name: str) -> Iterator[None]:
    """Report a stage of one step, before and after it."""
    if on_stage is not None:
        on_stage(name, 0, 1)
    yield
    if on_stage is not None:
        on_stage(name, 1, 1)
