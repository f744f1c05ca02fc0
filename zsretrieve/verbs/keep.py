"""Keeping a gallery: adding, removing, bringing it to the present state of its sources, compacting, re-encoding."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from zsretrieve import addresses
from zsretrieve.errors import IndexFormatError, SourceError
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.records import Changes, IndexKind, Item, Manifest
from zsretrieve.sources import Source, SourceFile
from zsretrieve.store import files
from zsretrieve.store.folder import Writer, writing
from zsretrieve.store.indexes import check_same_space, read_live
from zsretrieve.store.rows import Live
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.encode import OnProgress, Reading, Seen, unread
from zsretrieve.verbs.gallery import is_unchanged
from zsretrieve.verbs.grow import CHECKPOINT_IMAGES, Growth, take_in

MakeEncoder = Callable[[], Encoder]


def add(
    out: Path,
    source: Source,
    encoder: MakeEncoder,
    backend: IndexBackend,
    reading: Reading,
    *,
    checksum: bool = False,
    relabel: bool = False,
    checkpoint: int = CHECKPOINT_IMAGES,
    on_progress: OnProgress | None = None,
) -> Changes:
    """Add the pictures of a source that a gallery does not hold, and encode those that changed.

    A picture that stands at its path with the same size and time is left alone. Any other is read, and encoded only
    if the gallery holds no picture of the same content: a moved one keeps its id, a copied one shares the vector.

    Parameters
    ----------
    out : Path
        The gallery.
    source : Source
    encoder : callable
        Gives the encoder; called only if a picture must be read.
    backend : IndexBackend
    reading : Reading
        But for ``exif``, which is as the gallery was built.
    checksum : bool
        Read every picture, even where size and time are the same.
    relabel : bool
        Take the source's labels for pictures that are there already.
    checkpoint : int
        Pictures that may wait in memory for a commit.
    on_progress : callable, optional
        Called with (files done, files in all).

    Raises
    ------
    SpaceMismatchError
        If the encoder is of another space than the gallery.
    SkippedInputError
        If ``reading`` is strict and a picture cannot be used.
    """
    with writing(out) as writer:
        manifest, live = _opened(writer)
        reading = replace(reading, exif=manifest.encoding.exif)
        if source.where is not None and source.where not in manifest.origins:
            manifest = replace(manifest, origins=(*manifest.origins, source.where))
        intake = _Intake(
            Growth(writer, manifest, live, backend, checkpoint), live, [source], checksum=checksum, relabel=relabel
        )
        intake.run(_checked(encoder, manifest), reading, on_progress)
        intake.growth.finish()
        return intake.changes()


def sync(
    out: Path,
    listed: Sequence[Source],
    encoder: MakeEncoder,
    backend: IndexBackend,
    reading: Reading,
    *,
    checksum: bool = False,
    relabel: bool = False,
    checkpoint: int = CHECKPOINT_IMAGES,
    on_progress: OnProgress | None = None,
) -> Changes:
    """Bring a gallery to the present state of its sources: what ``add`` does, and what is gone is removed.

    A picture is removed only if its file is surely not there any more; one that cannot be looked at stays, and so does
    one that changed into something that cannot be read.

    Parameters
    ----------
    listed : sequence of Source
        What the gallery's origins hold now.

    Raises
    ------
    SourceError
        If not one picture of the gallery is there any more: a drive is more likely missing than all of them deleted.
    SpaceMismatchError, SkippedInputError
        See ``add``.
    """
    with writing(out) as writer:
        manifest, live = _opened(writer)
        reading = replace(reading, exif=manifest.encoding.exif)
        intake = _Intake(
            Growth(writer, manifest, live, backend, checkpoint), live, listed, checksum=checksum, relabel=relabel
        )
        present = intake.present
        gone = [item for item in live.items if item.path not in present and intake.is_gone(item)]
        if gone and len(gone) == len(live.items) and not present:
            raise SourceError(
                f"not one of the {len(gone)} images of '{out}' is there any more, first '{gone[0].path}'",
                hint="Is a drive not mounted? To empty the gallery, use: zsretrieve index remove",
            )
        intake.look_again_at_the_rest({item.id for item in gone})
        intake.run(_checked(encoder, manifest), reading, on_progress)
        removed = [item.id for item in gone if item.id not in intake.moved]
        known = intake.present | intake.unread
        intake.growth.forget_skips([one.path for one in intake.growth.skipped if one.path not in known])
        intake.growth.finish(removed)
        return replace(intake.changes(), removed=len(removed))


def remove(
    out: Path,
    chosen: Callable[[Manifest, Sequence[Item]], Collection[int]],
    backend: IndexBackend,
    *,
    dry_run: bool = False,
) -> Changes:
    """Take pictures out of a gallery; the files themselves are left alone.

    Parameters
    ----------
    chosen : callable
        Gives the ids to remove from the passport and the items.
    dry_run : bool
        Only count.
    """
    with writing(out) as writer:
        manifest, live = _opened(writer)
        ids = set(chosen(manifest, live.items))
        growth = Growth(writer, manifest, live, backend)
        if ids and not dry_run:
            growth.finish(sorted(ids))
        return Changes(removed=len(ids), unchanged=len(live.items) - len(ids))


def compact(out: Path, backend: IndexBackend) -> tuple[Manifest, Manifest]:
    """Write a gallery anew as one segment without dead rows; ids stay.

    Returns
    -------
    before, after : Manifest
    """
    with writing(out) as writer:
        manifest, live = _opened(writer)
        return manifest, Growth(writer, manifest, live, backend).finish(compact=True)


class _Intake:
    """What sources bring to a gallery, picture by picture."""

    def __init__(self, growth: Growth, live: Live, listed: Sequence[Source], *, checksum: bool, relabel: bool) -> None:
        self.growth = growth
        self.moved: set[int] = set()
        self.unread: set[str] = set()
        self._root = growth.manifest.root or ""
        self._listed = [self._rebased(source) for source in listed]
        self._live = live
        self._checksum = checksum
        self._relabel = relabel
        self._count: Counter[str] = Counter()
        self._encoded = 0
        self._row_of = {item.id: row for row, item in enumerate(live.items)}
        self._by_path: dict[str, list[Item]] = {}
        self._by_digest: dict[str, list[Item]] = {}
        for item in live.items:
            self._by_path.setdefault(item.path, []).append(item)
            if item.digest:
                self._by_digest.setdefault(item.digest, []).append(item)

    @property
    def present(self) -> set[str]:
        """The paths that the sources hold now."""
        return {file.path for source in self._listed for file in source.files}

    def look_again_at_the_rest(self, gone: set[int]) -> None:
        """Take in also what no source lists but still is there: pictures that were added one by one."""
        present = self.present
        rest = [item for item in self._live.items if item.id not in gone and item.path not in present]
        if rest:
            self._listed.append(Source(self._root, tuple(SourceFile(item.path, item.label) for item in rest)))

    def is_gone(self, item: Item) -> bool:
        """Whether the picture's file is surely not there any more."""
        return addresses.is_missing(addresses.join(self._root, item.path))

    def changes(self) -> Changes:
        return Changes(
            added=self._count["added"],
            changed=self._count["changed"],
            moved=self._count["moved"],
            unchanged=self._count["unchanged"],
            encoded=self._encoded,
            skipped=tuple(one for one in self.growth.skipped if one.path in self.unread or one.path in self.present),
        )

    def run(self, encoder: MakeEncoder, reading: Reading, on_progress: OnProgress | None) -> None:
        """Go through all sources."""
        plans: list[tuple[Source, list[SourceFile]]] = []
        handled: set[str] = set()
        for source in self._listed:
            for one in unread(source, reading):
                self.growth.skip(one)
                self.unread.add(one.path)
            plans.append((source, self._plan(source, handled)))
        before, total = 0, sum(len(todo) for _, todo in plans)
        for source, todo in plans:
            self._encoded += take_in(
                self.growth, source, todo, encoder, reading, self._settle, _shifted(on_progress, before, total)
            )
            before += len(todo)

    def _rebased(self, source: Source) -> Source:
        """The same files with paths as this gallery writes them."""
        files = tuple(replace(f, path=addresses.relative(self._root, source.address(f))) for f in source.files)
        skipped = tuple(
            replace(s, path=addresses.relative(self._root, addresses.join(source.root, s.path))) for s in source.skipped
        )
        return replace(source, root=self._root, files=files, skipped=skipped)

    def _plan(self, source: Source, handled: set[str]) -> list[SourceFile]:
        """The files that must be read; ``id`` where the gallery holds the path. The others are counted."""
        todo = []
        for file in source.files:
            if file.path in handled:
                continue
            handled.add(file.path)
            before = self._by_path.get(file.path, [])
            if not before:
                todo.append(replace(file, id=None))
            for item in before:
                if self._checksum or not is_unchanged(source.address(file), item):
                    todo.append(replace(file, id=item.id))
                    continue
                self._count["unchanged"] += 1
                if self._relabel and file.label != item.label:
                    self.growth.put(replace(item, label=file.label), self._vector(item))
        return todo

    def _settle(self, seen: Seen) -> Item:
        """The item that a picture becomes, and what happened to it."""
        if seen.file.id is not None:
            old = self._live.items[self._row_of[seen.file.id]]
            self._count["unchanged" if old.digest == seen.item.digest else "changed"] += 1
            return replace(seen.item, id=old.id, label=seen.file.label if self._relabel else old.label)
        for old in self._by_digest.get(seen.item.digest, []):
            if old.id not in self.moved and self.is_gone(old):
                self.moved.add(old.id)
                self._count["moved"] += 1
                # A label that came from a folder's name follows the picture into its new folder.
                by_folder = old.label is None or old.label in old.path.split("/")
                return replace(seen.item, id=old.id, label=seen.file.label if by_folder or self._relabel else old.label)
        self._count["added"] += 1
        return replace(seen.item, id=self.growth.new_id())

    def _vector(self, item: Item) -> Vectors:
        vector: Vectors = self._live.vectors.take(np.array([self._row_of[item.id]]))[0]
        return vector


def chosen_by_path(patterns: Sequence[str], manifest: Manifest, items: Sequence[Item]) -> set[int]:
    """The ids of the pictures that paths, folders or globs name.

    A pattern is taken as the first of these that finds anything: a path as the gallery writes it, or relative to the
    current folder; a folder, with all below it; a glob over paths, in which ``*`` matches ``/`` too.

    Raises
    ------
    SourceError
        If a pattern finds nothing.
    """
    ids: set[int] = set()
    for pattern in patterns:
        here = addresses.relative(manifest.root or "", addresses.join(os.getcwd(), pattern))
        exact = {os.path.normpath(here), here, pattern}
        below = tuple(f"{path.rstrip('/')}/" for path in exact)
        found = (
            {item.id for item in items if item.path in exact}
            or {item.id for item in items if item.path.startswith(below)}
            or {item.id for item in items if any(fnmatch.fnmatchcase(item.path, path) for path in exact)}
        )
        if not found:
            raise SourceError(
                f"nothing in the gallery matches '{pattern}'; nothing was removed",
                hint="Give a path below the gallery's root, a folder, or a glob in quotes; paths are shown by search.",
            )
        ids |= found
    return ids


def _opened(writer: Writer) -> tuple[Manifest, Live]:
    manifest = writer.manifest
    if manifest is None or manifest.kind is not IndexKind.GALLERY:
        raise IndexFormatError(
            f"'{writer.out}' is not a gallery index", hint="Prototypes are built again, not added to."
        )
    files.refuse_damaged(writer.out, manifest)
    return manifest, read_live(writer.out, manifest)


def _checked(encoder: MakeEncoder, manifest: Manifest) -> MakeEncoder:
    def checked() -> Encoder:
        made = encoder()
        check_same_space(manifest.space, "the gallery", made.space, "the encoder")
        return made

    return checked


def _shifted(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    if on_progress is None:
        return None
    return lambda done, _: on_progress(before + done, total)
