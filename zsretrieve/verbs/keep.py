"""Keeping a gallery: adding, removing, bringing it to the present state of its sources, compacting, re-encoding."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from zsretrieve import addresses
from zsretrieve.errors import ImageError, SourceError
from zsretrieve.ports import Encoder, IndexBackend, MakeEncoder
from zsretrieve.records import Changes, Item, Manifest
from zsretrieve.sources import Source, SourceFile
from zsretrieve.store.folder import writing
from zsretrieve.store.indexes import check_same_space, gallery_rows
from zsretrieve.store.rows import Live
from zsretrieve.verbs.ahead import Reading
from zsretrieve.verbs.encode import OnProgress, Seen, unread
from zsretrieve.verbs.grow import CHECKPOINT_IMAGES, Growth, take_in


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
        manifest, live = gallery_rows(writer)
        reading = reading.as_for(manifest.encoding)
        if source.where is not None and source.where not in manifest.origins:
            manifest = replace(manifest, origins=(*manifest.origins, source.where))
        intake = _Intake(
            Growth(writer, manifest, live, backend, checkpoint), live, [source], checksum=checksum, relabel=relabel
        )
        intake.run(_of_its_space(encoder, manifest), reading, on_progress)
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

    A picture is removed only if its file is surely not there any more: it lay in one of the sources, which could be
    listed, or its folder still is there and holds something. One that cannot be looked at stays, and so does one that
    changed into something that cannot be read.

    Parameters
    ----------
    listed : sequence of Source
        What the gallery's origins hold now.

    Raises
    ------
    SourceError
        If all pictures that the gallery holds would be removed: a drive is more likely missing than all of them
        deleted. Nothing is done then.
    SpaceMismatchError, SkippedInputError
        See ``add``.
    """
    with writing(out) as writer:
        manifest, live = gallery_rows(writer)
        reading = reading.as_for(manifest.encoding)
        intake = _Intake(
            Growth(writer, manifest, live, backend, checkpoint), live, listed, checksum=checksum, relabel=relabel
        )
        gone = [item for item in live.items if item.path not in intake.present and intake.is_gone(item)]
        lost = [item for item in gone if intake.is_removed(item)]
        if lost and len(lost) == len(live.items) and not intake.brings_any_of(lost):
            raise SourceError(
                f"not one of the {len(lost)} images of '{out}' is there any more, first '{lost[0].path}'; "
                "nothing was done",
                hint="Is a drive not mounted? If they are gone for good, use: zsretrieve index remove",
            )
        intake.look_again_at_the_rest({item.id for item in gone})
        intake.run(_of_its_space(encoder, manifest), reading, on_progress)
        removed = [item.id for item in lost if item.id not in intake.moved]
        known = intake.present | intake.unread
        intake.growth.forget_skips([one.path for one in intake.growth.skipped if one.path not in known])
        intake.growth.remove(removed)
        intake.growth.finish()
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
        manifest, live = gallery_rows(writer)
        ids = set(chosen(manifest, live.items))
        growth = Growth(writer, manifest, live, backend)
        if ids and not dry_run:
            growth.remove(ids)
            growth.finish()
        return Changes(removed=len(ids), unchanged=len(live.items) - len(ids))


def compact(out: Path, backend: IndexBackend) -> tuple[Manifest, Manifest]:
    """Write a gallery anew as one segment without dead rows; ids stay.

    Returns
    -------
    before, after : Manifest
    """
    with writing(out) as writer:
        manifest, live = gallery_rows(writer)
        return manifest, Growth(writer, manifest, live, backend).finish(compact=True)


class _Intake:
    """What sources bring to a gallery, picture by picture."""

    def __init__(self, growth: Growth, live: Live, listed: Sequence[Source], *, checksum: bool, relabel: bool) -> None:
        self.growth = growth
        self.moved: set[int] = set()
        self.unread: set[str] = set()
        self._root = growth.manifest.root or ""
        self._listed = [self._rebased(source) for source in listed]
        self.present = {file.path for source in self._listed for file in source.files}
        self._roots = tuple({prefix for source in listed if source.where is not None for prefix in _prefixes(source)})
        self._live = live
        self._checksum = checksum
        self._relabel = relabel
        self._count: Counter[str] = Counter()
        self._encoded = 0
        self._by_path: dict[str, list[Item]] = {}
        self._by_digest: dict[str, list[Item]] = {}
        for item in live.items:
            self._by_path.setdefault(item.path, []).append(item)
            if item.digest:
                self._by_digest.setdefault(item.digest, []).append(item)

    def look_again_at_the_rest(self, gone: set[int]) -> None:
        """Take in also what no source lists but still is there: pictures that were added one by one."""
        rest = [item for item in self._live.items if item.id not in gone and item.path not in self.present]
        if rest:
            self._listed.append(Source(self._root, tuple(SourceFile(item.path, item.label) for item in rest)))
            self.present |= {item.path for item in rest}

    def is_gone(self, item: Item) -> bool:
        """Whether the picture's file is surely not there any more."""
        return addresses.is_missing(addresses.join(self._root, item.path))

    def is_removed(self, item: Item) -> bool:
        """Whether a picture that is gone was removed where it lay, rather than that a drive is missing."""
        address = addresses.join(self._root, item.path)
        if address.startswith(self._roots):
            return True
        try:
            return bool(os.listdir(os.path.dirname(address)))  # a mount point without its drive is empty
        except OSError:
            return False

    def brings_any_of(self, gone: Sequence[Item]) -> bool:
        """Whether a source holds a file with the content of one of these pictures."""
        digests = {item.digest for item in gone} - {""}
        for source in self._listed:
            for file in source.files:
                with contextlib.suppress(ImageError):
                    if addresses.read(source.address(file)).digest in digests:
                        return True
        return False

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
                if self._checksum or not addresses.is_unchanged(source.address(file), item):
                    todo.append(replace(file, id=item.id))
                    continue
                self._count["unchanged"] += 1
                self.growth.forget_skips([file.path])
                if self._relabel and file.label != item.label:
                    self.growth.relabel(item, file.label)
        return todo

    def _settle(self, seen: Seen) -> Item:
        """The item that a picture becomes, and what happened to it."""
        if seen.file.id is not None:
            old = self.growth.item(seen.file.id)
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


def _prefixes(source: Source) -> set[str]:
    """What the addresses of all pictures that a source may hold begin with."""
    places = [addresses.split(source.address(file)) for file in source.files]
    archives = {f"{place[0]}{addresses.MEMBER}" for place in places if place is not None}
    return archives or {f"{source.root.rstrip('/')}/"}


def chosen_by_path(patterns: Sequence[str], manifest: Manifest, items: Sequence[Item]) -> set[int]:
    """The ids of the pictures that paths, folders or globs name.

    A pattern is taken as the first of these that finds anything: a picture's path as the gallery writes it; a picture's
    path from the current folder; a folder, in the same two ways, with all below it; a glob over paths, in which ``*``
    matches ``/`` too, in the same two ways.

    Raises
    ------
    SourceError
        If a pattern is empty or finds nothing.
    """
    ids: set[int] = set()
    for pattern in patterns:
        if not pattern:
            raise SourceError("an empty path names nothing; nothing was removed", hint="Check the variable it is from.")
        found = next(filter(None, _matches(pattern, manifest.root or "", items)), set())
        if not found:
            raise SourceError(
                f"nothing in the gallery matches '{pattern}'; nothing was removed",
                hint="Give a path below the gallery's root, a folder, or a glob in quotes; search shows the paths.",
            )
        ids |= found
    return ids


def _matches(pattern: str, root: str, items: Sequence[Item]) -> Iterator[set[int]]:
    """What a pattern means in each way that it may be taken, the likeliest first."""
    address = addresses.join(os.getcwd(), pattern)
    here = addresses.relative(root, address if addresses.is_url(address) else os.path.normpath(address))
    for path in (pattern, here):
        yield {item.id for item in items if item.path == path}
    for path in (pattern, here):
        if path == root:
            yield {item.id for item in items if not os.path.isabs(item.path)}
        yield {item.id for item in items if item.path.startswith(f"{path.rstrip('/')}/")}
    for path in (pattern, here):
        yield {item.id for item in items if fnmatch.fnmatchcase(item.path, path)}


def _of_its_space(encoder: MakeEncoder, manifest: Manifest) -> MakeEncoder:
    """Makes the encoder once, however many sources there are, and checks that it fits the gallery."""

    @functools.cache
    def checked() -> Encoder:
        made = encoder()
        check_same_space(manifest.space, "the gallery", made.space, "the encoder")
        return made

    return checked


def _shifted(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    if on_progress is None:
        return None
    return lambda done, _: on_progress(before + done, total)
