"""Pictures to vectors: decoding runs ahead in threads while the model works, order kept, memory bounded."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from zsretrieve import addresses
from zsretrieve.errors import ImageError, SkippedInputError, SourceError
from zsretrieve.images import Content, Picture, decode, own_pixel_limit
from zsretrieve.ports import Encoder, MakeEncoder, Pixels
from zsretrieve.records import Item, Skipped
from zsretrieve.sources import Source, SourceFile
from zsretrieve.vectors import Vectors

OnProgress = Callable[[int, int], None]

_TEXT_CHUNK = 512
_MOST_KNOWN = 1024
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
    """A picture on its way. It is known by its digest already, or ready for the encoder, or its ``content`` waits for
    the encoder to be made.
    """

    item: Item
    pixels: Pixels | None = None
    content: Content | None = None


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
    held = _Held()
    waiting: list[Pixels] = []
    place_of: dict[str, int] = {}
    entries: list[tuple[SourceFile, Item, Known | int]] = []
    skipped: list[Skipped] = []

    def batch(done: int) -> Batch:
        vectors = (
            held.encoder.encode_prepared(waiting) if held.encoder and waiting else np.empty((0, 0), dtype=np.float32)
        )
        fresh = set(range(len(waiting)))
        seen = []
        for file, item, what in entries:
            if isinstance(what, Known):
                seen.append(Seen(file, item, what.vector, fresh=False))
            else:
                seen.append(Seen(file, item, vectors[what], fresh=what in fresh))
                fresh.discard(what)
        made = Batch(tuple(seen), tuple(skipped), done)
        for kept in (waiting, place_of, entries, skipped):
            kept.clear()
        return made

    with contextlib.closing(_prepared(source, files, held, reading, known)) as prepared:
        for done, (file, outcome) in enumerate(prepared, start=1):
            if isinstance(outcome, ImageError):
                skipped.append(Skipped(file.path, outcome.message))
                _refuse_if_strict(source, skipped[-1], reading)
                continue
            item = outcome.item
            again = known(item.digest)
            if again is not None:
                entries.append((file, item, again))
            else:
                if held.encoder is None:
                    held.encoder = make_encoder()
                place = place_of.setdefault(item.digest, len(waiting))
                if place == len(waiting):
                    pixels = _pixels(outcome, held.encoder, reading)
                    if isinstance(pixels, ImageError):
                        del place_of[item.digest]
                        skipped.append(Skipped(file.path, pixels.message))
                        _refuse_if_strict(source, skipped[-1], reading)
                        continue
                    waiting.append(pixels)
                entries.append((file, item, place))
            full = held.encoder is not None and len(waiting) == held.encoder.batch_size
            # What waits for a batch is the same however often a run was interrupted, so a constant bounds the others.
            if full or len(entries) - len(waiting) >= _MOST_KNOWN:
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
    counts = encoder.token_counts(texts)
    cut = tuple(text for text, count in zip(texts, counts, strict=True) if count > room)
    # Texts of like length stand in one chunk, so that the encoder need not pad them.
    order = sorted(range(len(texts)), key=counts.__getitem__)
    vectors = np.empty((len(texts), encoder.space.dim), dtype=np.float32)
    for start in range(0, len(texts), _TEXT_CHUNK):
        chunk = order[start : start + _TEXT_CHUNK]
        vectors[chunk] = encoder.encode_texts([texts[row] for row in chunk])
        if on_progress is not None:
            on_progress(start + len(chunk), len(texts))
    return EncodedTexts(vectors, rows, cut)


class _Held:
    """Where the encoder stands once it is made, for the threads to see."""

    encoder: Encoder | None = None


def _prepared(
    source: Source,
    files: Sequence[SourceFile],
    held: _Held,
    reading: Reading,
    known: Callable[[str], Known | None],
) -> Generator[tuple[SourceFile, _Prepared | ImageError], None, None]:
    def prepare(number: int, file: SourceFile) -> _Prepared | ImageError:
        try:
            content = addresses.read(source.address(file))
            before = known(content.digest)
            if before is not None:
                return _Prepared(_item(number, file, content, before.width, before.height))
            picture = decode(content, exif=reading.exif, max_pixels=reading.max_pixels)
        except ImageError as error:
            return error
        except MemoryError:
            return ImageError("out of memory while reading")
        except (OSError, ValueError, RuntimeError) as error:
            return ImageError(f"cannot be read: {' '.join(str(error).split())}")
        item = _item(number, file, content, picture.width, picture.height)
        encoder = held.encoder
        if encoder is None:
            return _Prepared(item, content=content)
        pixels = _resized(picture, encoder)
        # The picture itself is let go here: only its pixels at the model's size wait for their batch.
        return pixels if isinstance(pixels, ImageError) else _Prepared(item, pixels)

    workers = reading.workers or os.cpu_count() or 1
    queue: deque[tuple[SourceFile, Future[_Prepared | ImageError]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    with own_pixel_limit():
        try:
            for number, file in enumerate(files):
                queue.append((file, pool.submit(prepare, number, file)))
                ahead = _FIRST_AHEAD if held.encoder is None else 2 * held.encoder.batch_size
                if len(queue) >= ahead + workers:
                    first, future = queue.popleft()
                    yield first, future.result()
            while queue:
                first, future = queue.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _pixels(prepared: _Prepared, encoder: Encoder, reading: Reading) -> Pixels | ImageError:
    """What the encoder sees of a picture, made now if the encoder was not there when it was read."""
    if prepared.pixels is not None:
        return prepared.pixels
    assert prepared.content is not None
    try:
        return _resized(decode(prepared.content, exif=reading.exif, max_pixels=reading.max_pixels), encoder)
    except ImageError as error:
        return error


def _resized(picture: Picture, encoder: Encoder) -> Pixels | ImageError:
    try:
        return encoder.prepare(picture.image)
    except ImageError as error:
        return error
    except MemoryError:
        return ImageError("out of memory while resizing")
    except (OSError, ValueError, RuntimeError) as error:
        return ImageError(f"cannot be prepared: {' '.join(str(error).split())}")


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
