"""Maps of galleries: make one, open one."""

from __future__ import annotations

from zsretrieve.api.indexes import open_gallery
from zsretrieve.domain.arguments import Seed
from zsretrieve.domain.maps import Map
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.records import PathLike
from zsretrieve.gallery import maps as _maps
from zsretrieve.store import maps as _files
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.named import folder_of


def make_map(
    gallery: Gallery | PathLike, *, fresh: bool = False, seed: Seed = 0, on_stage: OnStage | None = None
) -> Map:
    """Arrange the images of a gallery in a plane with similar ones close together, and store the map in its folder.

    If there is a map already, its images stay where they are, new and changed ones are placed among their nearest
    neighbours, and those that are gone are left out. Everything is recomputed if the map has fewer than half of the
    images, is of another model, or is damaged. After an interruption the old map is still there.

    Parameters
    ----------
    gallery : Gallery or path
    fresh : bool
        Recompute everything.
    seed : int
        The same seed gives the same map of the same vectors on the same machine. It counts only for a map that is
        recomputed; an update keeps that of the map.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    SourceError
        If the gallery is empty.
    IndexFolderError
        If the map cannot be written.
    """
    return _maps.make_map(_opened(gallery), fresh=fresh, seed=seed, on_stage=on_stage or _unheard)


def open_map(gallery: Gallery | PathLike) -> Map:
    """The stored map of a gallery, with the images that both have.

    Raises
    ------
    SourceError
        If there is none.
    IntegrityError
        If it is damaged.
    IndexVersionError
        If it is of a newer version.
    SpaceMismatchError
        If it is of another model, because the gallery was rebuilt.
    """
    return _maps.open_map(_opened(gallery))


def has_map(gallery: Gallery | PathLike) -> bool:
    """Whether a map is stored beside a gallery, without opening either."""
    folder = gallery.folder if isinstance(gallery, Gallery) else folder_of(gallery)
    return folder is not None and _files.exists(folder)


def _opened(gallery: Gallery | PathLike) -> Gallery:
    # The computation runs on the CPU and needs no copy on a GPU.
    return gallery if isinstance(gallery, Gallery) else open_gallery(gallery, device="cpu")


def _unheard(_stage: str, _done: int, _total: int) -> None:
    """Nobody listens."""
