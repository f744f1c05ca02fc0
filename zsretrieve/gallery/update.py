"""Keeping a gallery up to date: adding, syncing with its sources, removing, compacting."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zsretrieve.domain.errors import ImageError, MissingImageError, SourceError
from zsretrieve.domain.names import composed
from zsretrieve.domain.ports import IndexBackend, OnStage
from zsretrieve.domain.records import Changes, Item, Manifest, Skipped
from zsretrieve.domain.settings import Choice
from zsretrieve.domain.wording import counted
from zsretrieve.encoding.batches import Seen, unread
from zsretrieve.encoding.texts import item_of_text
from zsretrieve.gallery.ingest import GalleryBuilder, Ingest, ingest
from zsretrieve.images import opening
from zsretrieve.images.addresses import HUB, MEMBER, PIPED
from zsretrieve.images.decoding import decode
from zsretrieve.images.sources import FOLDER, Source, SourceFile
from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import Writer, writing
from zsretrieve.store.indexes import gallery_rows

_NO_VECTOR = np.empty(0, dtype=np.float32)


@dataclass(frozen=True)
class How:
    """How a gallery is brought up to date.

    Images may be compared by ``checksum`` whatever their time, and take the labels of their source (``relabel``); with
    ``dry_run`` nothing is encoded and nothing is written.
    """

    ingest: Ingest
    checksum: bool = False
    relabel: bool = False
    dry_run: bool = False


def add(out: Path, source: Source, how: How) -> Changes:
    """See ``api.gallery.add``.

    An image at its path with the same size and time is left alone. Any other is read, and encoded only if the gallery
    holds no image with the same content: a moved one keeps its ID, a copied one shares the vector.
    """
    with _writer(out, how) as writer:
        update = _Update(writer, [source], how)
        manifest = update.builder.manifest
        if source.origin is not None and source.origin not in manifest.origins:
            update.builder.manifest = replace(manifest, origins=(*manifest.origins, source.origin))
        update.run()
        return update.finish()


def sync(out: Path, sources: Sequence[Source], how: How, *, prune: bool = False) -> Changes:
    """See ``api.gallery.sync``; ``sources`` are the gallery's origins as they are now.

    An image is removed only if its file is definitely gone: it was in one of the sources, which could be listed, or its
    folder still exists; and that folder holds something, and no link above it leads nowhere. One that cannot be looked
    at stays, and so does one that changed into something that cannot be read. With ``prune`` all that are not there are
    removed. If all images would be removed, a missing drive is more likely, and nothing is done.
    """
    with _writer(out, how) as writer:
        update = _Update(writer, sources, how)
        unlisted = [item for item in update.items if item.path not in update.present]
        gone = [item for item in unlisted if update.is_gone(item, unsure=prune)]
        away = {} if prune else {item.id: place for item in gone if (place := update.absence(item)) is not None}
        lost = [item for item in gone if item.id not in away]
        if lost and len(lost) == len(update.items) and not update.finds_any_of(lost):
            raise SourceError(
                f"not one of the {len(lost)} images of '{manifests.shown(out)}' is there any more, "
                f"first '{lost[0].path}'; nothing was done",
                hint="Is the drive mounted? If they are gone for good, use: zsretrieve index remove",
            )
        update.look_at_unlisted({item.id for item in gone})
        update.run()
        removed = [item.id for item in lost if item.id not in update.moved]
        missing = [place for id_, place in away.items() if id_ not in update.moved]
        update.note_missing(missing)
        known = update.present | update.unread
        builder = update.builder
        builder.forget_skips([one.path for one in builder.skipped if one.path not in known])
        builder.remove(removed)
        return replace(update.finish(), removed=len(removed), missing=len(missing))


def remove(
    out: Path,
    select: Callable[[Manifest, Sequence[Item]], Collection[int]],
    backend: IndexBackend,
    *,
    dry_run: bool = False,
    on_stage: OnStage | None = None,
) -> Changes:
    """Remove the images whose IDs ``select`` returns, given the manifest and the items; the files themselves stay."""
    with writing(out) as writer:
        manifest, live = gallery_rows(writer)
        ids = set(select(manifest, live.items))
        if ids and not dry_run:
            builder = GalleryBuilder(writer, manifest, live, backend)
            builder.remove(ids)
            builder.finish(on_stage=on_stage)
        return Changes(removed=len(ids), unchanged=len(live.items) - len(ids))


def compact(out: Path, backend: IndexBackend, on_stage: OnStage | None = None) -> tuple[Manifest, Manifest]:
    """Rewrite a gallery as one segment; returns its manifests before and after."""
    with writing(out) as writer:
        manifest, live = gallery_rows(writer)
        return manifest, GalleryBuilder(writer, manifest, live, backend).finish(compact=True, on_stage=on_stage)


@contextlib.contextmanager
def _writer(out: Path, how: How) -> Iterator[Writer]:
    """The writer of a gallery; without a lock, for one that only looks."""
    if how.dry_run:
        manifests.read(out)
        yield Writer(out)
        return
    with writing(out) as writer:
        yield writer


class _Update:
    """Taking sources into an existing gallery, image by image."""

    def __init__(self, writer: Writer, sources: Sequence[Source], update: How) -> None:
        how = update.ingest
        manifest, live = gallery_rows(writer)
        choice = Choice(manifest.exclude, manifest.include)
        for source in sources:
            choice = choice.joined(source.choice)
        manifest = replace(manifest, exclude=choice.exclude, include=choice.include)
        self.builder = GalleryBuilder(writer, manifest, live, how.backend, how.checkpoint)
        self.items = live.items
        self.moved: set[int] = set()
        self.unread: set[str] = set()
        self._missing: dict[str, Skipped] = {}
        self._how = replace(how, reading=how.reading.as_for(manifest.encoding))
        self._root = manifest.root or ""
        self._sources = [self._rebased(source) for source in sources]
        self.present = {file.path for source in self._sources for file in source.files}
        self._roots = tuple({prefix for source in sources if source.origin is not None for prefix in _prefixes(source)})
        self._checksum = update.checksum
        self._relabel = update.relabel
        self._dry_run = update.dry_run
        self._count: Counter[str] = Counter()
        self._encoded = 0
        self._by_path: dict[str, list[Item]] = {}
        self._by_digest: dict[str, list[Item]] = {}
        for item in live.items:
            self._by_path.setdefault(item.path, []).append(item)
            if item.digest:
                self._by_digest.setdefault(item.digest, []).append(item)

    def look_at_unlisted(self, gone: set[int]) -> None:
        """Also take in images that no source lists but that still exist, because they were added one by one."""
        rest = [item for item in self.items if item.id not in gone and item.path not in self.present]
        if rest:
            self._sources.append(Source(self._root, tuple(SourceFile(item.path, item.label) for item in rest)))
            self.present |= {item.path for item in rest}

    def is_gone(self, item: Item, *, unsure: bool = False) -> bool:
        """Whether the image's file definitely does not exist any more, or with ``unsure`` cannot be looked at; a text
        needs none.
        """
        if item.text is not None:
            return False
        try:
            opening.state(opening.join(self._root, item.path))
        except MissingImageError:
            return True
        except ImageError:
            return unsure
        return False

    def absence(self, item: Item) -> tuple[str, str] | None:
        """The place of an image that is gone but may come back, and what is wrong there; None if it was deleted."""
        address = opening.join(self._root, item.path)
        followed = address.startswith(self._roots)
        if opening.is_url(address) or address.startswith(HUB) or opening.split(address) is not None:
            return None if followed else (address, "missing")
        folder = os.path.dirname(address)
        if not followed and not os.path.isdir(folder):
            return folder, "missing"
        return opening.absence(address)

    def note_missing(self, places: Sequence[tuple[str, str]]) -> None:
        """List the places of missing images among what is skipped now; the gallery does not record them."""
        for (place, why), count in Counter(places).items():
            path = opening.relative(self._root, place)
            kept = f"{counted(count, 'image')} kept, to remove with index sync --prune"
            self._missing[path] = Skipped(path, f"{FOLDER}{why}; {kept}")

    def finds_any_of(self, gone: Sequence[Item]) -> bool:
        """Whether a source holds a file with the content of one of these images."""
        digests = {item.digest for item in gone} - {""}
        for source in self._sources:
            for file in source.files:
                with contextlib.suppress(ImageError):
                    if opening.read(source.address(file)).digest in digests:
                        return True
        return False

    def finish(self) -> Changes:
        """Commit what was done, unless this only looks."""
        if not self._dry_run:
            self.builder.finish(on_stage=self._how.on_stage)
        skipped = [one for one in self.builder.skipped if one.path in self.unread or one.path in self.present]
        return Changes(
            **self._count,
            encoded=self._encoded,
            skipped=tuple(({one.path: one for one in skipped} | self._missing).values()),
        )

    def run(self) -> None:
        """Go through all sources."""
        plans: list[tuple[Source, list[SourceFile]]] = []
        handled: set[str] = set()
        for source in self._sources:
            for one in unread(source, self._how.reading):
                self.builder.skip(one)
                self.unread.add(one.path)
            plans.append((source, self._plan(source, handled)))
        before, total = 0, sum(len(todo) for _, todo in plans)
        for source, todo in plans:
            if self._dry_run:
                self._look(source, todo)
                continue
            self._encoded += ingest(self.builder, source, todo, self._how, self._item_of, before=before, total=total)
            before += len(todo)

    def _look(self, source: Source, todo: Sequence[SourceFile]) -> None:
        """Count what would become of files, without a model."""
        fresh: set[str] = set()

        def look(file: SourceFile) -> Item | Skipped:
            if file.text is not None:
                return item_of_text(file)
            try:
                content = opening.read(source.address(file))
                if self.builder.known(content.digest) is None:
                    decode(content, self._how.reading)
            except ImageError as error:
                return Skipped(file.path, error.message)
            return Item(0, file.path, file.label, 0, 0, len(content.data), content.mtime_ns, content.digest)

        with ThreadPoolExecutor(self._how.reading.workers) as pool:
            for file, item in zip(todo, pool.map(look, todo), strict=True):
                if isinstance(item, Skipped):
                    self.builder.skip(item)
                    continue
                self.builder.forget_skips([file.path])
                if self.builder.known(item.digest) is None:
                    fresh.add(item.digest)
                self._item_of(Seen(file, item, _NO_VECTOR, fresh=False))
        self._encoded += len(fresh)

    def _rebased(self, source: Source) -> Source:
        """The same files with paths as this gallery writes them."""

        def below(path: str) -> str:
            if path.startswith(f"{PIPED}{MEMBER}"):  # it is in no folder
                return path
            return opening.relative(self._root, opening.join(source.root, path))

        files = tuple(
            replace(f, path=below(f.path), text=f.text and replace(f.text, image=f.text.image and below(f.text.image)))
            for f in source.files
        )
        skipped = tuple(replace(s, path=below(s.path)) for s in source.skipped)
        return replace(source, root=self._root, files=files, skipped=skipped)

    def _plan(self, source: Source, handled: set[str]) -> list[SourceFile]:
        """The files to read, with an ``id`` if the gallery holds the path; counts the others."""
        todo = []
        for file in source.files:
            if file.path in handled:
                continue
            handled.add(file.path)
            before = self._by_path.get(file.path, [])
            if not before:
                todo.append(replace(file, id=None))
            for item in before:
                if self._checksum or not source.is_unchanged(file, item):
                    todo.append(replace(file, id=item.id))
                    continue
                self._count["unchanged"] += 1
                self.builder.forget_skips([file.path])
                if self._relabel and file.label != item.label:
                    self.builder.rewrite(replace(item, label=file.label))
                    self.builder.checkpoint_if_due()
        return todo

    def _item_of(self, seen: Seen) -> Item:
        """The item that an image becomes; counts what happened to it."""
        if seen.file.id is not None:
            old = self.builder.item(seen.file.id)
            self._count["unchanged" if old.digest == seen.item.digest else "changed"] += 1
            return replace(seen.item, id=old.id, label=seen.file.label if self._relabel else old.label)
        for old in self._by_digest.get(seen.item.digest, []):
            if old.id not in self.moved and self.is_gone(old) and not self._is_behind_link(old):
                self.moved.add(old.id)
                self._count["moved"] += 1
                # A label that came from a folder's name follows the image into its new folder.
                by_folder = old.label is None or old.label in old.path.split("/")
                return replace(seen.item, id=old.id, label=seen.file.label if by_folder or self._relabel else old.label)
        self._count["added"] += 1
        return replace(seen.item, id=self.builder.new_id())

    def _is_behind_link(self, item: Item) -> bool:
        """Whether an image that is gone is on a drive that is away, so that one with its content is a copy."""
        absence = opening.absence(opening.join(self._root, item.path))
        return absence is not None and os.path.islink(absence[0])


def _prefixes(source: Source) -> set[str]:
    """What the addresses of all images that a source may hold begin with."""
    places = [opening.split(source.address(file)) for file in source.files]
    archives = {f"{place[0]}{opening.MEMBER}" for place in places if place is not None}
    return archives or {f"{source.root.rstrip('/')}/"}


def ids_by_path(patterns: Sequence[str], manifest: Manifest, items: Sequence[Item]) -> set[int]:
    """The IDs of the images that patterns match, see ``api.gallery.remove``."""
    ids: set[int] = set()
    for pattern in patterns:
        if not pattern:
            raise SourceError("an empty path names nothing; nothing was removed", hint="Check the variable it is from.")
        matched = next(filter(None, _matches(pattern, manifest.root or "", items)), set())
        if not matched:
            raise SourceError(
                f"nothing in the gallery matches '{pattern}'; nothing was removed",
                hint="Give a path below the gallery's root, a folder, or a glob in quotes; search shows the paths.",
            )
        ids |= matched
    return ids


def _matches(pattern: str, root: str, items: Sequence[Item]) -> Iterator[set[int]]:
    """The IDs that a pattern matches in each way that it may be taken, the likeliest first."""
    address = opening.join(os.getcwd(), pattern)
    here = opening.relative(root, address if opening.is_url(address) else os.path.normpath(address))
    # As they are written first: a folder may hold two files whose names differ in nothing but their form.
    for path in (pattern, here):
        yield {item.id for item in items if item.path == path}
    pattern, here, root = composed(pattern), composed(here), composed(root)
    names = {item.id: composed(item.path) for item in items}
    for path in (pattern, here):
        yield {id_ for id_, name in names.items() if name == path}
    for path in (pattern, here):
        if path == root:
            yield {id_ for id_, name in names.items() if not os.path.isabs(name)}
        yield {id_ for id_, name in names.items() if name.startswith(f"{path.rstrip('/')}/")}
    for path in (pattern, here):
        yield {id_ for id_, name in names.items() if fnmatch.fnmatchcase(name, path)}
