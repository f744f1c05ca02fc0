"""Pictures made ready for the model in threads ahead of it: order kept, memory bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from zsretrieve import addresses
from zsretrieve.errors import ImageError
from zsretrieve.images import Content, Picture, decode, own_pixel_limit
from zsretrieve.ports import Encoder, Pixels
from zsretrieve.records import Encoding, Item
from zsretrieve.sources import Source, SourceFile
from zsretrieve.vectors import Vectors

# How a passport names the ways of decoding.
EXACT, FAST = "exact", "fast"


@dataclass(frozen=True)
class Reading:
    """How pictures are read.

    ``exif`` turns them upright as their EXIF orientation says; ``strict`` raises at the first that cannot be used;
    pictures of more than ``max_pixels`` are skipped (what the memory allows by default); ``workers`` decode at once
    (as many as this process may use processors by default); ``fast`` decodes large JPEG files at a part of their size
    that is enough for the model.
    """

    exif: bool = True
    strict: bool = False
    max_pixels: int | None = None
    workers: int | None = None
    fast: bool = False

    def as_for(self, encoding: Encoding) -> Reading:
        """The same, with pictures turned and decoded as they were for vectors computed before."""
        return replace(self, exif=encoding.exif, fast=encoding.decoding == FAST)


@dataclass(frozen=True)
class Known:
    """A picture that was encoded before: its size in pixels and its vector, float32 of shape (dim,)."""

    width: int
    height: int
    vector: Vectors


@dataclass(frozen=True)
class Ready:
    """A picture on its way: ready for the encoder, or without pixels because its digest is known."""

    item: Item
    pixels: Pixels | None


@dataclass(frozen=True)
class _Read:
    """A file whose bytes wait for the encoder to be made."""

    number: int
    content: Content


class Ahead:
    """The pictures of a source, each ready or with the reason why it cannot be used, in the order of their files.

    Threads read, decode and resize as many as fill a batch while the model works on others; so many small pictures
    wait, and of raw files and decoded pictures there are never more than threads. Until there is an encoder, which
    knows the size it wants, files are only read, and few of them.

    Parameters
    ----------
    source : Source
    files : sequence of SourceFile
        Of that source. Items get their place in this sequence as id.
    reading : Reading
    known : callable
        Gives what is known of a digest. It is called from several threads.
    make_encoder : callable
        Called once, when the first readable picture is met that is not known. ``encoder`` is the one it gave.
    """

    def __init__(
        self,
        source: Source,
        files: Sequence[SourceFile],
        reading: Reading,
        known: Callable[[str], Known | None],
        make_encoder: Callable[[], Encoder],
    ) -> None:
        self.encoder: Encoder | None = None
        self._source = source
        self._files = files
        self._reading = reading
        self._known = known
        self._make_encoder = make_encoder

    def pictures(self) -> Generator[tuple[SourceFile, Ready | ImageError], None, None]:
        """One after the other; close it to end the threads."""
        workers = self._reading.workers or processors()
        queue: deque[tuple[SourceFile, Future[Ready | _Read | ImageError]]] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        with own_pixel_limit():
            try:
                for number, file in enumerate(self._files):
                    queue.append((file, pool.submit(self._prepare, number, file)))
                    ahead = workers if self.encoder is None else self.encoder.batch_size + workers
                    while len(queue) > ahead + workers:
                        yield self._first(queue)
                while queue:
                    yield self._first(queue)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _first(
        self, queue: deque[tuple[SourceFile, Future[Ready | _Read | ImageError]]]
    ) -> tuple[SourceFile, Ready | ImageError]:
        file, future = queue.popleft()
        outcome = future.result()
        return file, self._finished(file, outcome) if isinstance(outcome, _Read) else outcome

    def _prepare(self, number: int, file: SourceFile) -> Ready | _Read | ImageError:
        try:
            content = addresses.read(self._source.address(file))
            digest = content.digest
        except ImageError as error:
            return error
        except MemoryError:
            return ImageError("out of memory while reading")
        except (OSError, ValueError, RuntimeError) as error:
            return ImageError(f"cannot be read: {' '.join(str(error).split())}")
        before = self._known(digest)
        if before is not None:
            return Ready(_item(number, file, content, before.width, before.height), None)
        return _Read(number, content) if self.encoder is None else self._decoded(number, file, content, self.encoder)

    def _finished(self, file: SourceFile, read: _Read) -> Ready | ImageError:
        before = self._known(read.content.digest)
        if before is not None:
            return Ready(_item(read.number, file, read.content, before.width, before.height), None)
        if self.encoder is None:
            # Loading a model for files that are no pictures would be a pity.
            picture = self._picture(read.content, None)
            if isinstance(picture, ImageError):
                return picture
            self.encoder = self._make_encoder()
        return self._decoded(read.number, file, read.content, self.encoder)

    def _decoded(self, number: int, file: SourceFile, content: Content, encoder: Encoder) -> Ready | ImageError:
        picture = self._picture(content, encoder)
        if isinstance(picture, ImageError):
            return picture
        pixels = _resized(picture, encoder)
        if isinstance(pixels, ImageError):
            return pixels
        return Ready(_item(number, file, content, picture.width, picture.height), pixels)

    def _picture(self, content: Content, encoder: Encoder | None) -> Picture | ImageError:
        reading = self._reading
        fast_for = encoder.space.preprocessing if encoder is not None and reading.fast else None
        try:
            return decode(content, exif=reading.exif, max_pixels=reading.max_pixels, fast_for=fast_for)
        except ImageError as error:
            return error
        except MemoryError:
            return ImageError("out of memory while decoding")
        except (OSError, ValueError, RuntimeError) as error:
            return ImageError(f"cannot be read: {' '.join(str(error).split())}")


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


def processors() -> int:
    """How many this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
