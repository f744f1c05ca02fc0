"""Pictures to vectors: decoding runs ahead in threads while the model works, order kept, memory bounded."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from zsretrieve import addresses
from zsretrieve.errors import ImageError, SkippedInputError, SourceError, ZsRetrieveError
from zsretrieve.images import Content, decode, own_pixel_limit
from zsretrieve.ports import Encoder, MakeEncoder, Pixels
from zsretrieve.records import Item, Skipped
from zsretrieve.sources import Source, SourceFile
from zsretrieve.vectors import Vectors

OnProgress = Callable[[int, int], None]

_TEXT_CHUNK = 512
_MOST_ENTRIES = 1024
# Pictures read ahead before the encoder, which knows its batches, is there.
_FIRST_AHEAD = 32


@dataclass(frozen=True)
class Reading:
    """How pictures are read.

    ``exif`` turns them upright as their EXIF orientation says; ``strict`` raises at the first that cannot be used;
    pictures of more than ``max_pixels`` are skipped (what the memory allows by default); ``workers`` decode at once
    (as many as there are processors by default).
    """

    exif: bool = True
    strict: bool = False
    max_pixels: int | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Known:
    """A picture that was encoded before: its size in pixels and its vector, float32 of shape (dim,)."""

    width: int
    height: int
    vector: Vectors


@dataclass(frozen=True)
class Seen:
    """A picture and its vector, float32 of shape (dim,). ``fresh`` tells that the model had to see it."""

    file: SourceFile
    item: Item
    vector: Vectors
    fresh: bool


@dataclass(frozen=True)
class Batch:
    """What one call of the model brought, in the order of the files; ``done`` files are through by now."""

    seen: tuple[Seen, ...]
    skipped: tuple[Skipped, ...]
    done: int


@dataclass(frozen=True)
class Encoded:
    """A source turned into vectors. Row i of ``vectors`` (n, dim) belongs to ``items[i]``."""

    items: tuple[Item, ...]
    vectors: Vectors
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class _Prepared:
    item: Item
    pixels: Pixels | None  # None: a picture of this digest is known


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
    on_progress: OnProgress | None = None,
) -> Encoded:
    """Encode every readable picture of a source.

    Parameters
    ----------
    source : Source
    encoder : Encoder
    exif, strict, max_pixels, workers
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
    reading = Reading(exif, strict, max_pixels, workers)
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
        _refuse_if_strict(source, one, reading)
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
        Gives what is known of a digest. It is called from several threads; every batch yielded should be known to it.

    Raises
    ------
    SkippedInputError
        If ``reading`` is strict and a picture cannot be used.
    """
    encoder = _Once(make_encoder)
    waiting: list[Pixels] = []
    place_of: dict[str, int] = {}
    entries: list[tuple[SourceFile, Item, Known | int]] = []
    skipped: list[Skipped] = []

    def batch(done: int) -> Batch:
        vectors = encoder().encode_prepared(waiting) if waiting else np.empty((0, 0), dtype=np.float32)
        fresh = set(range(len(waiting)))
        seen = []
        for file, item, what in entries:
            if isinstance(what, Known):
                seen.append(Seen(file, item, what.vector, fresh=False))
            else:
                seen.append(Seen(file, item, vectors[what], fresh=what in fresh))
                fresh.discard(what)
        made = Batch(tuple(seen), tuple(skipped), done)
        for held in (waiting, place_of, entries, skipped):
            held.clear()
        return made

    with contextlib.closing(_prepared(source, files, encoder, reading, known)) as prepared:
        for done, (file, outcome) in enumerate(prepared, start=1):
            if isinstance(outcome, ImageError):
                skipped.append(Skipped(file.path, outcome.message))
                _refuse_if_strict(source, skipped[-1], reading)
                continue
            item = outcome.item
            again = known(item.digest)
            if again is not None:
                entries.append((file, item, again))
            elif outcome.pixels is None:
                raise RuntimeError(f"'{item.path}' was known and is not any more")
            else:
                place = place_of.setdefault(item.digest, len(waiting))
                if place == len(waiting):
                    waiting.append(outcome.pixels)
                entries.append((file, item, place))
            # What waits for a batch is the same however often a run was interrupted, so a constant bounds it.
            if len(entries) >= _MOST_ENTRIES or (waiting and len(waiting) == encoder().batch_size):
                yield batch(done)
    yield batch(len(files))


@dataclass(frozen=True)
class EncodedTexts:
    """Distinct prompts turned into vectors. ``rows[g]`` are the rows of group g; ``cut`` were too long."""

    vectors: Vectors
    rows: list[list[int]]
    cut: tuple[str, ...]


def encode_texts_once(
    encoder: Encoder, groups: Sequence[Sequence[str]], *, on_progress: OnProgress | None = None
) -> EncodedTexts:
    """Encode each distinct text once, so that equal prompts have bit-equal vectors and their scores tie.

    Parameters
    ----------
    encoder : Encoder
    groups : sequence of sequences of str
        The prompts of each class.
    on_progress : callable, optional
        Called with (texts done, texts in all).
    """
    row_of: dict[str, int] = {}
    rows = [[row_of.setdefault(text, len(row_of)) for text in group] for group in groups]
    texts = list(row_of)
    room = encoder.space.text.context_length
    cut = tuple(text for text, count in zip(texts, encoder.token_counts(texts), strict=True) if count > room)
    parts = []
    for start in range(0, len(texts), _TEXT_CHUNK):
        parts.append(encoder.encode_texts(texts[start : start + _TEXT_CHUNK]))
        if on_progress is not None:
            on_progress(min(start + _TEXT_CHUNK, len(texts)), len(texts))
    return EncodedTexts(np.concatenate(parts), rows, cut)


class _Once:
    """An encoder that is made when it is first needed, in whichever thread that is."""

    def __init__(self, make: MakeEncoder) -> None:
        self.made: Encoder | None = None
        self._make = make
        self._lock = threading.Lock()

    def __call__(self) -> Encoder:
        with self._lock:
            if self.made is None:
                self.made = self._make()
            return self.made


def _prepared(
    source: Source,
    files: Sequence[SourceFile],
    encoder: _Once,
    reading: Reading,
    known: Callable[[str], Known | None],
) -> Generator[tuple[SourceFile, _Prepared | ImageError], None, None]:
    def prepare(number: int, file: SourceFile) -> _Prepared | ImageError:
        try:
            content = addresses.read(source.address(file))
            before = known(content.digest)
            if before is not None:
                return _Prepared(_item(number, file, content, before.width, before.height), None)
            picture = decode(content, exif=reading.exif, max_pixels=reading.max_pixels)
            pixels = encoder().prepare(picture.image)
        except ImageError as error:
            return error
        except MemoryError:
            return ImageError("out of memory while reading or resizing")
        except ZsRetrieveError:
            raise  # the encoder cannot be had
        except (OSError, ValueError, RuntimeError) as error:
            return ImageError(f"cannot be prepared: {' '.join(str(error).split())}")
        # The picture itself is let go here: only its pixels at the model's size wait for their batch.
        return _Prepared(_item(number, file, content, picture.width, picture.height), pixels)

    workers = reading.workers or os.cpu_count() or 1
    queue: deque[tuple[SourceFile, Future[_Prepared | ImageError]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    with own_pixel_limit():
        try:
            for number, file in enumerate(files):
                queue.append((file, pool.submit(prepare, number, file)))
                ahead = 2 * encoder.made.batch_size if encoder.made is not None else _FIRST_AHEAD
                if len(queue) >= ahead + workers:
                    first, future = queue.popleft()
                    yield first, future.result()
            while queue:
                first, future = queue.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _item(number: int, file: SourceFile, content: Content, width: int, height: int) -> Item:
    return Item(
        id=number,
        path=file.path,
        label=file.label,
        width=width,
        height=height,
        bytes=len(content.data),
        mtime_ns=content.mtime_ns,
        digest=content.digest,
    )


def _refuse_if_strict(source: Source, skipped: Skipped, reading: Reading) -> None:
    if reading.strict:
        raise SkippedInputError(
            f"'{addresses.join(source.root, skipped.path)}' cannot be used: {skipped.reason}",
            hint="Repair or remove the file, or run without --strict.",
        )
