"""Images that are in a gallery more than once."""

from __future__ import annotations

from zsretrieve.api.indexes import open_gallery
from zsretrieve.domain.duplicates import DuplicateGroup
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.settings import DUPLICATE_SCORE
from zsretrieve.gallery import duplicates as _duplicates
from zsretrieve.store.indexes import Gallery


def find_duplicates(
    gallery: Gallery | PathLike,
    *,
    near: float | None = DUPLICATE_SCORE,
    where: str | None = None,
    on_stage: OnStage | None = None,
) -> tuple[DuplicateGroup, ...]:
    """Groups of images that are in a gallery more than once, and which image of each to keep.

    First come exact groups, of equal files; an unknown (empty) digest equals no other. Near groups follow: each
    image of one scores at least ``near`` with the one to keep, so nothing is chained. Of equal files only the one to
    keep can be in a near group as well, again as the one to keep; any other image is in one group at most. The image
    to keep is the one with most pixels, then the largest file, the shortest path, the lowest ID; it takes all images
    near it that no better one has.

    Parameters
    ----------
    gallery : Gallery or path
    near : float, optional
        Above 0, at most 1; None compares only digests.
    where : str, optional
        Only among the images that match this filter, see ``zsretrieve.domain.filters``.
    on_stage : callable, optional
        Called with (name of the stage, images compared, images in all).

    Returns
    -------
    tuple of DuplicateGroup, exact ones first, each kind in the order of the gallery

    Raises
    ------
    RankError
        If ``near`` is out of range.
    FilterError
        If the filter cannot be used, or nothing matches it.
    """
    # The comparison runs on the CPU and needs no copy on a GPU.
    opened = gallery if isinstance(gallery, Gallery) else open_gallery(gallery, device="cpu")
    on_progress = progress_of(on_stage, "comparing images")
    return _duplicates.find_duplicates(opened, near=near, where=where, on_progress=on_progress)
