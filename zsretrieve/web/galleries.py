"""The galleries and prototypes of a server: opened once, and again when they change on the disk."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zsretrieve.api.indexes import open_gallery, open_prototypes
from zsretrieve.domain.errors import ZsRetrieveError
from zsretrieve.domain.records import Item
from zsretrieve.domain.settings import Shards
from zsretrieve.domain.wording import shorten
from zsretrieve.store import manifest as manifests
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.named import folder_of
from zsretrieve.web.errors import HttpError, missing

_log = logging.getLogger("zsretrieve")

# After this an index that could not be opened is tried again: whoever copies one may not have been done.
_AGAIN_S = 5.0


@dataclass(frozen=True, eq=False)
class Revision:
    """A gallery as it was on the disk at one time; ``key`` names that time."""

    name: str
    key: str
    gallery: Gallery

    def row_of(self, id_: int) -> int:
        """The row of an image. Raises HttpError (404) if there is none with this ID."""
        row = self.gallery.row_of(id_)
        if row is None:
            raise missing(f"there is no image {id_} in '{self.name}'", "It may have been removed; search again.")
        return row

    def item(self, id_: int) -> Item:
        """An image. Raises HttpError (404) as ``row_of``."""
        return self.gallery.items[self.row_of(id_)]


class _Followed(ABC):
    """An index that follows its folder; while it cannot be opened, the old one goes on serving."""

    def __init__(self, name: str, folder: Path, device: str) -> None:
        self.name = name
        self.folder = folder
        self._device = device
        self._lock = threading.Lock()
        self._seen = _state(folder)
        self._problem: str | None = None
        self._tried = 0.0
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Open what is on the disk and serve it. Raises ZsRetrieveError, OSError."""

    def refresh(self) -> None:
        """Open the index again if its folder has another state, or if that failed some seconds ago."""
        with self._lock:
            state, now = _state(self.folder), time.monotonic()
            again = self._problem is not None and now - self._tried >= _AGAIN_S
            if state is None or (state == self._seen and not again):
                return
            self._seen, self._tried = state, now
            try:
                self._open()
            except Exception as error:  # whatever it is, the old state serves, and other indexes are followed
                if str(error) != self._problem:
                    _log.warning(
                        f"'{self.name}' changed and cannot be opened, so the old state is served: {error}",
                        exc_info=None if isinstance(error, ZsRetrieveError | OSError) else error,
                    )
                self._problem = str(error)
            else:
                self._problem = None


class ServedGallery(_Followed):
    """A gallery that follows its folder; the last revisions stay open, so that one may go on turning pages."""

    def __init__(self, name: str, folder: Path, device: str, kept: int, shards: Shards | None) -> None:
        self._kept = kept
        self._shards = shards
        self._revisions: OrderedDict[str, Revision] = OrderedDict()
        super().__init__(name, folder, device)

    @property
    def current(self) -> Revision:
        """The newest revision."""
        return next(reversed(self._revisions.values()))

    @property
    def revisions(self) -> Sequence[Revision]:
        """Those that are open, the newest last."""
        return tuple(self._revisions.values())

    def revision(self, key: str | None) -> Revision:
        """A revision by its key, by default the newest. Raises HttpError (409) if it is closed by now."""
        if key is None:
            return self.current
        found = self._revisions.get(key)
        if found is None:
            raise HttpError(409, "the gallery has changed since this search began", hint="Search again.")
        return found

    def _open(self) -> None:
        if self._shards is None:
            gallery = open_gallery(self.folder, device=self._device)
        else:
            gallery = open_gallery(self.folder, ray=self._shards)
        revision = Revision(self.name, gallery.revision, gallery)
        # Replaced as a whole: requests read it in other threads.
        kept = OrderedDict((key, one) for key, one in self._revisions.items() if key != revision.key)
        kept[revision.key] = revision
        while len(kept) > self._kept:
            kept.popitem(last=False)
        self._revisions = kept


class ServedPrototypes(_Followed):
    """A prototype index that follows its folder."""

    current: Prototypes

    def _open(self) -> None:
        self.current = open_prototypes(self.folder, device=self._device)

    def fits(self, gallery: Gallery) -> bool:
        """Whether they are of the gallery's embedding space."""
        return not self.current.space.differences(gallery.space)


class Shelf:
    """All that a server has open, by name.

    Parameters
    ----------
    galleries, prototypes : sequence of path
        Folders or ``@NAME``s.
    device : str
        For prototypes, and for galleries without ``shards``.
    kept : int
        Revisions of each gallery that stay open.
    shards : Shards, optional
        How galleries are spread over a cluster.

    Raises
    ------
    IndexFormatError, IntegrityError
        If one is not sound.
    ClusterError
        If the cluster cannot be reached or has no room.
    """

    def __init__(
        self, galleries: Sequence[str], prototypes: Sequence[str], device: str, kept: int, shards: Shards | None = None
    ) -> None:
        self._device = device
        self._kept = kept
        self.shards = shards
        self._adding = threading.Lock()
        self.galleries: dict[str, ServedGallery] = {}
        self.prototypes: dict[str, ServedPrototypes] = {}
        for given in galleries:
            self.add_gallery(folder_of(given))
        for given in prototypes:
            self.add_prototypes(folder_of(given))

    def add_gallery(self, folder: Path) -> ServedGallery:
        """Open one more gallery under a name of its own."""
        with self._adding:
            served = ServedGallery(_free_name(folder, self.galleries), folder, self._device, self._kept, self.shards)
            self.galleries = {**self.galleries, served.name: served}
        return served

    def add_prototypes(self, folder: Path) -> ServedPrototypes:
        """Open one more prototype index under a name of its own."""
        with self._adding:
            served = ServedPrototypes(_free_name(folder, self.prototypes), folder, self._device)
            self.prototypes = {**self.prototypes, served.name: served}
        return served

    def gallery(self, name: str) -> ServedGallery:
        """A gallery by its name. Raises HttpError (404)."""
        if name not in self.galleries:
            raise missing(f"there is no gallery '{name}'", _names("galleries", self.galleries))
        return self.galleries[name]

    def prototypes_for(self, name: str, gallery: Gallery) -> Prototypes:
        """Prototypes that fit a gallery. Raises HttpError (404, or 400 if they are of another embedding space)."""
        served = self.prototypes.get(name)
        if served is None:
            raise missing(f"there are no prototypes '{name}'", _names("prototypes", self.prototypes))
        if not served.fits(gallery):
            raise HttpError(400, f"the prototypes '{name}' are of another model than the gallery")
        return served.current

    @property
    def open_revisions(self) -> set[Revision]:
        """The revisions of all galleries that are open."""
        return {revision for served in self.galleries.values() for revision in served.revisions}

    def refresh(self) -> None:
        """Look at every folder, and open what changed."""
        followed: list[_Followed] = [*self.galleries.values(), *self.prototypes.values()]
        for served in followed:
            served.refresh()


def _state(folder: Path) -> tuple[int, int, int] | None:
    """What changes with every commit; None while there is no manifest."""
    with contextlib.suppress(OSError):
        found = os.stat(folder / manifests.NAME)
        return found.st_mtime_ns, found.st_ino, found.st_size
    return None


def _names(kind: str, served: Mapping[str, _Followed]) -> str:
    return f"{kind.capitalize()}: {shorten(list(served), 20)}." if served else f"The server has no {kind}."


def _free_name(folder: Path, taken: dict[str, ServedGallery] | dict[str, ServedPrototypes]) -> str:
    base = os.path.basename(os.path.realpath(folder)) or "root"
    base = base.encode("utf-8", "backslashreplace").decode("utf-8")
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name
