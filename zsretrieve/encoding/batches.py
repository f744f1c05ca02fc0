"""Images to vectors: the model works on one batch while others are prepared; order kept, memory bounded."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from zsretrieve.domain.errors import ImageError, SkippedInputError, SourceError
from zsretrieve.domain.ports import ImageEncoder, ImageMemory, Known, OnProgress, Pixels, PromptEncoder, PromptMemory
from zsretrieve.domain.records import Item, Skipped, Space
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.image_sides import space_beside
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.prefetch import BatchEncoder, Loads, Prefetch, Ready
from zsretrieve.encoding.units import ends_unit
from zsretrieve.images import opening
from zsretrieve.images.sources import Source, SourceFile

_TEXT_CHUNK = 512
_MOST_KNOWN = 1024
_MOST_SKIPPED = 1024
_KEPT_AT_ONCE = 512


_Encodes = TypeVar("_Encodes", bound=BatchEncoder)


@dataclass(frozen=True)
class Seen:
    """An image and its vector as in ``Known``; ``fresh`` if the model encoded it just now."""

    file: SourceFile
    item: Item
    vector: Vectors
    fresh: bool


@dataclass(frozen=True)
class Batch:
    """The result of one call of the model, in the order of the files; ``done`` is the number of files done by now.

    Many skipped files make a batch of their own; images before them may be in the next one.
    """

    seen: tuple[Seen, ...]
    skipped: tuple[Skipped, ...]
    done: int


@dataclass(frozen=True)
class Encoded:
    """An encoded source. Row i of ``vectors`` (n, dim) belongs to ``items[i]``."""

    items: tuple[Item, ...]
    vectors: Vectors
    skipped: tuple[Skipped, ...]


class Memory:
    """The vectors of one run by the digest of their images, so that equal files share a vector; and those of earlier
    runs, if there is a cache.
    """

    def __init__(self, cache: ImageMemory | None = None) -> None:
        self._known: dict[str, Known] = {}
        self._cache = cache
        self._asked: set[str] = set()
        self._new: dict[str, Known] = {}

    def get(self, digest: str) -> Known | None:
        if self._cache is not None and digest not in self._asked:
            self._asked.add(digest)
            cached = self._cache.recall(digest)
            if cached is not None:
                self._known.setdefault(digest, cached)
        return self._known.get(digest)

    def note(self, batch: Batch) -> None:
        for seen in batch.seen:
            known = self._known.setdefault(seen.item.digest, Known(seen.item.width, seen.item.height, seen.vector))
            if seen.fresh:
                self._new[seen.item.digest] = known

    def keep(self, model: Loads[BatchEncoder], least: int = 1) -> None:
        """Put what the model encoded since the last time into the cache, if it is at least so many images."""
        if self._cache is not None and len(self._new) >= least:
            self._cache.keep(self._new, model.load().encoding)
            self._new = {}


def encode_source(
    source: Source,
    model: Model,
    reading: Reading,
    *,
    space: Space | None = None,
    on_progress: OnProgress | None = None,
) -> Encoded:
    """Encode every readable image of a source.

    All vectors and items are kept in memory, some 5 kB per image at 512 dimensions; a gallery keeps them on disk.

    Parameters
    ----------
    source : Source
    model : Model
    reading : Reading
    space : Space, optional
        The embedding space that the model must have. With it, images come from the cache of earlier runs, the model is
        loaded only for new ones, and these are kept there, even if the run is interrupted.
    on_progress : callable, optional
        Called with (files done, files in all).

    Raises
    ------
    SkippedInputError
        If ``reading`` is strict and an image cannot be used.
    SourceError
        If no image can be read.
    SpaceMismatchError
        If the model has another embedding space.
    """

    def accept(encoder: ImageEncoder) -> None:
        if space is not None:
            check_same_images(space, "the index", encoder.space, "the model")

    memory = Memory(None if space is None else model.image_memory(space_beside(model, space), reading))
    skipped = list(unread(source, reading))
    batches = []
    try:
        for batch in encode_batches(source, source.files, model, reading, memory.get, accept):
            memory.note(batch)
            memory.keep(model, _KEPT_AT_ONCE)
            batches.append(batch)
            skipped += batch.skipped
            if on_progress is not None:
                on_progress(batch.done, len(source.files))
    finally:
        memory.keep(model)
    seen = [one for batch in batches for one in batch.seen]
    if not seen:
        raise nothing_readable(skipped)
    return Encoded(tuple(one.item for one in seen), np.stack([one.vector for one in seen]), tuple(skipped))


def unread(source: Source, reading: Reading) -> tuple[Skipped, ...]:
    """What was skipped when the source was listed. Raises SkippedInputError if ``reading`` is strict."""
    if reading.strict and source.skipped:
        raise refusal(source, source.skipped[0])
    return source.skipped


def nothing_readable(skipped: Sequence[Skipped]) -> SourceError:
    """The error for a source without a readable image."""
    first = f"'{skipped[0].path}': {skipped[0].reason}"
    return SourceError(
        f"none of the {len(skipped)} images can be read; the first is {first}"
        if len(skipped) > 1
        else f"the only image cannot be read: {first}",
        hint="Check that the files open in an image viewer.",
    )


def encode_batches(
    source: Source,
    files: Sequence[SourceFile],
    model: Loads[_Encodes],
    reading: Reading,
    known: Callable[[str], Known | None],
    accept: Callable[[_Encodes], None] = lambda _: None,
) -> Generator[Batch]:
    """Encode files, one batch of the model after the other.

    An image whose bytes are known already, or occur earlier in the same batch, is not encoded again, so that equal
    images have bit-equal vectors. Batches hold the same images however often a run was interrupted between two of them
    and resumed, as long as everything before is known; none reaches over the end of a unit, see ``units``.

    Parameters
    ----------
    source : Source
    files : sequence of SourceFile
        Of that source. The ID of an item is its place in this sequence.
    model : Model or another that loads a BatchEncoder
        Loaded for the first image to encode.
    reading : Reading
    known : callable
        Returns what is known of a digest. It is called from several threads; it should know every batch yielded before
        the next one is requested.
    accept : callable
        Called with the encoder once it is loaded, to raise if it does not fit.

    Raises
    ------
    SkippedInputError
        If ``reading`` is strict and an image cannot be used.
    """
    prefetch = Prefetch(source, files, reading, known, model, accept)
    refused: SkippedInputError | None = None
    filling = _Filling()
    # Batches that the model has or is about to get, oldest first. How many there are does not depend on time.
    flying: deque[_Filling] = deque()
    with contextlib.closing(prefetch.images()) as images, _Threads() as threads:
        for done, (file, outcome) in enumerate(images, start=1):
            if isinstance(outcome, ImageError):
                filling.skipped.append(Skipped(file.path, outcome.message))
                if reading.strict:
                    refused = refusal(source, filling.skipped[-1])
                    break
                if len(filling.skipped) >= _MOST_SKIPPED:
                    flying.append(filling.without_entries(done))
                    while len(flying) > threads.concurrency:
                        yield flying.popleft().finished()
            else:
                filling.add(file, outcome, known, flying)
            full = prefetch.encoder is not None and filling.is_full(files, done, prefetch.encoder.batch_size)
            # The images of a batch are the same however often a run was interrupted, so a constant bounds the others.
            if full or len(filling.entries) - len(filling.pixels) >= _MOST_KNOWN:
                filling.done = done
                flying.append(threads.encode(filling, prefetch.encoder))
                filling = _Filling()
                # One more than run at once, so that the next is ready when the model finishes one.
                while len(flying) > threads.concurrency:
                    yield flying.popleft().finished()
        if refused is None:
            filling.done = len(files)
            flying.append(threads.encode(filling, prefetch.encoder))
        while flying:
            yield flying.popleft().finished()
    if refused is not None:
        raise refused


@dataclass(frozen=True)
class EncodedTexts:
    """Encoded distinct prompts. ``rows[g]`` are the rows of group g; ``cut`` were longer than the context."""

    vectors: Vectors
    rows: list[list[int]]
    cut: tuple[str, ...]


def encode_texts_once(
    encoder: PromptEncoder,
    groups: Sequence[Sequence[str]],
    *,
    memory: PromptMemory | None = None,
    keep: Callable[[Sequence[str], Vectors], None] | None = None,
    on_progress: OnProgress | None = None,
) -> EncodedTexts:
    """Encode each distinct text once, so that equal prompts have bit-equal vectors and their scores tie.

    Parameters
    ----------
    encoder : PromptEncoder
    groups : sequence of sequences of str
        The prompts of each class.
    memory : PromptMemory, optional
        Has the vectors of earlier prompts, and keeps new ones.
    keep : callable, optional
        Called with some texts and their vectors as soon as they are encoded.
    on_progress : callable, optional
        Called with (texts done, texts in all).
    """
    row_of: dict[str, int] = {}
    rows = [[row_of.setdefault(text, len(row_of)) for text in group] for group in groups]
    texts = list(row_of)
    room = encoder.space.text.context_length
    counts = encoder.token_counts(texts)
    cut = tuple(text for text, count in zip(texts, counts, strict=True) if count > room)
    vectors = np.empty((len(texts), encoder.space.dim), dtype=np.float32)
    known = {} if memory is None else memory.recall(texts)
    for text, vector in known.items():
        vectors[row_of[text]] = vector
    # Texts of similar length share a chunk, so that the encoder need not pad them.
    order = sorted((row for row, text in enumerate(texts) if text not in known), key=counts.__getitem__)
    for start in range(0, len(order), _TEXT_CHUNK):
        chunk = order[start : start + _TEXT_CHUNK]
        some = [texts[row] for row in chunk]
        vectors[chunk] = encoder.encode_texts(some)
        if memory is not None:
            memory.keep(some, vectors[chunk], encoder.text_encoding)
        if keep is not None:
            keep(some, vectors[chunk])
        if on_progress is not None:
            on_progress(start + len(chunk), len(order))
    return EncodedTexts(vectors, rows, cut)


@dataclass
class _Filling:
    """A batch in progress. An entry has the vector of a known image, or its row in this batch or an earlier one."""

    pixels: list[Pixels] = field(default_factory=list)
    row_of: dict[str, int] = field(default_factory=dict)
    entries: list[tuple[SourceFile, Item, Known | tuple[_Filling, int]]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    done: int = 0
    vectors: Future[Vectors | Sequence[Vectors]] | None = None

    def add(
        self, file: SourceFile, ready: Ready, known: Callable[[str], Known | None], flying: Iterable[_Filling]
    ) -> None:
        digest = ready.item.digest
        before = known(digest)
        if before is not None:
            self.entries.append((file, ready.item, before))
            return
        for earlier in (*flying, self):
            if digest in earlier.row_of:
                self.entries.append((file, ready.item, (earlier, earlier.row_of[digest])))
                return
        assert ready.pixels is not None
        self.row_of[digest] = len(self.pixels)
        self.entries.append((file, ready.item, (self, len(self.pixels))))
        self.pixels.append(ready.pixels)

    def is_full(self, files: Sequence[SourceFile], done: int, batch_size: int) -> bool:
        """Whether the model gets it after so many files."""
        return len(self.pixels) == batch_size or (len(self.pixels) > 0 and ends_unit(files, done, batch_size))

    def without_entries(self, done: int) -> _Filling:
        """Move what was skipped so far to a batch of its own.

        The images stay: a resumed run meets skipped files again but not encoded ones, so batches would differ if
        skipped files ended one.
        """
        skipped, self.skipped = self.skipped, []
        return _Filling(skipped=skipped, done=done - len(self.entries))

    def vector(self, row: int) -> Vectors:
        assert self.vectors is not None
        vector: Vectors = self.vectors.result()[row]
        return vector

    def finished(self) -> Batch:
        """The batch once the model has encoded it. Raises what the model raised."""
        if self.vectors is not None:
            self.vectors.result()
        fresh = set(range(len(self.row_of)))
        seen = []
        for file, item, source in self.entries:
            if isinstance(source, Known):
                seen.append(Seen(file, item, source.vector, fresh=False))
                continue
            batch, row = source
            seen.append(Seen(file, item, batch.vector(row), fresh=batch is self and row in fresh))
            if batch is self:
                fresh.discard(row)
        return Batch(tuple(seen), tuple(self.skipped), self.done)


class _Threads:
    """The threads that call the model, as many as it supports."""

    def __init__(self) -> None:
        self.concurrency = 0
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> _Threads:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def encode(self, batch: _Filling, encoder: BatchEncoder | None) -> _Filling:
        """Start encoding the pixels of a batch, which are freed when that is done."""
        if encoder is None or not batch.pixels:
            return batch
        if self._pool is None:
            self.concurrency = encoder.concurrency
            self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="model")
        pixels, batch.pixels = batch.pixels, []
        batch.vectors = self._pool.submit(encoder.encode_prepared, pixels)
        return batch


def refusal(source: Source, skipped: Skipped) -> SkippedInputError:
    """The error for an image that cannot be used, where none may be skipped."""
    return SkippedInputError(
        f"'{opening.join(source.root, skipped.path)}' cannot be used: {skipped.reason}",
        hint="Repair or remove the file, or run without `strict`.",
    )
