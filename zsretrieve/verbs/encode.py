"""Pictures to vectors: decoding runs ahead in threads while the model works, order kept, memory bounded."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from zsretrieve import addresses
from zsretrieve.errors import ImageError, SkippedInputError, SourceError
from zsretrieve.images import Picture, decode
from zsretrieve.ports import Encoder, Pixels
from zsretrieve.records import Item, Skipped
from zsretrieve.sources import Source, SourceFile
from zsretrieve.vectors import Vectors

OnProgress = Callable[[int, int], None]

_TEXT_CHUNK = 512


@dataclass(frozen=True)
class Encoded:
    """A source turned into vectors. Row i of ``vectors`` (n, dim) belongs to ``items[i]``."""

    items: tuple[Item, ...]
    vectors: Vectors
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class _Prepared:
    item: Item
    pixels: Pixels


def encode_source(
    source: Source,
    encoder: Encoder,
    *,
    exif: bool = True,
    strict: bool = False,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Encoded:
    """Encode every readable picture of a source.

    Parameters
    ----------
    source : Source
    encoder : Encoder
    exif : bool
        Turn pictures upright as their EXIF orientation says.
    strict : bool
        Raise at the first picture that cannot be read.
    workers : int, optional
        Decoding threads; as many as there are processors by default.
    on_progress : callable, optional
        Called with (files done, files in all).

    Raises
    ------
    SkippedInputError
        With ``strict``, if a picture cannot be read.
    SourceError
        If no picture at all can be read.
    """
    items: list[Item] = []
    parts: list[Vectors] = []
    skipped: list[Skipped] = []
    waiting: list[Pixels] = []

    def skip(path: str, reason: str) -> None:
        if strict:
            raise SkippedInputError(
                f"'{addresses.join(source.root, path)}' cannot be used: {reason}",
                hint="Repair or remove the file, or run without --strict.",
            )
        skipped.append(Skipped(path, reason))

    def flush(done: int) -> None:
        if waiting:
            parts.append(encoder.encode_prepared(waiting))
            waiting.clear()
        if on_progress is not None:
            on_progress(done, len(source.files))

    for unread in source.skipped:
        skip(unread.path, unread.reason)
    with contextlib.closing(_prepared(source, encoder, exif, workers or os.cpu_count() or 1)) as prepared:
        for done, (file, outcome) in enumerate(prepared, start=1):
            if isinstance(outcome, ImageError):
                skip(file.path, outcome.message)
                continue
            items.append(outcome.item)
            waiting.append(outcome.pixels)
            if len(waiting) == encoder.batch_size:
                flush(done)
    flush(len(source.files))
    if not items:
        raise SourceError(
            f"none of the {len(skipped)} images can be read; the first is '{skipped[0].path}': {skipped[0].reason}",
            hint="Check the files.",
        )
    return Encoded(tuple(items), np.concatenate(parts), tuple(skipped))


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


def _prepared(
    source: Source, encoder: Encoder, exif: bool, workers: int
) -> Generator[tuple[SourceFile, _Prepared | ImageError], None, None]:
    def prepare(number: int, file: SourceFile) -> _Prepared | ImageError:
        try:
            picture = decode(addresses.read(source.address(file)), exif=exif)
            pixels = encoder.prepare(picture.image)
        except ImageError as error:
            return error
        except MemoryError:
            return ImageError("out of memory while resizing")
        except (OSError, ValueError, RuntimeError) as error:
            return ImageError(f"cannot be prepared: {' '.join(str(error).split())}")
        # The picture itself is let go here: only its pixels at the model's size wait for their batch.
        return _Prepared(_item(number, file, picture), pixels)

    ahead = 2 * encoder.batch_size + workers
    queue: deque[tuple[SourceFile, Future[_Prepared | ImageError]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for number, file in enumerate(source.files):
            queue.append((file, pool.submit(prepare, number, file)))
            if len(queue) >= ahead:
                first, future = queue.popleft()
                yield first, future.result()
        while queue:
            first, future = queue.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _item(number: int, file: SourceFile, picture: Picture) -> Item:
    return Item(
        id=number,
        path=file.path,
        label=file.label,
        width=picture.width,
        height=picture.height,
        bytes=picture.bytes,
        mtime_ns=picture.mtime_ns,
        digest=picture.digest,
    )
