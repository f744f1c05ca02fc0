"""The map of a gallery: computed once, then kept up to date by placing what is new among what is there.

Up to ``ARRANGED`` images are arranged together; of a larger gallery as many are drawn at random, and the others are
placed among these.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from zsretrieve.domain.errors import IndexVersionError, IntegrityError, SourceError, SpaceMismatchError
from zsretrieve.domain.maps import Map, Places
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.vectors import Rows
from zsretrieve.gallery import projection
from zsretrieve.gallery.search import selected
from zsretrieve.store import maps
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.items import column_of, ids_of
from zsretrieve.store.maps import MapFile, MapInfo

_log = logging.getLogger("zsretrieve")

# On two cores this many take a few minutes, and 0.6 GB at 512 dimensions (docs/decisions/0012-map.md).
ARRANGED = 50_000
_BLOCK = 4096


def make_map(gallery: Gallery, *, fresh: bool, seed: int, on_stage: OnStage) -> Map:
    """See ``api.maps.make_map``."""
    selected(gallery, None)  # refuses an empty gallery
    old = None if fresh else _usable(gallery)
    if old is None:
        made = _arranged(gallery, seed, on_stage)
    else:
        rows, own = old.kept(gallery.items)
        xy = np.empty((len(gallery.items), 2), np.float32)
        xy[rows] = old.xy[own]
        _place(gallery, xy, rows, old.info.seed, on_stage)
        made = _file(gallery, xy, old.info.method, old.info.seed)
    if gallery.folder is not None:
        maps.write(gallery.folder, made)
    return _opened(gallery, made)


def open_map(gallery: Gallery) -> Map:
    """See ``api.maps.open_map``."""
    if gallery.folder is None:
        raise SourceError("a gallery that is only in memory has no stored map", hint="Make one with zs.make_map.")
    made = maps.read(gallery.folder)
    if made.info.weights != gallery.space.weights:
        raise SpaceMismatchError(
            f"the map of '{gallery.folder}' was made from vectors of another model",
            hint=f"Make it again: zsretrieve index map '{gallery.folder}'",
        )
    return _opened(gallery, made)


def _usable(gallery: Gallery) -> MapFile | None:
    """The stored map, if at least half of the gallery is on it and it is of the same model."""
    if gallery.folder is None or not maps.exists(gallery.folder):
        return None
    try:
        old = maps.read(gallery.folder)
    except (IntegrityError, IndexVersionError) as error:
        _log.warning(f"{error.message}; it is recomputed")
        return None
    if old.info.weights != gallery.space.weights:
        _log.info("the gallery has vectors of another model now, so its map is recomputed")
        return None
    if 2 * len(old.kept(gallery.items)[0]) < len(gallery.items):
        _log.info("more than half of the images are not on the map yet, so all of it is recomputed")
        return None
    return old


def _arranged(gallery: Gallery, seed: int, on_stage: OnStage) -> MapFile:
    n = len(gallery.items)
    rows = _drawn(np.arange(n), seed)
    xy = np.empty((n, 2), np.float32)
    xy[rows] = projection.arranged(gallery.live.take(rows), seed, on_stage)
    _place(gallery, xy, rows, seed, on_stage)
    return _file(gallery, xy, projection.method_of(len(rows)), seed)


def _place(gallery: Gallery, xy: Places, rows: Rows, seed: int, on_stage: OnStage) -> None:
    """Fill in the places of all rows but ``rows``, which have theirs."""
    others = np.setdiff1d(np.arange(len(xy)), rows, assume_unique=True)
    if not len(others):
        return
    rows = _drawn(rows, seed)
    among = gallery.live.take(rows)
    for start in range(0, len(others), _BLOCK):
        some = others[start : start + _BLOCK]
        xy[some] = projection.placed(gallery.live.take(some), among, xy[rows])
        on_stage("placing images", start + len(some), len(others))


def _drawn(rows: Rows, seed: int) -> Rows:
    """All rows, or ``ARRANGED`` of them drawn at random; ascending."""
    if len(rows) <= ARRANGED:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, ARRANGED, replace=False))


def _file(gallery: Gallery, xy: Places, method: str, seed: int) -> MapFile:
    info = MapInfo(method, gallery.space.weights, gallery.manifest.generation, seed)
    return MapFile(ids_of(gallery.items), xy, maps.contents_of(gallery.items), info)


def _opened(gallery: Gallery, made: MapFile) -> Map:
    """What a map and a gallery both have."""
    rows, own = made.kept(gallery.items)
    labels: Sequence[str | None] = column_of(gallery.items, "label")
    n = len(gallery.items)
    shared = tuple(labels[row] for row in rows.tolist())
    return Map(made.ids[own], made.xy[own], made.info.revision, made.info.method, n - len(rows), shared)
