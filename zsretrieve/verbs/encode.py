"""Pictures to vectors: the model works on one batch while others are made ready; order kept, memory bounded."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from zsretrieve import addresses
from zsretrieve.errors import ImageError, SkippedInputError, SourceError
from zsretrieve.ports import Encoder, MakeEncoder, Pixels
from zsretrieve.records import Item, Skipped
from zsretrieve.sources import Source, SourceFile
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.ahead import Ahead, Known, Reading, Ready

OnProgress = Callable[[int, int], None]

_TEXT_CHUNK = 512
_MOST_KNOWN = 1024
_MOST_SKIPPED = 1024


@dataclass(frozen=True)
class Seen:
    """A picture and its vector, float32 of shape (dim,). ``fresh`` tells that the model had to see it."""

    file: SourceFile
    item: Item
    vector: Vectors
    fresh: bool


@dataclass(frozen=True)
class Batch:
    """What one call of the model brought, in the order of the files; ``done`` files are through by now.

    One of skipped files alone comes where these are many; pictures before them may be in the next.
    """

    seen: tuple[Seen, ...]
    skipped: tuple[Skipped, ...]
    done: int


@dataclass(frozen=True)
class Encoded:
    """A source turned into vectors. Row i of ``vectors`` (n, dim) belongs to ``items[i]``."""

    items: tuple[Item, ...]
    vectors: Vectors
    skipped: tuple[Skipped, ...]


class Memory:
    """The vectors of one run by the digest of their pictures, so that equal files have one vector."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}

    def get(self, digest: str) -> Known | None:
        return self._known.get(digest)

    def note(self, batch: Batch) -> None:
        for seen in batch.seen:
            self._known.setdefault(seen.item.digest, Known(seen.item.width, seen.item.height, seen.vector))


def encode_source(
    source: Source,
    encoder: Encoder,
    *,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    workers: int | None = None,
    fast: bool = False,
    on_progress: OnProgress | None = None,
) -> Encoded:
    """Encode every readable picture of a source.

    All vectors and items are kept in memory, some 5 kB for a picture at 512 dimensions; a gallery keeps them on disk.

    Parameters
    ----------
    source : Source
    encoder : Encoder
    exif, strict, max_pixels, workers, fast
        See ``Reading``.
    on_progress : callable, optional
        Called with (files done, files in all).

    Raises
    ------
    SkippedInputError
        With ``strict``, if a picture cannot be used.
    SourceError
        If no picture at all can be read.
    """
    reading = Reading(exif, strict, max_pixels, workers, fast)
    memory = Memory()
    skipped = list(unread(source, reading))
    batches = []
    for batch in encode_batches(source, source.files, lambda: encoder, reading, memory.get):
        memory.note(batch)
        batches.append(batch)
        skipped += batch.skipped
        if on_progress is not None:
            on_progress(batch.done, len(source.files))
    seen = [one for batch in batches for one in batch.seen]
    if not seen:
        raise nothing_readable(skipped)
    return Encoded(tuple(one.item for one in seen), np.stack([one.vector for one in seen]), tuple(skipped))


def unread(source: Source, reading: Reading) -> tuple[Skipped, ...]:
    """What was left out when the source was listed. Raises SkippedInputError if ``reading`` is strict."""
    for one in source.skipped:
        refused = _refusal_if_strict(source, one, reading)
        if refused is not None:
            raise refused
    return source.skipped


def nothing_readable(skipped: Sequence[Skipped]) -> SourceError:
    """The error for a source none of whose pictures can be used."""
    return SourceError(
        f"none of the {len(skipped)} images can be read; the first is '{skipped[0].path}': {skipped[0].reason}",
        hint="Check the files.",
    )


def encode_batches(
    source: Source,
    files: Sequence[SourceFile],
    make_encoder: MakeEncoder,
    reading: Reading,
    known: Callable[[str], Known | None],
) -> Iterator[Batch]:
    """Encode files, one batch of the model after the other.

    A picture whose bytes are known already, or stand earlier in the same batch, is not encoded again, so that equal
    pictures have bit-equal vectors. Batches hold the same pictures however often a run was interrupted between two
    of them and taken up again, as long as what went before is known.

    Parameters
    ----------
    source : Source
    files : sequence of SourceFile
        Of that source. Items get their place in this sequence as id.
    make_encoder : callable
        Gives the encoder; called once, when the first picture is to be encoded.
    reading : Reading
    known : callable
        Gives what is known of a digest. It is called from several threads; every batch yielded should be known to it
        before the next one is asked for.

    Raises
    ------
    SkippedInputError
        If ``reading`` is strict and a picture cannot be used.
    """
    ahead = Ahead(source, files, reading, known, make_encoder)
    refused: SkippedInputError | None = None
    filling = _Filling()
    # Batches that the model has or is about to get, oldest first. How many there are does not depend on time.
    flying: deque[_Filling] = deque()
    with contextlib.closing(ahead.pictures()) as pictures, _Model() as model:
        for done, (file, outcome) in enumerate(pictures, start=1):
            if isinstance(outcome, ImageError):
                filling.skipped.append(Skipped(file.path, outcome.message))
                refused = _refusal_if_strict(source, filling.skipped[-1], reading)
                if refused is not None:
                    break
                if len(filling.skipped) >= _MOST_SKIPPED:
                    flying.append(filling.without_entries(done))
                    while len(flying) > model.concurrency:
                        yield flying.popleft().finished()
                continue
            filling.add(file, outcome, known, flying)
            full = ahead.encoder is not None and len(filling.pixels) == ahead.encoder.batch_size
            # What waits for a batch is the same however often a run was interrupted, so a constant bounds the others.
            if full or len(filling.entries) - len(filling.pixels) >= _MOST_KNOWN:
                filling.done = done
                flying.append(model.encode(filling, ahead.encoder))
                filling = _Filling()
                # One more than run at once, so that the model has the next at hand when it is through with one.
                while len(flying) > model.concurrency:
                    yield flying.popleft().finished()
        if refused is None:
            filling.done = len(files)
            flying.append(model.encode(filling, ahead.encoder))
        while flying:
            yield flying.popleft().finished()
    if refused is not None:
        raise refused


@dataclass(frozen=True)
class EncodedTexts:
    """Distinct prompts turned into vectors. ``rows[g]`` are the rows of group g; ``cut`` were too long."""

    vectors: Vectors
    rows: list[list[int]]
    cut: tuple[str, ...]


def encode_texts_once(
    encoder: Encoder,
    groups: Sequence[Sequence[str]],
    *,
    keep: Callable[[Sequence[str], Vectors], None] | None = None,
    on_progress: OnProgress | None = None,
) -> EncodedTexts:
    """Encode each distinct text once, so that equal prompts have bit-equal vectors and their scores tie.

    Parameters
    ----------
    encoder : Encoder
    groups : sequence of sequences of str
        The prompts of each class.
    keep : callable, optional
        Called with some texts and their vectors as soon as the encoder gave them.
    on_progress : callable, optional
        Called with (texts done, texts in all).
    """
    row_of: dict[str, int] = {}
    rows = [[row_of.setdefault(text, len(row_of)) for text in group] for group in groups]
    texts = list(row_of)
    room = encoder.space.text.context_length
    counts = encoder.token_counts(texts)
    cut = tuple(text for text, count in zip(texts, counts, strict=True) if count > room)
    # Texts of like length stand in one chunk, so that the encoder need not pad them.
    order = sorted(range(len(texts)), key=counts.__getitem__)
    vectors = np.empty((len(texts), encoder.space.dim), dtype=np.float32)
    for start in range(0, len(texts), _TEXT_CHUNK):
        chunk = order[start : start + _TEXT_CHUNK]
        asked = [texts[row] for row in chunk]
        vectors[chunk] = encoder.encode_texts(asked)
        if keep is not None:
            keep(asked, vectors[chunk])
        if on_progress is not None:
            on_progress(start + len(chunk), len(texts))
    return EncodedTexts(vectors, rows, cut)


@dataclass
class _Filling:
    """A batch on its way. An entry has the vector of a known picture, or its row in this batch or an earlier one."""

    pixels: list[Pixels] = field(default_factory=list)
    row_of: dict[str, int] = field(default_factory=dict)
    entries: list[tuple[SourceFile, Item, Known | tuple[_Filling, int]]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    done: int = 0
    vectors: Future[Vectors] | None = None

    def add(
        self, file: SourceFile, ready: Ready, known: Callable[[str], Known | None], flying: Iterable[_Filling]
    ) -> None:
        digest = ready.item.digest
        again = known(digest)
        if again is not None:
            self.entries.append((file, ready.item, again))
            return
        for earlier in (*flying, self):
            if digest in earlier.row_of:
                self.entries.append((file, ready.item, (earlier, earlier.row_of[digest])))
                return
        assert ready.pixels is not None
        self.row_of[digest] = len(self.pixels)
        self.entries.append((file, ready.item, (self, len(self.pixels))))
        self.pixels.append(ready.pixels)

    def without_entries(self, done: int) -> _Filling:
        """What was skipped so far, as a batch of its own; it is not skipped here any more.

        The pictures stay: a run that is taken up again meets skipped files again and encoded ones not, so that
        batches would differ if skipped files ended one.
        """
        skipped, self.skipped = self.skipped, []
        return _Filling(skipped=skipped, done=done - len(self.entries))

    def vector(self, row: int) -> Vectors:
        assert self.vectors is not None
        found: Vectors = self.vectors.result()[row]
        return found

    def finished(self) -> Batch:
        """What the model made of it, once it has; what it raised, if it did."""
        if self.vectors is not None:
            self.vectors.result()
        fresh = set(range(len(self.row_of)))
        seen = []
        for file, item, what in self.entries:
            if isinstance(what, Known):
                seen.append(Seen(file, item, what.vector, fresh=False))
                continue
            batch, row = what
            seen.append(Seen(file, item, batch.vector(row), fresh=batch is self and row in fresh))
            if batch is self:
                fresh.discard(row)
        return Batch(tuple(seen), tuple(self.skipped), self.done)


class _Model:
    """The threads in which the model is called, as many as it bears."""

    def __init__(self) -> None:
        self.concurrency = 0
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> _Model:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def encode(self, batch: _Filling, encoder: Encoder | None) -> _Filling:
        """Have the pixels of a batch encoded; they are let go when that is done."""
        if encoder is None or not batch.pixels:
            return batch
        if self._pool is None:
            self.concurrency = encoder.concurrency
            self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="model")
        pixels, batch.pixels = batch.pixels, []
        batch.vectors = self._pool.submit(encoder.encode_prepared, pixels)
        return batch


def _refusal_if_strict(source: Source, skipped: Skipped, reading: Reading) -> SkippedInputError | None:
    if not reading.strict:
        return None
    return SkippedInputError(
        f"'{addresses.join(source.root, skipped.path)}' cannot be used: {skipped.reason}",
        hint="Repair or remove the file, or run without --strict.",
    )
