"""Preparing images for the model in threads, ahead of it: order kept, memory bounded."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from PIL import Image

from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.ports import Known, Pixels
from zsretrieve.domain.records import Encoding, Item, Space
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Vectors
from zsretrieve.domain.wording import counted, one_line
from zsretrieve.images import opening
from zsretrieve.images.content import Content
from zsretrieve.images.decoding import Decoded, decode, own_pixel_limit
from zsretrieve.images.sources import Source, SourceFile

_log = logging.getLogger("zsretrieve")


@dataclass(frozen=True)
class Ready:
    """An image prepared for the encoder, or without pixels because its digest is known."""

    item: Item
    pixels: Pixels | None


@dataclass(frozen=True)
class _Read:
    """A file whose bytes wait for the encoder to be loaded."""

    number: int
    content: Content


class Preparer(Protocol):
    """What of an encoder prepares images, see ``Encoder``."""

    @property
    def space(self) -> Space: ...

    @property
    def batch_size(self) -> int: ...

    def prepare(self, image: Image.Image) -> Pixels: ...


class BatchEncoder(Preparer, Protocol):
    """What of an encoder encodes images, see ``Encoder``. The vectors of one image may be longer than another's."""

    @property
    def encoding(self) -> Encoding: ...

    @property
    def concurrency(self) -> int: ...

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors | Sequence[Vectors]: ...


_Prepares = TypeVar("_Prepares", bound=Preparer)
_Loaded = TypeVar("_Loaded", bound=Preparer, covariant=True)


class Loads(Protocol[_Loaded]):
    """What loads it when it is first needed, as a ``Model`` does."""

    def load(self) -> _Loaded: ...


class Prefetch(Generic[_Prepares]):
    """The images of a source, each prepared or with the reason why it cannot be used, in the order of their files.

    Threads read, decode and resize enough to fill a batch while the model works on others; so many small images wait,
    and there are never more raw files and decoded images than threads. Until there is an encoder, which knows the size
    it needs, files are only read, and few of them.

    Parameters
    ----------
    source : Source
    files : sequence of SourceFile
        Of that source. The ID of an item is its place in this sequence.
    reading : Reading
    known : callable
        Returns what is known of a digest. It is called from several threads.
    model : Loads
        Loaded for the first readable image that is not known; ``encoder`` is then its encoder.
    accept : callable
        Called with that encoder, to raise if it does not fit.
    """

    def __init__(
        self,
        source: Source,
        files: Sequence[SourceFile],
        reading: Reading,
        known: Callable[[str], Known | None],
        model: Loads[_Prepares],
        accept: Callable[[_Prepares], None],
    ) -> None:
        self.encoder: _Prepares | None = None
        self._source = source
        self._files = files
        self._reading = reading
        self._known = known
        self._model = model
        self._accept = accept
        self.scaled: list[str] = []  # appended to by several threads

    def images(self) -> Generator[tuple[SourceFile, Ready | ImageError], None, None]:
        """One after the other; close it to end the threads."""
        workers = self._reading.workers or processors()
        queue: deque[tuple[SourceFile, Future[Ready | _Read]]] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        with own_pixel_limit():
            try:
                for number, file in enumerate(self._files):
                    queue.append((file, pool.submit(self._prepare, number, file)))
                    ahead = workers if self.encoder is None else self.encoder.batch_size + workers
                    while len(queue) > ahead + workers:
                        yield self._next(queue)
                while queue:
                    yield self._next(queue)
                note_scaled(self.scaled)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _next(self, queue: deque[tuple[SourceFile, Future[Ready | _Read]]]) -> tuple[SourceFile, Ready | ImageError]:
        file, future = queue.popleft()
        try:
            outcome = future.result()
            return file, self._finish(file, outcome) if isinstance(outcome, _Read) else outcome
        except ImageError as error:
            return file, error

    def _prepare(self, number: int, file: SourceFile) -> Ready | _Read:
        with _reasons("reading", "read"):
            content = opening.read(self._source.address(file))
            digest = content.digest
        before = self._known(digest)
        if before is not None:
            return Ready(_item(number, file, content, before), None)
        return _Read(number, content) if self.encoder is None else self._ready(number, file, content, self.encoder)

    def _finish(self, file: SourceFile, read: _Read) -> Ready:
        before = self._known(read.content.digest)
        if before is not None:
            return Ready(_item(read.number, file, read.content, before), None)
        if self.encoder is None:
            self._decode(read.content, None)  # no model is loaded for files that are not images
            encoder = self._model.load()
            self._accept(encoder)
            self.encoder = encoder
        return self._ready(read.number, file, read.content, self.encoder)

    def _ready(self, number: int, file: SourceFile, content: Content, encoder: Preparer) -> Ready:
        decoded = self._decode(content, encoder)
        if decoded.scaled:
            self.scaled.append(file.path)
        with _reasons("resizing", "prepared"):
            return Ready(_item(number, file, content, decoded), encoder.prepare(decoded.image))

    def _decode(self, content: Content, encoder: Preparer | None) -> Decoded:
        with _reasons("decoding", "read"):
            return decode(content, self._reading, None if encoder is None else encoder.space.preprocessing)


def note_scaled(paths: Sequence[str]) -> None:
    """Warn of images whose values were scaled to 8 bits, if there are any."""
    if paths:
        _log.warning(
            f"{counted(len(paths), 'image')} of more than 8 bits per channel: scaled by the values used; "
            f"first: {paths[0]}"
        )


@contextlib.contextmanager
def _reasons(doing: str, done: str) -> Iterator[None]:
    """Turn what goes wrong with one image into an ImageError."""
    try:
        yield
    except MemoryError as error:
        raise ImageError(f"out of memory while {doing}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(f"cannot be {done}: {one_line(error)}") from error


def _item(number: int, file: SourceFile, content: Content, size: Known | Decoded) -> Item:
    return Item(
        id=number,
        path=file.path,
        label=file.label,
        width=size.width,
        height=size.height,
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
