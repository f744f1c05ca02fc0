"""Rows on their way into a gallery: some seconds of them wait in memory, the others are committed already."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from zsretrieve.errors import IndexFolderError, SpaceMismatchError
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.records import Encoding, Item, Manifest, Segment, Skipped
from zsretrieve.sources import Source, SourceFile
from zsretrieve.store import indexes, rows
from zsretrieve.store.folder import Writer
from zsretrieve.store.rows import Live, Part
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.ahead import Known, Reading
from zsretrieve.verbs.encode import OnProgress, Seen, encode_batches

# What a hard death may cost: this much encoding.
CHECKPOINT_IMAGES = 8192
_CHECKPOINT_S = 20.0


class _Written(NamedTuple):
    """A picture whose vector is row ``row`` of a segment's; there is one of these for each, so it is small."""

    width: int
    height: int
    vectors: Vectors
    row: int

    def known(self) -> Known:
        return Known(self.width, self.height, self.vectors[self.row])


class Growth:
    """A gallery that rows are being added to.

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
        Rows that may wait in memory.
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
        # Where the vector of a digest lies: among the live rows, or in the rows that this growth brought.
        self._live = live
        self._row_of = {item.id: row for row, item in enumerate(live.items)}
        self._place: dict[str, int] = {}
        self._brought: dict[str, Known | _Written] = {}
        for row, item in enumerate(live.items):
            if item.digest and item.width:  # imported pictures may be known by less
                self._place.setdefault(item.digest, row)

    def known(self, digest: str) -> Known | None:
        """What is known of a picture with this digest. Safe to call from several threads."""
        row = self._place.get(digest)
        if row is not None:
            item = self._live.items[row]
            return Known(item.width, item.height, self._vector(row))
        found = self._brought.get(digest)
        return found.known() if isinstance(found, _Written) else found

    @property
    def count(self) -> int:
        """Pictures in the gallery, those that wait included."""
        return len(self._ids)

    @property
    def ids(self) -> frozenset[int]:
        """The ids of these pictures."""
        return frozenset(self._ids)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Pictures that were left out."""
        return tuple(self._skipped.values())

    def item(self, id_: int) -> Item:
        """The picture of this id as it was when the growth began."""
        return self._live.items[self._row_of[id_]]

    def new_id(self) -> int:
        """An id that no picture of this gallery ever had."""
        given = self.manifest.next_id
        self.manifest = replace(self.manifest, next_id=given + 1)
        return given

    def put(self, item: Item, vector: Vectors) -> None:
        """Add a row, or replace the row of its id. ``vector`` is float32 of shape (dim,)."""
        self._waiting.append((item, vector))
        self._ids.add(item.id)
        self._skipped.pop(item.path, None)
        if item.digest:
            self._brought.setdefault(item.digest, Known(item.width, item.height, vector))

    def relabel(self, item: Item, label: str | None) -> None:
        """Give a picture of the live rows another label."""
        self.put(replace(item, label=label), self._vector(self._row_of[item.id]))

    def remove(self, ids: Collection[int]) -> None:
        """Take pictures out, with the next commit."""
        self._removed.update(ids)
        self._ids.difference_update(ids)

    def made_by(self, encoding: Encoding) -> None:
        """Note what computed vectors that are put now. Raises SpaceMismatchError, see ``of_both_makes``."""
        self.manifest = replace(self.manifest, encoding=of_both_makes(self.manifest.encoding, encoding))

    def skip(self, skipped: Skipped) -> None:
        """Note a picture that was left out."""
        self._skipped[skipped.path] = skipped

    def forget_skips(self, paths: Sequence[str]) -> None:
        """Drop pictures from the list of those left out."""
        for path in paths:
            self._skipped.pop(path, None)

    def checkpoint_if_due(self) -> None:
        """Commit what waits if it is much, or waits for long."""
        if len(self._waiting) >= self._checkpoint or time.monotonic() - self._since > _CHECKPOINT_S:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Commit what waits; the FAISS file is left for the end."""
        committed = self._writer.manifest
        if self._waiting or self._removed:
            segments = (*self.manifest.segments, self._write())
            self.manifest = self._writer.commit(self._complete(segments, None))
            self._writer.clean()
        elif committed is not None and committed.skipped != self.skipped:
            self.manifest = self._writer.commit(self._complete(self.manifest.segments, self.manifest.index))
        self._since = time.monotonic()

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """If the block is interrupted or fails, commit what waits."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(IndexFolderError):
                self.checkpoint()
            raise

    def finish(self, *, compact: bool = False) -> Manifest:
        """Commit everything: few segments, the FAISS file.

        Parameters
        ----------
        compact : bool
            Write all rows as one segment, whatever the sizes.
        """
        if self._waiting:
            self.checkpoint()  # what follows may fail, and then what was encoded is kept
        if not (self._waiting or self._removed or compact or self.manifest.index is None):
            manifest = self._complete(self.manifest.segments, self.manifest.index)
            if manifest != self._writer.manifest:
                self.manifest = self._writer.commit(manifest)
            return self.manifest
        segments = list(self.manifest.segments)
        if self._waiting or self._removed:
            segments.append(self._write())
        parts = [rows.read_part(self._writer.out, self.manifest, segment) for segment in segments]
        first = 0 if compact else _merge_from(segments, self._kept_segments, len(self._ids))
        dim = self.manifest.space.dim
        if first < len(segments) - 1 or (compact and not _whole(parts)):
            segments[first:] = [_merged(self._writer, parts[first:], dim, oldest=first == 0)]
            parts[first:] = [rows.read_part(self._writer.out, self.manifest, segments[-1])]
        live = rows.joined(parts, dim)
        index = indexes.write_index(self._writer, indexes.index_of(live.vectors, dim, self._backend))
        self.manifest = self._writer.commit(self._complete(tuple(segments), index))
        self._writer.clean()
        return self.manifest

    def _vector(self, row: int) -> Vectors:
        vector: Vectors = self._live.vectors.take(np.array([row]))[0]
        return vector

    def _write(self) -> Segment:
        # A picture that was put twice counts as it was put last.
        latest = {item.id: (item, vector) for item, vector in self._waiting}
        items = [item for item, _ in latest.values()]
        empty = np.empty((0, self.manifest.space.dim), dtype=np.float32)
        vectors = np.stack([vector for _, vector in latest.values()]) if latest else empty
        segment = rows.write(self._writer, items, vectors, sorted(self._removed))
        self._waiting.clear()
        self._removed.clear()
        # From now on these vectors are read from the file, not held in memory.
        part = rows.read_part(self._writer.out, self.manifest, segment)
        for row, item in enumerate(part.items):
            if item.digest:
                self._brought[item.digest] = _Written(item.width, item.height, part.vectors, row)
        return segment

    def _complete(self, segments: tuple[Segment, ...], index: str | None) -> Manifest:
        return replace(self.manifest, segments=segments, index=index, count=self.count, skipped=self.skipped)


def of_both_makes(old: Encoding, new: Encoding) -> Encoding:
    """The encoding of a gallery that gets vectors of another make; their engines, precisions and devices are told.

    Raises
    ------
    SpaceMismatchError
        If both are int8, of different calibrations: such vectors are further apart than others of one space.
    """
    if new.calibration is not None and "int8" in old.precision.split("+") and old.calibration != new.calibration:
        raise SpaceMismatchError(
            f"the gallery's int8 vectors are of calibration {old.calibration or 'unknown'}, and the model's is "
            f"{new.calibration}",
            hint="Use --precision bf16, or encode all images again: zsretrieve index rebuild GALLERY --precision int8",
        )
    engine, precision, device = (
        "+".join(dict.fromkeys([*before.split("+"), now]))
        for before, now in ((old.engine, new.engine), (old.precision, new.precision), (old.device, new.device))
    )
    measured = old if new.calibration is None else new
    return replace(
        old, engine=engine, precision=precision, device=device, cosine_to_fp32=measured.cosine_to_fp32,
        least_cosine_to_fp32=measured.least_cosine_to_fp32, calibration=measured.calibration,
    )  # fmt: skip


def take_in(
    growth: Growth,
    source: Source,
    files: Sequence[SourceFile],
    encoder: Callable[[], Encoder],
    reading: Reading,
    settle: Callable[[Seen], Item],
    on_progress: OnProgress | None,
    *,
    done_before: int = 0,
) -> int:
    """Encode files into a growing gallery; the encoder is asked for only if a picture must be encoded.

    Parameters
    ----------
    settle : callable
        Gives the item, with its id, that a picture becomes.

    Returns
    -------
    int
        How many pictures the model had to see.
    """
    encoded = 0
    if not files:
        return encoded

    used: Encoder | None = None

    def made() -> Encoder:
        nonlocal used
        used = encoder()
        of_both_makes(growth.manifest.encoding, used.encoding)  # refused before anything is encoded
        return used

    with growth.saving():
        for batch in encode_batches(source, files, made, reading, growth.known):
            # Noted with the first vector: it may yet turn out that no picture can be read.
            if used is not None and any(seen.fresh for seen in batch.seen):
                growth.made_by(used.encoding)
            for seen in batch.seen:
                growth.put(settle(seen), seen.vector)
                encoded += seen.fresh
            for one in batch.skipped:
                growth.skip(one)
            growth.checkpoint_if_due()
            if on_progress is not None:
                on_progress(done_before + batch.done, done_before + len(files))
    return encoded


def _merge_from(segments: Sequence[Segment], kept: int, count: int) -> int:
    """The first of the last segments to be merged: all that this growth wrote, and older ones of no more than twice
    their size, so that there are never many; all of them when most rows are dead.
    """
    first = min(kept, len(segments) - 1)
    size = sum(segment.rows for segment in segments[first:])
    if sum(segment.rows for segment in segments) > 2 * max(count, 1):
        return 0
    while first > 0 and segments[first - 1].rows <= 2 * size:
        first -= 1
        size += segments[first].rows
    return first


def _merged(writer: Writer, parts: Sequence[Part], dim: int, *, oldest: bool) -> Segment:
    live = rows.joined(parts, dim)
    removed = [] if oldest else sorted({int(gone) for part in parts for gone in part.removed})
    return rows.write_live(writer, live, removed)


def _whole(parts: Sequence[Part]) -> bool:
    return len(parts) == 1 and not len(parts[0].removed)
