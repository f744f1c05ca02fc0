"""Building a gallery, and re-encoding one with another model. What is interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zsretrieve import addresses
from zsretrieve.errors import OutputExistsError, SourceError
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.records import Building, Changes, IndexKind, Item, Manifest, Skipped
from zsretrieve.sources import Source, SourceFile
from zsretrieve.store.folder import Writer, creating, now, staging, writing
from zsretrieve.store.indexes import Gallery, gallery_rows, open_gallery, read_live
from zsretrieve.verbs.ahead import EXACT, FAST, Reading
from zsretrieve.verbs.encode import OnProgress, Seen, nothing_readable, unread
from zsretrieve.verbs.grow import CHECKPOINT_IMAGES, Growth, take_in
from zsretrieve.version import tool_version


@dataclass(frozen=True)
class BuiltGallery:
    """A gallery and what its building did; ``unchanged`` are pictures that an interrupted build had encoded."""

    gallery: Gallery
    changes: Changes


def build_gallery(
    out: Path,
    source: Source,
    encoder: Encoder,
    backend: IndexBackend,
    reading: Reading,
    *,
    force: bool = False,
    checkpoint: int = CHECKPOINT_IMAGES,
    on_progress: OnProgress | None = None,
) -> BuiltGallery:
    """Encode the pictures of a source and write them to the folder ``out``.

    What was encoded is committed every few seconds to a staging index inside ``out``. If the build is interrupted, the
    same call goes on from there; until it is complete, an index that was there before stays as it is.

    Parameters
    ----------
    checkpoint : int
        Pictures that may wait in memory for the next such commit.

    Raises
    ------
    OutputExistsError
        If ``out`` holds something already, unless it is an index and ``force`` is given; or the beginning of a build
        from another source or with another model, which ``force`` throws away.
    SkippedInputError
        If ``reading`` is strict and a picture cannot be used.
    SourceError
        If no picture at all can be read.
    """
    skipped = unread(source, reading)
    with creating(out, force=force) as writer, staging(writer) as stage:
        wanted = _manifest(source, encoder, reading)
        manifest = _beginning(stage.manifest, wanted, out, force=force)
        growth, unchanged, encoded = _encode_all(
            stage, manifest, source, encoder, backend, reading, checkpoint, on_progress,
            same_listing=wanted.building == manifest.building and all(file.id is None for file in source.files),
        )  # fmt: skip
        for one in skipped:
            growth.skip(one)
        listed = {file.path for file in source.files} | {one.path for one in skipped}
        growth.forget_skips([one.path for one in growth.skipped if one.path not in listed])
        if not growth.count:
            raise nothing_readable(growth.skipped)
        growth.finish(compact=True)
        complete = writer.adopt(stage)
    changes = Changes(complete.count - unchanged, unchanged=unchanged, encoded=encoded, skipped=complete.skipped)
    return BuiltGallery(open_gallery(out, backend), changes)


def rebuild(
    out: Path,
    encoder: Encoder,
    backend: IndexBackend,
    reading: Reading,
    *,
    drop_missing: bool = False,
    force: bool = False,
    checkpoint: int = CHECKPOINT_IMAGES,
    on_progress: OnProgress | None = None,
) -> BuiltGallery:
    """Encode every picture of a gallery again, with another model perhaps, beside the old gallery; then swap the two.

    Ids, labels and sources stay. If it is interrupted, the same call goes on; the old gallery stands until the end.

    Parameters
    ----------
    drop_missing : bool
        Swap even if some pictures cannot be read any more; they are not in the new gallery then.
    force : bool
        Throw away the beginning of another build.

    Raises
    ------
    SourceError
        If some pictures cannot be read any more, unless ``drop_missing``; what was encoded is kept for the next call.
    """
    with writing(out) as writer, staging(writer) as stage:
        old, before = gallery_rows(writer)
        files = tuple(SourceFile(item.path, item.label, item.id) for item in before.items)
        source = Source(old.root or "", files)
        reading = reading.as_for(old.encoding)
        wanted = replace(_manifest(source, encoder, reading), origins=old.origins, next_id=old.next_id)
        # The gallery may have got other sources since a rebuilding that is taken up again.
        staged = stage.manifest and replace(stage.manifest, origins=old.origins)
        manifest = replace(_beginning(staged, wanted, out, force=force), skipped=old.skipped)
        growth, unchanged, encoded = _encode_all(
            stage, manifest, source, encoder, backend, reading, checkpoint, on_progress, same_listing=False
        )
        kept = growth.ids
        lost = [item for item in before.items if item.id not in kept]
        growth.finish(compact=True)
        if lost:
            _refuse_loss(out, lost, len(before.items), growth.skipped, drop_missing=drop_missing)
        complete = writer.adopt(stage)
    changes = Changes(
        changed=complete.count - unchanged, unchanged=unchanged, removed=len(lost), encoded=encoded,
        skipped=complete.skipped,
    )  # fmt: skip
    return BuiltGallery(open_gallery(out, backend), changes)


def _refuse_loss(
    out: Path, lost: Sequence[Item], count: int, skipped: Sequence[Skipped], *, drop_missing: bool
) -> None:
    reasons = {one.path: one.reason for one in skipped}
    first = f"'{lost[0].path}': {reasons.get(lost[0].path, 'not there')}"
    if len(lost) == count:
        raise SourceError(
            f"not one of the {count} images of '{out}' can be read any more, so the old gallery stays; first {first}",
            hint="Is a drive not mounted?",
        )
    if not drop_missing:
        raise SourceError(
            f"{len(lost)} images of '{out}' cannot be read any more, so the old gallery stays; first {first}",
            hint="Bring them back and run the command again, or leave them out with --drop-missing.",
        )


def _encode_all(
    stage: Writer,
    manifest: Manifest,
    source: Source,
    encoder: Encoder,
    backend: IndexBackend,
    reading: Reading,
    checkpoint: int,
    on_progress: OnProgress | None,
    *,
    same_listing: bool,
) -> tuple[Growth, int, int]:
    """The staging gallery with all of a source in it; how many pictures it held before, and how many were encoded."""
    live = read_live(stage.out, manifest)
    growth = Growth(stage, manifest, live, backend, checkpoint)
    todo, unchanged = _still_to_do(source, live.items, growth, same_listing)
    there = {item.id for item in live.items}
    taken: set[int] = set()

    def settle(seen: Seen) -> Item:
        item = replace(seen.item, id=growth.new_id() if seen.file.id is None else seen.file.id)
        taken.add(item.id)
        return item

    encoded = take_in(growth, source, todo, lambda: encoder, reading, settle, on_progress, done_before=unchanged)
    # What changed into something that cannot be read is not in a new gallery, whatever it was before.
    growth.remove({file.id for file in todo if file.id is not None and file.id in there and file.id not in taken})
    return growth, unchanged, encoded


def listing_digest(source: Source) -> str:
    """The sha256 of the paths of a source, in their order, and of the ids that are given with them."""
    digest = hashlib.sha256()
    for file in source.files:
        digest.update(os.fsencode(file.path) + f"\0{'' if file.id is None else file.id}\0".encode())
    return digest.hexdigest()


def _manifest(source: Source, encoder: Encoder, reading: Reading) -> Manifest:
    return Manifest(
        kind=IndexKind.GALLERY,
        space=encoder.space,
        head=encoder.head,
        encoding=replace(encoder.encoding, exif=reading.exif, decoding=FAST if reading.fast else EXACT),
        count=0,
        factory="Flat",
        files={},
        created=now(),
        tool_version=tool_version(),
        verified=now(),
        next_id=max(
            [len(source.files), source.next_id, *(file.id + 1 for file in source.files if file.id is not None)]
        ),
        root=source.root,
        origins=() if source.where is None else (source.where,),
        building=Building(listing_digest(source), len(source.files)),
    )


def _beginning(staged: Manifest | None, wanted: Manifest, out: Path, *, force: bool) -> Manifest:
    """The manifest to go on from: that of an interrupted build if it is of the same gallery, else the one wanted."""
    if staged is None:
        return wanted
    differences = staged.space.differences(wanted.space)
    for name in ("engine", "precision", "exif", "calibration", "decoding"):
        if getattr(staged.encoding, name) != getattr(wanted.encoding, name):
            differences.append(name)
    if (staged.root, staged.origins) != (wanted.root, wanted.origins):
        differences.append("source")
    if not differences:
        return replace(staged, next_id=max(staged.next_id, wanted.next_id))
    if force:
        return wanted
    raise OutputExistsError(
        f"'{out}' holds an interrupted build of '{staged.root}' with '{staged.space.model}' ({staged.count} images so "
        f"far); this one differs in {', '.join(differences)}",
        hint="Finish that one with the command that began it, or throw it away with --force.",
    )


def _still_to_do(
    source: Source, items: Sequence[Item], growth: Growth, same_listing: bool
) -> tuple[list[SourceFile], int]:
    """The files of a source that are not in the growing gallery as they are now, and how many are. Pictures that the
    source does not hold any more are taken out.

    A file that is there keeps its id. In the listing that the build began with, the place of any other is its id;
    in another listing it gets one after the last, once it is encoded.
    """
    by_id = {item.id: item for item in items}
    given = {file.id for file in source.files if file.id is not None}
    # Where the listing is the same, ids below its length belong to its places.
    first = len(source.files) if same_listing else 0
    done: dict[str, deque[Item]] = {}
    for item in items:
        if item.id not in given and item.id >= first:
            done.setdefault(item.path, deque()).append(item)
    todo, unchanged, stale = [], 0, set(by_id)
    for place, file in enumerate(source.files):
        before = by_id.get(file.id) if file.id is not None else by_id.get(place) if same_listing else None
        if file.id is None and (before is None or before.path != file.path):
            before = done[file.path].popleft() if done.get(file.path) else None
        id_ = file.id if before is None else before.id
        if before is not None:
            stale.discard(before.id)
            if before.path == file.path and addresses.is_unchanged(source.address(file), before):
                unchanged += 1
                growth.forget_skips([file.path])
                if before.label != file.label:
                    growth.relabel(before, file.label)
                continue
        todo.append(replace(file, id=place if id_ is None and same_listing else id_))
    growth.remove(stale)
    return todo, unchanged
