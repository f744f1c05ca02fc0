"""Taking images into a gallery: a few seconds of rows wait in memory, all others are committed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from zsretrieve.domain.encodings import joined_encoding
from zsretrieve.domain.errors import IndexFolderError
from zsretrieve.domain.kind_choice import NO_DEMANDS, Demands
from zsretrieve.domain.kinds import AUTO, Approximate
from zsretrieve.domain.ports import IndexBackend, Known, OnProgress, OnStage
from zsretrieve.domain.records import Encoding, Item, Manifest, Segment, Skipped
from zsretrieve.domain.regions import boxes_of
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.spaces import check_same_images, check_same_space
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import Seen
from zsretrieve.encoding.elsewhere import Described, Elsewhere, TextSide
from zsretrieve.encoding.texts import batches
from zsretrieve.images.sources import Source, SourceFile
from zsretrieve.store import index_files, indexes, making, rows
from zsretrieve.store.folder import Writer
from zsretrieve.store.rows import Live, LiveVectors, Part

# A killed process loses at most this much encoding.
CHECKPOINT_IMAGES = 8192
_CHECKPOINT_S = 20.0


@dataclass(frozen=True)
class Ingest:
    """How images are taken into a gallery.

    ``model`` is loaded only if an image must be encoded; ``checkpoint`` images may wait in memory for a commit;
    ``on_progress`` is called with (files done, files in all), and ``on_stage`` while an approximate index is made.
    With ``elsewhere`` images are encoded there, and the model is not loaded.
    """

    model: Model
    backend: IndexBackend
    reading: Reading
    checkpoint: int = CHECKPOINT_IMAGES
    on_progress: OnProgress | None = None
    on_stage: OnStage | None = None
    elsewhere: Elsewhere | None = None

    def described(self, source: Source) -> Described:
        """What encodes the images or texts of a source."""
        if source.holds_texts:
            return TextSide(self.model.load())
        return self.model.load() if self.elsewhere is None else self.elsewhere


class _Written(NamedTuple):
    """An image whose vector is row ``row`` of a segment; small, since there is one for each image."""

    width: int
    height: int
    part: Part
    row: int

    def known(self) -> Known:
        return Known(self.width, self.height, self.part.bundle(self.row))


class GalleryBuilder:
    """A gallery that rows are added to and removed from.

    Parameters
    ----------
    writer : Writer
        Of the index folder.
    manifest : Manifest
        What the next commit changes: its segments are those that stay.
    live : Live
        The rows of those segments.
    backend : IndexBackend
    checkpoint : int
        Vectors that may wait in memory.
    """

    def __init__(
        self, writer: Writer, manifest: Manifest, live: Live, backend: IndexBackend, checkpoint: int = CHECKPOINT_IMAGES
    ) -> None:
        self.manifest = manifest
        self._writer = writer
        self._backend = backend
        self._checkpoint = checkpoint
        self._kept_segments = len(manifest.segments)
        self._ids = {item.id for item in live.items}
        self._skipped = {one.path: one for one in manifest.skipped}
        self._waiting: list[tuple[Item, Vectors]] = []
        self._removed: set[int] = set()
        self._since = time.monotonic()
        self._live = live
        self._row_of = {item.id: row for row, item in enumerate(live.items)}
        # Where the vector of a digest is: in a live row, or in a row that was added since.
        self._row_of_digest: dict[str, int] = {}
        self._added: dict[str, Known | _Written] = {}
        for row, item in enumerate(live.items):
            if item.digest and (item.width or item.text is not None):  # imported images may have neither
                self._row_of_digest.setdefault(item.digest, row)

    def known(self, digest: str) -> Known | None:
        """Size and vector of an image with this digest. Safe to call from several threads."""
        row = self._row_of_digest.get(digest)
        if row is not None:
            item = self._live.items[row]
            return Known(item.width, item.height, self._vector(row))
        added = self._added.get(digest)
        return added.known() if isinstance(added, _Written) else added

    @property
    def count(self) -> int:
        """Images in the gallery, including those that wait."""
        return len(self._ids)

    @property
    def ids(self) -> frozenset[int]:
        """The IDs of these images."""
        return frozenset(self._ids)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        return tuple(self._skipped.values())

    def item(self, id_: int) -> Item:
        """The image of this ID in the live rows."""
        return self._live.items[self._row_of[id_]]

    def new_id(self) -> int:
        """An ID that no image of this gallery ever had."""
        id_ = self.manifest.next_id
        self.manifest = replace(self.manifest, next_id=id_ + 1)
        return id_

    def put(self, item: Item, vector: Vectors) -> None:
        """Add a row, or replace the row of its ID. ``vector`` is as in ``Known``."""
        self._waiting.append((item, vector))
        self._ids.add(item.id)
        self._skipped.pop(item.path, None)
        if item.digest:
            self._added.setdefault(item.digest, Known(item.width, item.height, vector))

    def rewrite(self, item: Item) -> None:
        """Give an image of the live rows another path or label; its vector stays."""
        self.put(item, self._vector(self._row_of[item.id]))

    def remove(self, ids: Collection[int]) -> None:
        """Remove images, with the next commit."""
        self._removed.update(ids)
        self._ids.difference_update(ids)

    def note_encoding(self, encoding: Encoding) -> None:
        """Record how vectors from now on are computed. Raises SpaceMismatchError, see ``joined_encoding``."""
        self.manifest = replace(self.manifest, encoding=joined_encoding(self.manifest.encoding, encoding))

    def skip(self, skipped: Skipped) -> None:
        self._skipped[skipped.path] = skipped

    def forget_skips(self, paths: Sequence[str]) -> None:
        """Drop images from the list of skipped ones."""
        for path in paths:
            self._skipped.pop(path, None)

    def checkpoint_if_due(self) -> bool:
        """Commit the waiting rows if they are many, or wait for long; whether that was done."""
        vectors = len(self._waiting) * (1 + self._live.regions.dim // self.manifest.space.dim)
        due = vectors >= self._checkpoint or time.monotonic() - self._since > _CHECKPOINT_S
        if due:
            self.checkpoint()
        return due

    def checkpoint(self) -> None:
        """Commit the waiting rows; the FAISS file is left for the end."""
        committed = self._writer.manifest
        if self._waiting or self._removed:
            segments = (*self.manifest.segments, self._write())
            self._commit(segments, None)
        elif committed is not None and committed.skipped != self.skipped:
            self._commit(self.manifest.segments, self.manifest.index)
        self._since = time.monotonic()

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Commit the waiting rows if the block is interrupted or fails."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(IndexFolderError):
                self.checkpoint()
            raise

    def finish(
        self,
        *,
        compact: bool = False,
        tuned: Approximate | None = None,
        demands: Demands = NO_DEMANDS,
        on_stage: OnStage | None = None,
    ) -> Manifest:
        """Commit everything: few segments, the flat FAISS file, and an approximate index if the gallery is of such a
        kind, after the rest, since that may take long.

        Parameters
        ----------
        compact : bool
            Write all rows as one segment, whatever the sizes, and make an approximate index of that again.
        tuned : Approximate, optional
            The index whose tuning a new one keeps where there is none yet.
        demands : Demands
            On an approximate index where there is none yet.
        on_stage : callable, optional
        """
        if self._waiting:
            self.checkpoint()  # what follows may fail, and then the encoded rows are kept
        if not (self._removed or compact or self.manifest.index is None):
            if self._complete(self.manifest.segments, self.manifest.index) != self._writer.manifest:
                self._commit(self.manifest.segments, self.manifest.index)
            if making.is_due(self.manifest):  # a death left it undone, or FAISS was not installed
                live = rows.read(self._writer.out, self.manifest)
                self._renew(live.vectors, tuned, demands, on_stage, whole=False)
            return self.manifest
        segments = list(self.manifest.segments)
        if self._removed:
            segments.append(self._write())
        parts = [rows.read_part(self._writer.out, self.manifest, segment) for segment in segments]
        first = 0 if compact else _merge_from(segments, self._kept_segments, len(self._ids))
        dim = self.manifest.space.dim
        is_whole = len(parts) == 1 and not len(parts[0].removed)
        if first < len(segments) - 1 or (compact and not is_whole):
            segments[first:] = [_merged(self._writer, parts[first:], self.manifest, oldest=first == 0)]
            parts[first:] = [rows.read_part(self._writer.out, self.manifest, segments[-1])]
        live = rows.joined(parts, self.manifest)
        index = index_files.write_index(self._writer, indexes.index_of(live.vectors, dim, self._backend))
        if self.manifest.factory == AUTO:
            self.manifest = replace(self.manifest, factory=making.chosen(self.count, dim, demands))
        self._commit(tuple(segments), index)
        self._renew(live.vectors, tuned, demands, on_stage, whole=compact)
        return self.manifest

    def _renew(
        self,
        vectors: LiveVectors,
        tuned: Approximate | None,
        demands: Demands,
        on_stage: OnStage | None,
        *,
        whole: bool,
    ) -> None:
        """Commit an approximate index if one is due; ``vectors`` are those of the segments."""
        made = making.renewed(
            self._writer, self.manifest, vectors, self._backend, on_stage,
            tuned=tuned, memory=demands.memory, whole=whole,
        )  # fmt: skip
        if made != self.manifest.approximate:
            self.manifest = replace(self.manifest, approximate=made)
            self._commit(self.manifest.segments, self.manifest.index)

    def _vector(self, row: int) -> Vectors:
        vector: Vectors = self._live.bundles(np.array([row]))[0]
        return vector

    def _write(self) -> Segment:
        # Of an image that was put twice, the last row counts.
        latest = {item.id: (item, vector) for item, vector in self._waiting}
        items = [item for item, _ in latest.values()]
        vectors = np.array([vector for _, vector in latest.values()], dtype=np.float32)
        dim = self.manifest.space.dim
        width = dim + self._live.regions.dim
        segment = rows.write(self._writer, items, vectors.reshape(-1, width), dim, sorted(self._removed))
        if (made := self.manifest.approximate) is not None:
            places = ((self._row_of.get(id_), vector) for id_, (_, vector) in latest.items())
            same = sum(row is not None and np.array_equal(self._vector(row), vector) for row, vector in places)
            self.manifest = replace(self.manifest, approximate=made.after(len(latest) - same, len(self._removed)))
        self._waiting.clear()
        self._removed.clear()
        # From now on these vectors are read from the file, not held in memory.
        part = rows.read_part(self._writer.out, self.manifest, segment)
        for row, item in enumerate(part.items):
            if item.digest:
                self._added[item.digest] = _Written(item.width, item.height, part, row)
        return segment

    def _commit(self, segments: tuple[Segment, ...], index: str | None) -> None:
        self.manifest = self._writer.commit(self._complete(segments, index))
        self._writer.clean()

    def _complete(self, segments: tuple[Segment, ...], index: str | None) -> Manifest:
        return replace(self.manifest, segments=segments, index=index, count=self.count, skipped=self.skipped)


def ingest(
    builder: GalleryBuilder,
    source: Source,
    files: Sequence[SourceFile],
    how: Ingest,
    item_of: Callable[[Seen], Item],
    *,
    before: int = 0,
    total: int | None = None,
) -> int:
    """Encode files into a gallery.

    Parameters
    ----------
    builder : GalleryBuilder
    source : Source
    files : sequence of SourceFile
        Of that source.
    how : Ingest
    item_of : callable
        Returns the item, with its ID, that an image becomes.
    before, total : int
        For the progress: files that were done before, and files in all.

    Returns
    -------
    int
        How many images the model encoded.
    """
    encoded = 0
    if not files:
        return encoded

    boxes = boxes_of(builder.manifest.regions)

    def accept(_: object) -> None:
        encoder = how.described(source)
        check_space = check_same_space if source.holds_texts else check_same_images
        check_space(builder.manifest.space, "the gallery", encoder.space, "the model")
        joined_encoding(builder.manifest.encoding, encoder.encoding)

    if how.elsewhere is None:
        encoded_batches = batches(source, files, how.model, how.reading, builder.known, boxes, accept)
    else:
        accept(how.elsewhere)
        encoded_batches = how.elsewhere.batches(source, files, how.reading, builder.known)
    with builder.saving(), contextlib.closing(encoded_batches):
        for batch in encoded_batches:
            # Recorded with the first vector: it may turn out that no image can be read.
            if any(seen.fresh for seen in batch.seen):
                builder.note_encoding(how.described(source).encoding)
            for seen in batch.seen:
                builder.put(item_of(seen), seen.vector)
                encoded += seen.fresh
            for one in batch.skipped:
                builder.skip(one)
            if builder.checkpoint_if_due() and how.elsewhere is not None:
                how.elsewhere.committed()
            if how.on_progress is not None:
                how.on_progress(before + batch.done, before + len(files) if total is None else total)
    return encoded


def _merge_from(segments: Sequence[Segment], kept: int, count: int) -> int:
    """The first of the last segments to be merged.

    These are all new ones, and older ones of at most twice the size of those after them, so that there are never many;
    all of them if most rows are dead.
    """
    first = min(kept, len(segments) - 1)
    size = sum(segment.rows for segment in segments[first:])
    if sum(segment.rows for segment in segments) > 2 * max(count, 1):
        return 0
    while first > 0 and segments[first - 1].rows <= 2 * size:
        first -= 1
        size += segments[first].rows
    return first


def _merged(writer: Writer, parts: Sequence[Part], manifest: Manifest, *, oldest: bool) -> Segment:
    live = rows.joined(parts, manifest)
    removed = [] if oldest else sorted({int(gone) for part in parts for gone in part.removed})
    return rows.write_live(writer, live, removed)
