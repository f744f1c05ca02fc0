"""Maps of galleries as they are sent: arrays of numbers, and what describes them."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from zsretrieve.api.maps import open_map
from zsretrieve.domain.errors import SourceError, ZsRetrieveError
from zsretrieve.store import maps as map_files
from zsretrieve.web.analysis import Memo
from zsretrieve.web.errors import HttpError, missing
from zsretrieve.web.galleries import Revision
from zsretrieve.web.items import shown

_log = logging.getLogger("zsretrieve")
_CAPTIONS = 1000


@dataclass(frozen=True)
class SentMap:
    """A map of one revision.

    ``xy`` are the places as little-endian float32, x and y of each image; ``ids`` the images in the same order as
    int64, ascending; ``labels`` the places of their labels among the captions as int32, -1 without one.
    """

    etag: str
    xy: bytes
    ids: bytes
    labels: bytes
    about: dict[str, Any]


def etag_of(revision: Revision) -> str | None:
    """What changes with the gallery and with its map; None if there is no map."""
    folder = revision.gallery.folder
    if folder is None:
        return None
    try:
        found = os.stat(map_files.path_of(folder))
    except OSError:
        return None
    state = f"{revision.name} {revision.key} {found.st_mtime_ns} {found.st_ino} {found.st_size}"
    return sha256(state.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def map_of(revision: Revision, memo: Memo) -> SentMap:
    """The map of a gallery, read once. Raises HttpError (404) if there is none, or none that can be used."""
    etag = etag_of(revision)
    if etag is None:
        raise _none(revision)
    made: SentMap = memo.get((revision, "map", etag), lambda: _read(revision, etag))
    return made


def _read(revision: Revision, etag: str) -> SentMap:
    try:
        made = open_map(revision.gallery)
    except SourceError as error:  # deleted just now
        raise _none(revision) from error
    except ZsRetrieveError as error:
        _log.warning(f"the map of '{revision.name}' is not served: {error.message}")
        raise missing(
            f"the map of '{revision.name}' cannot be used", "Make it again: zsretrieve index map GALLERY --fresh"
        ) from error
    captions = made.captions
    numbers = {caption.label: number for number, caption in enumerate(captions)}
    of = [-1 if label is None else numbers[label] for label in made.labels]
    about = {
        "n": len(made.ids),
        "missing": made.missing,
        "method": made.method,
        "captions": [{"label": shown(one.label), "x": one.x, "y": one.y, "n": one.n} for one in captions[:_CAPTIONS]],
    }
    return SentMap(
        etag,
        made.xy.astype("<f4").tobytes(),
        made.ids.astype("<i8").tobytes(),
        np.array(of, dtype="<i4").tobytes(),
        about,
    )


def _none(revision: Revision) -> HttpError:
    return missing(f"the gallery '{revision.name}' has no map", "Make one: zsretrieve index map GALLERY")
