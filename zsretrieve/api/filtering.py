"""Asking a gallery about itself."""

from __future__ import annotations

from zsretrieve.api.opening import PathLike, open_gallery
from zsretrieve.records import DuplicateGroup
from zsretrieve.store.indexes import Gallery
from zsretrieve.verbs import duplicates as _duplicates
from zsretrieve.verbs.encode import OnProgress


def find_duplicates(
    gallery: Gallery | PathLike,
    *,
    near: float | None = _duplicates.DEFAULT_NEAR,
    where: str | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[DuplicateGroup, ...]:
    """Groups of pictures that are in a gallery more than once: equal files, or a score of at least ``near``.

    With ``near=None`` only equal files. See ``zsretrieve.verbs.duplicates``.
    """
    # The comparing is done on the CPU, which needs no copy on a GPU.
    opened = gallery if isinstance(gallery, Gallery) else open_gallery(gallery, device="cpu")
    return _duplicates.find_duplicates(opened, near=near, where=where, on_progress=on_progress)
