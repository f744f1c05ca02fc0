"""The sources that a gallery follows."""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path

from zsretrieve.api.indexes import cpu_backend, open_gallery
from zsretrieve.api.sources import as_source
from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Manifest, Origin, PathLike, Skipped
from zsretrieve.domain.settings import Choice
from zsretrieve.gallery import origins as _origins
from zsretrieve.images.sources import FOLDER, Source
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.manifest import shown
from zsretrieve.store.named import folder_of

_log = logging.getLogger("zsretrieve")


def gallery_sources(gallery: Gallery | PathLike) -> tuple[Origin, ...]:
    """The sources that a gallery follows, in the order in which they were added, with the images from each."""
    return _origins.origins_of(gallery if isinstance(gallery, Gallery) else open_gallery(gallery, device="cpu"))


def drop_source(gallery: PathLike, source: str) -> Manifest:
    """Stop following a source; its images stay in the gallery. Raises SourceError if it is not followed."""
    return _origins.drop(folder_of(gallery), source)


def relocate(gallery: PathLike, old: PathLike, new: PathLike) -> int:
    """Record that a folder or archive of a gallery's images was moved or renamed; nothing is encoded, and IDs stay.

    Parameters
    ----------
    old, new : path
        Where it was and where it is: a source of the gallery, or a folder above or below one.

    Returns
    -------
    int
        How many images have another path now.

    Raises
    ------
    SourceError
        If nothing of the gallery is from ``old``, or none of it is at ``new``.
    """
    return _origins.relocate(folder_of(gallery), os.fspath(old), os.fspath(new), cpu_backend())


def followed_sources(folder: Path, manifest: Manifest, ground_truth: PathLike | None, choice: Choice) -> list[Source]:
    """The sources of a gallery; one that cannot be listed while another can is skipped with its reason.

    Raises SourceError if none can be listed.
    """
    found: list[Source] = []
    missing: list[Source] = []
    for origin in manifest.origins:
        try:
            found.append(as_source(origin, ground_truth, choice))
        except SourceError as error:
            is_all = len(missing) + 1 == len(manifest.origins)
            name, place = shlex.quote(shown(folder)), shlex.quote(origin)
            moved = (
                f"If it was moved, run: zsretrieve index relocate {name} {place} NEW; if it is gone for good: "
                f"zsretrieve index {f'remove {name} {place}' if is_all else f'sources {name} --drop {place}'}"
            )
            if is_all:
                raise SourceError(error.message, hint=f"{error.hint} {moved}") from error
            _log.info(f"{error.message}; its images stay. {moved}")
            missing.append(Source("", (), (Skipped(origin, f"{FOLDER}{error.message}"),)))
    return [*found, *missing]
