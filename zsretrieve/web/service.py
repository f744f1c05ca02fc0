"""All that a running server holds, and the verbs that its addresses share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from zsretrieve.api.search import search_all
from zsretrieve.domain.errors import NothingPassesError, ZsRetrieveError
from zsretrieve.domain.settings import Shards
from zsretrieve.domain.vectors import Rows
from zsretrieve.encoders.image_sides import gallery_space
from zsretrieve.encoders.loading import Model
from zsretrieve.prototypes.text import BuiltPrototypes
from zsretrieve.system.version import tool_version
from zsretrieve.web import items
from zsretrieve.web.analysis import Images, Memo, classified, prototypes_of
from zsretrieve.web.analysis_bodies import ClassifyBody
from zsretrieve.web.batching import Batches
from zsretrieve.web.bodies import SearchBody
from zsretrieve.web.errors import HttpError
from zsretrieve.web.fetching import Fetcher
from zsretrieve.web.galleries import Revision, Shelf
from zsretrieve.web.jobs import Jobs
from zsretrieve.web.metrics import Metrics
from zsretrieve.web.pictures import Pictures
from zsretrieve.web.pools import Pool
from zsretrieve.web.searching import Answers, Key, Question, nothing_passes, question_of, select, wanted_of
from zsretrieve.web.settings import Settings
from zsretrieve.web.uploads import Uploads

_log = logging.getLogger("zsretrieve")
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

# Selections of filters that are kept for the next page, and for how many seconds: a filter may ask for the time.
_SELECTIONS, _SELECTION_S = 64, 30.0


class Service:
    """Galleries, a model and threads to use them with.

    Parameters
    ----------
    shelf : Shelf
    model : Model
        Without a name, each gallery's own is used.
    settings : Settings
    """

    def __init__(self, shelf: Shelf, model: Model, settings: Settings) -> None:
        limits = settings.limits
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.shelf, self.model, self.settings = shelf, model, settings
        self.metrics = Metrics()
        self.pictures = Pictures(limits.image_pixels, limits.thumbnails_bytes)
        self.uploads = Uploads(limits.image_pixels, limits.image_bytes, limits.uploads_bytes)
        self.fetcher = Fetcher(is_allowed=settings.fetch, most_bytes=limits.image_bytes, seconds=limits.fetch_s)
        # Apart, so that slow filters and large images hold nothing but themselves.
        self.drawing = Pool("picture", min(4, cores + 1), limits.waiting)
        self.reading = Pool("items", 2, limits.waiting)
        self.filtering = Pool("filter", 2, 2 * limits.batch)
        self.working = Pool("work", 2, 8)
        self.following = Pool("follow", 1, 0)
        self.batches: Batches[Key, tuple[Question, Rows | None], Any] = Batches(
            Answers(model, is_local=settings.is_local),
            threads=2 if shelf.shards is None else 2 * shelf.shards.replicas,
            waiting=limits.waiting,
            most=limits.batch,
            on_batch=self.metrics.batch,
        )
        self.jobs = Jobs(16, is_local=settings.is_local)
        self.memo = Memo(16)
        self._selections: OrderedDict[tuple[int, str], tuple[float, Revision, Rows]] = OrderedDict()

    async def search(self, name: str, body: SearchBody) -> dict[str, Any]:
        """The answer to a search. Raises ZsRetrieveError of many kinds, see ``web.errors``."""
        started = time.perf_counter()
        revision = self.shelf.gallery(name).revision(body.revision)
        wanted, distinct = wanted_of(body), self.settings.limits.distinct
        if wanted.dedup and wanted.offset + wanted.k > distinct:
            raise HttpError(400, f"without near-duplicates a ranking ends after {distinct:,} hits", hint="Narrow it.")
        exif = revision.gallery.manifest.encoding.exif
        is_slow = any(term.upload or term.image for term in body.terms) or "://" in (body.query or "")
        ask = self.drawing.run if is_slow else _at_once
        question = await ask(question_of, body, self.uploads, self.fetcher.fetch, exif=exif)
        try:
            rows = await self.selected(revision, wanted.where)
        except NothingPassesError:
            answer: dict[str, Any] = nothing_passes(revision, question, wanted)
        else:
            answer = await self.batches.ask(Key(revision, wanted), (question, rows))
        answer["seconds"] = round(time.perf_counter() - started, 6)
        return answer

    async def galleries(self) -> dict[str, Any]:
        """The records of all galleries and prototypes."""
        return await self.reading.run(self._galleries)

    def _galleries(self) -> dict[str, Any]:
        write = self.settings.write
        opened = {name: served.current for name, served in self.shelf.galleries.items()}
        return {
            "galleries": [items.gallery_dict(revision, writable=write) for revision in opened.values()],
            "prototypes": [
                {
                    "name": name,
                    "n_classes": len(served.current.vectors),
                    "model": served.current.space.model,
                    "galleries": [gallery for gallery, revision in opened.items() if served.fits(revision.gallery)],
                }
                for name, served in self.shelf.prototypes.items()
            ],
            "read_only": not write,
            "allow_url": self.settings.fetch,
            "version": tool_version(),
        }

    async def gallery(self, name: str) -> dict[str, Any]:
        """The record of a gallery with its labels, folders and dates. Raises HttpError (404)."""
        revision, settings = self.shelf.gallery(name).current, self.settings
        return await self.reading.run(
            items.gallery_detail, revision, writable=settings.write, is_local=settings.is_local
        )

    async def item(self, name: str, number: int, prototypes: str | None) -> dict[str, Any]:
        """The record of an image with its neighbours, and its classes if prototypes are named.

        Raises HttpError (404, or 400 if the prototypes do not fit).
        """
        return await self.reading.run(self._item, self.shelf.gallery(name).current, number, prototypes)

    def _item(self, revision: Revision, number: int, prototypes: str | None) -> dict[str, Any]:
        is_local, gallery = self.settings.is_local, revision.gallery
        record = items.item_dict(gallery, revision.item(number), is_local=is_local)
        record["classes"] = []
        if prototypes is not None:
            chosen = self.shelf.prototypes_for(prototypes, gallery)
            record["classes"] = items.nearest_classes(revision, number, chosen)
        return {**record, "neighbours": items.neighbours(revision, number, is_local=is_local)}

    async def classify(self, name: str, body: ClassifyBody) -> dict[str, Any]:
        """How many images are nearest to each class. Raises ZsRetrieveError of many kinds, see ``web.errors``."""
        revision = self.shelf.gallery(name).current
        if (body.labels is None) == (body.prototypes is None):
            raise HttpError(400, "exactly one of labels and prototypes names the classes", hint="Give one of them.")
        if sum(one is not None for one in (body.ids, body.search)) > 1:
            raise HttpError(400, "ids and search both say which images are meant", hint="Give one of them.")
        found: Sequence[int] = ()
        if body.search is not None:
            answer = await self.search(name, body.search.model_copy(update={"revision": revision.key}))
            found = [hit["id"] for hit in answer["hits"]]
        try:
            passing = await self.selected(revision, body.where)
        except NothingPassesError:
            passing = np.empty(0, dtype=np.int64)
        return await self.working.run(self._classified, revision, body, found, passing)

    def _classified(
        self, revision: Revision, body: ClassifyBody, found: Sequence[int], passing: Rows | None
    ) -> dict[str, Any]:
        rows = _rows(revision, body, found)
        if passing is not None:
            rows = rows[np.isin(rows, passing)]
        images = Images(revision, rows, None if body.ids is None else body.k, body.listed, self.settings.is_local)
        if body.prototypes is None:
            most = self.settings.limits.prompts
            built = prototypes_of(body.labels or (), body.templates, images.revision, self.model, most)
        elif body.templates is None:
            built = BuiltPrototypes.of(self.shelf.prototypes_for(body.prototypes, images.revision.gallery))
        else:
            raise HttpError(400, "prototypes have their templates already", hint="Leave templates out.")
        return classified(images, built)

    async def selected(self, revision: Revision, where: str | None) -> Rows | None:
        """The rows that pass a filter, None without one. Raises FilterError, or HttpError if too many wait."""
        if where is None or not len(revision.gallery.items):
            return None
        key, now = (id(revision), where), time.monotonic()
        kept = self._selections.get(key)
        if kept is not None and kept[1] is revision and now - kept[0] < _SELECTION_S:
            return kept[2]
        rows = await self.filtering.run(select, revision, where, self.settings.limits.filter_s)
        self._selections[key] = now, revision, rows
        while len(self._selections) > _SELECTIONS:
            self._selections.popitem(last=False)
        return rows

    def warm(self) -> None:
        """Load the model of each gallery in the background, so that the first search does not wait for it."""
        # The process waits for it: at its end, native code that loads a model in a daemon would abort it.
        threading.Thread(target=self._warm, name="warm").start()

    def _warm(self) -> None:
        for served in self.shelf.galleries.values():
            gallery = served.current.gallery
            if self.jobs.stopping.is_set():
                return
            try:
                if len(gallery.items):
                    # Without the cache, to load the model; with it, to calibrate what matches.
                    for cached in (False, True):
                        search_all(gallery, ["an image"], self.model, k=1, cached=cached)
            except ZsRetrieveError as error:  # each search that needs it says so
                _log.warning(f"searches by text in '{served.name}' will fail: {error.message}")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the folders while the block runs."""
        follower = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await follower
            self.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.settings.limits.check_s)
            try:
                await self.following.run(self.shelf.refresh)
                self._forget()
            except ZsRetrieveError as error:
                _log.warning(f"looking for changes failed: {error.message}")
            except Exception:  # the next look may succeed
                _log.exception("looking for changes failed")

    def _forget(self) -> None:
        """Let go of what was derived from revisions that are closed by now, which holds them in memory."""
        opened, now = self.shelf.open_revisions, time.monotonic()
        self.memo.keep(lambda key: key[0] in opened)
        for key, (since, revision, _) in list(self._selections.items()):
            if revision not in opened or now - since >= _SELECTION_S:
                del self._selections[key]

    def close(self) -> None:
        """End the threads once they have finished what they do."""
        pools: Sequence[Pool | Batches[Any, Any, Any] | Jobs] = (
            self.drawing, self.reading, self.filtering, self.working, self.following, self.batches, self.jobs,
        )  # fmt: skip
        for pool in pools:
            pool.close()


def _rows(revision: Revision, body: ClassifyBody, found: Sequence[int]) -> Rows:
    """The rows of the images that a body means: its IDs, those that its search found, or all."""
    if body.ids is not None:
        return np.array(sorted({revision.row_of(number) for number in body.ids}), dtype=np.int64)
    if body.search is not None:
        return np.array([revision.row_of(number) for number in found], dtype=np.int64)
    return np.arange(len(revision.gallery.items))


async def _at_once(work: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
    """What takes no time needs no thread."""
    return work(*args, **kwargs)


def open_service(
    galleries: Sequence[str],
    prototypes: Sequence[str],
    model: Model,
    settings: Settings,
    shards: Shards | None = None,
) -> Service:
    """The service of galleries and prototypes, folders or ``@NAME``s; with ``shards`` galleries are on a cluster.

    Raises IndexFormatError or IntegrityError if one is not sound, SpaceMismatchError if the model has another space,
    ClusterError if the cluster cannot be reached or has no room.
    """
    shelf = Shelf(galleries, prototypes, model.compute.device, settings.limits.revisions, shards)
    for served in shelf.galleries.values():
        manifest = served.current.gallery.manifest
        chosen = model.named(manifest.space.model)
        chosen.check(gallery_space(chosen, manifest))
    return Service(shelf, model, settings)
