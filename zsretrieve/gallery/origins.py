"""The sources that a gallery follows: list them, drop one, and rewrite them after a move."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.records import Manifest, Origin
from zsretrieve.domain.wording import counted, shorten
from zsretrieve.gallery.ingest import GalleryBuilder
from zsretrieve.images import opening
from zsretrieve.images.addresses import HUB, quoted
from zsretrieve.images.sources import Source, expand
from zsretrieve.store.folder import writing
from zsretrieve.store.indexes import Gallery, gallery_rows
from zsretrieve.store.manifest import shown

# Images that are looked for at the new place.
_LOOKED_FOR = 1000


def origins_of(gallery: Gallery) -> tuple[Origin, ...]:
    """See ``api.gallery.gallery_sources``."""
    addresses = [gallery.path_of(item) for item in gallery.items]
    listed = []
    for origin in gallery.manifest.origins:
        places = expand(origin) if "{" in origin and not os.path.lexists(origin) else [origin]
        ends = tuple(f"{place.rstrip('/')}{end}" for place in places for end in ("/", opening.MEMBER))
        remote = opening.is_url(origin) or origin.startswith(HUB)
        missing = None if remote else not all(os.path.exists(place) for place in places)
        listed.append(Origin(origin, sum(address.startswith(ends) for address in addresses), missing))
    return tuple(listed)


def drop(out: Path, origin: str) -> Manifest:
    """See ``api.gallery.drop_source``."""
    with writing(out) as writer:
        manifest, _ = gallery_rows(writer)
        known = [one for one in manifest.origins if one in (origin, _written(origin))]
        if not known:
            followed = shorten(manifest.origins, 4) or "no source"
            raise SourceError(
                f"'{shown(out)}' does not follow '{origin}'; it follows {followed}",
                hint=f"List them with: zsretrieve index sources '{shown(out)}'",
            )
        rest = tuple(one for one in manifest.origins if one not in known)
        skipped = tuple(one for one in manifest.skipped if one.path not in known)
        return writer.commit(replace(manifest, origins=rest, skipped=skipped))


def relocate(out: Path, old: str, new: str, backend: IndexBackend) -> int:
    """See ``api.gallery.relocate``."""
    before, now = _written(old), _written(new)
    with writing(out) as writer:
        manifest, live = gallery_rows(writer)
        if manifest.holds_texts:
            raise SourceError(
                f"'{shown(out)}' holds texts, which have no files of their own to follow",
                hint="Build it again where its images are now.",
            )
        root = manifest.root or ""
        new_root = _moved(root, before, now)
        builder = GalleryBuilder(writer, manifest, live, backend)
        moved = []
        first: dict[str, tuple[str, str]] = {}
        twice = set()
        for item in live.items:
            address = opening.join(root, item.path)
            place = _moved(address, before, now)
            if place != address:
                moved.append(place)
            path = opening.relative(new_root, place)
            # The image may have been added from its new place meanwhile; the older ID stays.
            other, digest = first.setdefault(path, (address, item.digest))
            if other != address and digest == item.digest != "":
                twice.add(item.id)
            elif path != item.path:
                builder.rewrite(replace(item, path=path))
        origins = tuple(dict.fromkeys(_moved_origin(origin, before, now) for origin in manifest.origins))
        if not moved and (root, manifest.origins) == (new_root, origins):
            raise SourceError(
                f"nothing in '{shown(out)}' is from '{old}'",
                hint=f"List its sources with: zsretrieve index sources '{shown(out)}'",
            )
        if moved and all(opening.is_missing(place) for place in moved[:_LOOKED_FOR]):
            raise SourceError(
                f"none of the {counted(len(moved), 'image')} is at '{new}', first '{moved[0]}'; nothing was changed",
                hint="Check both paths.",
            )
        builder.manifest = replace(builder.manifest, root=new_root or None, origins=origins)
        for one in manifest.skipped:
            place = _moved(opening.join(root, one.path), before, now)
            builder.forget_skips([one.path])
            builder.skip(replace(one, path=opening.relative(new_root, place)))
        builder.remove(twice)
        builder.finish()
        return len(moved)


def as_followed(source: Source, origins: Sequence[str]) -> Source:
    """A folder under the name by which a gallery follows it already; any other source as it is."""
    if source.origin is None or source.origin != source.root or source.origin in origins:
        return source
    for origin in origins:
        if os.path.isdir(origin) and os.path.isdir(source.origin) and os.path.samefile(origin, source.origin):
            return replace(source, root=origin, origin=origin)
    return source


def _written(place: str) -> str:
    """A place as manifests have it."""
    if opening.is_url(place) or place.startswith(HUB):
        return place.rstrip("/")
    return os.path.normpath(os.path.join(os.getcwd(), os.path.expanduser(place)))


def _moved(address: str, old: str, new: str) -> str:
    """An address, or the name of a data set, with ``old`` at its beginning replaced."""
    for prefix in ("", HUB):
        whole = f"{prefix}{old}"
        if address == whole or address.startswith((f"{whole}/", f"{whole}{opening.MEMBER}", f"{whole}:")):
            return f"{prefix}{new}{address[len(whole) :]}"
    return address


def _moved_origin(origin: str, old: str, new: str) -> str:
    """The same for an origin, in which names with braces are quoted."""
    return _moved(_moved(origin, old, new), quoted(old), quoted(new)) if "{" in origin else _moved(origin, old, new)
