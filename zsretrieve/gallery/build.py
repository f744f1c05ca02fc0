"""Building a gallery, and encoding one again with another model; an interrupted run continues where it stopped."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zsretrieve.domain.errors import OutputExistsError, SourceError
from zsretrieve.domain.kind_choice import NO_DEMANDS, Demands
from zsretrieve.domain.kinds import FLAT
from zsretrieve.domain.records import Building, Changes, IndexKind, Item, Manifest, Skipped
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.wording import counted
from zsretrieve.encoding.batches import Seen, nothing_readable, unread
from zsretrieve.encoding.elsewhere import Described
from zsretrieve.gallery.ingest import GalleryBuilder, Ingest, ingest
from zsretrieve.images.sources import Source, SourceFile
from zsretrieve.store import making
from zsretrieve.store.folder import Writer, creating, now, staging, writing
from zsretrieve.store.indexes import Gallery, gallery_rows, open_gallery, read_live
from zsretrieve.store.manifest import shown
from zsretrieve.system.version import tool_version

_log = logging.getLogger("zsretrieve")


@dataclass(frozen=True)
class BuiltGallery:
    """A gallery and what was done; ``unchanged`` are images that an interrupted run had encoded."""

    gallery: Gallery
    changes: Changes


def build_gallery(
    out: Path,
    source: Source,
    how: Ingest,
    *,
    kind: str = FLAT,
    demands: Demands = NO_DEMANDS,
    regions: str | None = None,
    force: bool = False,
) -> Gallery:
    """See ``api.gallery.build_gallery``.

    Encoded images are committed every few seconds to a staging index inside ``out``. After an interruption the same
    call continues from there; until it is complete, an index that existed before stays as it is.
    """
    skipped = unread(source, how.reading)
    with creating(out, force=force) as writer, staging(writer) as stage:
        wanted = replace(_manifest(source, how.described(source), how.reading), factory=kind, regions=regions)
        making.check(kind, wanted.dim, len(source.files), demands, how.backend)
        manifest = _resumed(stage.manifest, wanted, out, force=force)
        same_listing = wanted.building == manifest.building and all(file.id is None for file in source.files)
        builder, _, _ = _encode_all(stage, manifest, source, how, same_listing=same_listing)
        for one in skipped:
            builder.skip(one)
        listed = {file.path for file in source.files} | {one.path for one in skipped}
        builder.forget_skips([one.path for one in builder.skipped if one.path not in listed])
        if not builder.count:
            raise nothing_readable(builder.skipped)
        builder.finish(compact=True, demands=demands, on_stage=how.on_stage)
        writer.adopt(stage)
        if how.elsewhere is not None:
            how.elsewhere.discard()
    return open_gallery(out, how.backend)


def rebuild(out: Path, how: Ingest, *, drop_missing: bool = False, force: bool = False) -> BuiltGallery:
    """See ``api.gallery.rebuild``; the new gallery grows beside the old one, and then takes its place."""
    with writing(out) as writer, staging(writer) as stage:
        old, before = gallery_rows(writer)
        how = replace(how, reading=how.reading.as_for(old.encoding))
        source = Source(old.root or "", tuple(map(SourceFile.of, before.items)))
        wanted = replace(
            _manifest(source, how.described(source), how.reading),
            origins=old.origins, exclude=old.exclude, include=old.include, next_id=old.next_id, factory=old.factory,
            regions=old.regions,
            holds_texts=old.holds_texts,
        )  # fmt: skip
        # Sources may have been added to the gallery since the interruption.
        staged = stage.manifest and replace(stage.manifest, origins=old.origins)
        manifest = replace(_resumed(staged, wanted, out, force=force), skipped=old.skipped)
        builder, unchanged, encoded = _encode_all(stage, manifest, source, how, same_listing=False)
        kept = builder.ids
        lost = [item for item in before.items if item.id not in kept]
        # What was measured of other vectors says nothing of these, and only in the same space is it a good beginning.
        known = old.approximate if old.space == wanted.space else None
        tuned = None if known is None else known.after(len(kept))
        memory = None if old.approximate is None else old.approximate.memory
        builder.finish(compact=True, tuned=tuned, demands=Demands(memory), on_stage=how.on_stage)
        if lost:
            _refuse_loss(out, lost, len(before.items), builder.skipped, drop_missing=drop_missing)
        new = writer.adopt(stage)
    changes = Changes(
        changed=new.count - unchanged,
        unchanged=unchanged,
        removed=len(lost),
        encoded=encoded,
        skipped=new.skipped,
    )
    return BuiltGallery(open_gallery(out, how.backend), changes)


def listing_digest(source: Source) -> str:
    """The sha256 of the paths of a source, in their order, and of the IDs that are given with them."""
    digest = hashlib.sha256()
    for file in source.files:
        digest.update(os.fsencode(file.path) + f"\0{'' if file.id is None else file.id}\0".encode())
    return digest.hexdigest()


def _refuse_loss(
    out: Path, lost: Sequence[Item], count: int, skipped: Sequence[Skipped], *, drop_missing: bool
) -> None:
    reasons = {one.path: one.reason for one in skipped}
    first = f"'{lost[0].path}': {reasons.get(lost[0].path, 'not there')}"
    if len(lost) == count:
        raise SourceError(
            f"not one of the {count} images of '{shown(out)}' can be read any more, so the old gallery stays; "
            f"first {first}",
            hint="Is the drive mounted?",
        )
    if not drop_missing:
        raise SourceError(
            f"{len(lost)} images of '{shown(out)}' cannot be read any more, so the old gallery stays; first {first}",
            hint="Bring them back and run the command again, or leave them out with `drop_missing`.",
        )


def _encode_all(
    stage: Writer, manifest: Manifest, source: Source, how: Ingest, *, same_listing: bool
) -> tuple[GalleryBuilder, int, int]:
    """The staging gallery with all of a source in it; how many images it held before, and how many were encoded."""
    live = read_live(stage.out, manifest)
    builder = GalleryBuilder(stage, manifest, live, how.backend, how.checkpoint)
    todo, unchanged = _remaining(source, live.items, builder, same_listing)
    staged = {item.id for item in live.items}
    taken: set[int] = set()

    def item_of(seen: Seen) -> Item:
        item = replace(seen.item, id=builder.new_id() if seen.file.id is None else seen.file.id)
        taken.add(item.id)
        return item

    encoded = ingest(builder, source, todo, how, item_of, before=unchanged)
    # An image that changed into something that cannot be read is not in a new gallery, whatever it was before.
    builder.remove({file.id for file in todo if file.id is not None} & staged - taken)
    return builder, unchanged, encoded


def _manifest(source: Source, encoder: Described, reading: Reading) -> Manifest:
    return Manifest(
        kind=IndexKind.GALLERY,
        space=encoder.space,
        head=encoder.head,
        encoding=replace(encoder.encoding, exif=reading.exif, decoding=reading.decoding),
        count=0,
        factory=FLAT,
        files={},
        created=now(),
        tool_version=tool_version(),
        verified=now(),
        next_id=max(len(source.files), source.next_id, *(file.id + 1 for file in source.files if file.id is not None)),
        root=source.root,
        exclude=source.choice.exclude,
        include=source.choice.include,
        origins=() if source.origin is None else (source.origin,),
        building=Building(listing_digest(source), len(source.files)),
        holds_texts=source.holds_texts,
    )


def _resumed(staged: Manifest | None, wanted: Manifest, out: Path, *, force: bool) -> Manifest:
    """The manifest of an interrupted build if it is of the same gallery, otherwise the one wanted."""
    if staged is None:
        return wanted
    so_far = counted(staged.count, "text" if staged.holds_texts else "image")
    differences = staged.space.differences(wanted.space)
    for name in ("engine", "precision", "exif", "calibration", "decoding"):
        if getattr(staged.encoding, name) != getattr(wanted.encoding, name):
            differences.append(name)
    if (staged.root, staged.origins, staged.holds_texts) != (wanted.root, wanted.origins, wanted.holds_texts):
        differences.append("source")
    if staged.regions != wanted.regions:
        differences.append("regions")
    if not differences:
        _log.info(f"resuming an interrupted build: {so_far} encoded already")
        next_id = max(staged.next_id, wanted.next_id)
        return replace(staged, next_id=next_id, exclude=wanted.exclude, include=wanted.include, factory=wanted.factory)
    if force:
        return wanted
    raise OutputExistsError(
        f"'{shown(out)}' holds an interrupted build of '{staged.root}' with '{staged.space.model}' "
        f"({so_far} so far); this one differs in {', '.join(differences)}",
        hint="Finish it with the command that started it, or discard it with `force`.",
    )


def _remaining(
    source: Source, items: Sequence[Item], builder: GalleryBuilder, same_listing: bool
) -> tuple[list[SourceFile], int]:
    """The files of a source that the builder does not hold as they are now, and how many it does.

    Images that the source does not hold any more are removed. A file that the builder holds keeps its ID. In the
    listing that the build began with, the ID of any other file is its place; in another listing it gets one after the
    last, once it is encoded.
    """
    by_id = {item.id: item for item in items}
    given = {file.id for file in source.files if file.id is not None}
    # In the same listing, IDs below its length belong to its places.
    first = len(source.files) if same_listing else 0
    by_path: dict[str, deque[Item]] = {}
    for item in items:
        if item.id not in given and item.id >= first:
            by_path.setdefault(item.path, deque()).append(item)
    todo, unchanged, stale = [], 0, set(by_id)
    for place, file in enumerate(source.files):
        id_ = place if file.id is None and same_listing else file.id
        before = None if id_ is None else by_id.get(id_)
        if file.id is None and (before is None or before.path != file.path):
            before = by_path[file.path].popleft() if by_path.get(file.path) else None
        if before is None:
            todo.append(replace(file, id=id_))
            continue
        stale.discard(before.id)
        if before.path != file.path or not source.is_unchanged(file, before):
            todo.append(replace(file, id=before.id))
            continue
        unchanged += 1
        builder.forget_skips([file.path])
        if before.label != file.label:
            builder.rewrite(replace(before, label=file.label))
    builder.remove(stale)
    return todo, unchanged
