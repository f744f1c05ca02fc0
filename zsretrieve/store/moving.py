"""Galleries that were moved together with their images."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from zsretrieve.domain.records import Manifest
from zsretrieve.images.addresses import quoted
from zsretrieve.store.manifest import STAGING


def followed(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest with root and origins where they are now, seen from the index folder as they were before.

    A place that still exists, or exists neither there nor here, stays as it is.
    """
    if manifest.home is None or manifest.home == str(folder.absolute()):
        return manifest
    before = manifest.root or ""
    root = follow(folder, manifest, before)

    def origin_of(origin: str) -> str:
        # Of several archives in braces, the folder above them is the root.
        above = f"{quoted(before).rstrip('/')}/{{"
        if origin.startswith(above) and root != before:
            return f"{quoted(root).rstrip('/')}/{{{origin.removeprefix(above)}"
        return follow(folder, manifest, origin)

    return replace(manifest, root=root or None, origins=tuple(map(origin_of, manifest.origins)))


def follow(folder: Path, manifest: Manifest, path: str) -> str:
    """Where a file or folder is now, if it was moved together with the index."""
    if manifest.home is None or not os.path.isabs(path) or os.path.lexists(path):
        return path
    here = os.path.normpath(os.path.join(folder.absolute(), os.path.relpath(path, manifest.home)))
    return here if os.path.exists(here) else path


def home_of(folder: Path, manifest: Manifest) -> str | None:
    """Where the index is, to be recorded as long as its images are where it says; otherwise what it recorded before."""
    if folder.name == STAGING:
        return None
    known = manifest.root is not None and os.path.isabs(manifest.root) and os.path.isdir(manifest.root)
    return str(folder.absolute()) if known else manifest.home
