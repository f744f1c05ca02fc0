"""The verbs of a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

from zsretrieve.api.hits import Hits
from zsretrieve.client import records
from zsretrieve.client.connection import Connection
from zsretrieve.client.records import Classes, Described, GalleryRecord, PrototypesRecord
from zsretrieve.client.terms import body_of
from zsretrieve.domain.duplicates import DuplicateGroup
from zsretrieve.domain.errors import ServerError
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.records import Changes, Item
from zsretrieve.domain.results import EvalReport
from zsretrieve.domain.settings import DUPLICATE_SCORE, Reading
from zsretrieve.domain.wanted import Order, Wanted
from zsretrieve.gallery.query_vectors import QueryLike, read_terms
from zsretrieve.images.content import Content

if TYPE_CHECKING:
    from PIL import Image

_PAGE = 200
_Made = TypeVar("_Made")


class Client:
    """A client of ``zsretrieve serve``, from any thread; to be used in a ``with`` block, or closed.

    Errors of the server are raised as those of the library, with the same message and hint; ServerError says that it
    cannot be reached, does not answer in time, is busy for too long, or is of another version. Paths are those that the
    server shows: relative to the gallery's folder. IDs and scores are exactly those of ``zsretrieve.search``.

    Parameters
    ----------
    address : str
        What ``zsretrieve serve`` prints: ``http://127.0.0.1:7878``. It may hold the token.
    token : str, optional
        The token, if the server asks for one.
    timeout : float
        Seconds to wait for each answer.
    patience : float
        Seconds to go on asking, at the times it names, while the server is busy.

    Raises
    ------
    UsageError
        If the address is not one of HTTP.
    """

    def __init__(
        self, address: str, *, token: str | None = None, timeout: float = 60.0, patience: float = 30.0
    ) -> None:
        self._server = Connection(address, token, timeout, patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._server.address!r})"

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def health(self) -> str:
        """The version of the server, if it answers."""
        return _made(lambda content: str(content["version"]), self._server.get("health"))

    def galleries(self) -> tuple[GalleryRecord, ...]:
        """The galleries that are served; other verbs take their names."""
        found = self._server.get("galleries")
        return _made(lambda content: tuple(map(records.gallery_of, content["galleries"])), found)

    def prototypes(self) -> tuple[PrototypesRecord, ...]:
        """The prototypes that are served; other verbs take their names."""
        found = self._server.get("galleries")
        return _made(lambda content: tuple(records.read(PrototypesRecord, one) for one in content["prototypes"]), found)

    def gallery(self, name: str) -> GalleryRecord:
        """One gallery, with its labels, folders and dates. Raises UsageError if there is none of this name."""
        return _made(records.gallery_of, self._server.get(_place(name)))

    def search(
        self, gallery: str, query: QueryLike = None, wanted: Wanted | None = None, *, revision: str | None = None
    ) -> Hits:
        """The images nearest to a query, as ``zsretrieve.search`` finds them.

        Parameters
        ----------
        gallery : str
        query : str, path, Pillow image, array, Term or sequence of Term, optional
            Paths, also those in a text, are of files on this machine, and are sent; an image that the gallery holds is
            therefore among its own hits. Vectors are not taken.
        wanted : Wanted, optional
            What is wanted apart from the query; at most 1000 hits at once. Its ``minus`` names no files, and ``exif``
            is left to the server.
        revision : str, optional
            That of the first page, with ``wanted.offset`` the ``next`` of the page before.

        Raises
        ------
        QueryError
            If the query is malformed, or an image of it cannot be read.
        UsageError, RankError, FilterError
            If the server refuses what is wanted, or there is no such gallery or revision.
        """
        wanted = wanted or Wanted()
        asked = read_terms(query, wanted)
        body = body_of(asked, wanted, revision, self._upload)
        found = self._server.post(f"{_place(gallery)}/search", body)
        return _made(lambda content: records.hits_of(content, asked), found)

    def items(self, gallery: str, *, where: str | None = None, order: Order | str = Order.SCORE) -> Iterator[Item]:
        """All images in the order of their IDs, or the newest first with ``Order.DATE``, page by page.

        Their ``mtime_ns`` is in whole seconds and their ``digest`` is empty. Raises FilterError, UsageError.
        """
        offset: int | None = 0
        revision: str | None = None
        while offset is not None:
            content = self._server.get(
                f"{_place(gallery)}/items", offset=offset, k=_PAGE, where=where, order=str(order), revision=revision
            )
            items, offset, revision = _made(
                lambda page: (tuple(map(records.item_of, page["hits"])), page["next"], page["revision"]), content
            )
            yield from items

    def item(self, gallery: str, id: int, *, prototypes: str | None = None) -> Described:  # noqa: A002
        """One image with its neighbours, and its nearest classes of prototypes. Raises UsageError if there is none."""
        found = self._server.get(f"{_place(gallery)}/items/{id}", prototypes=prototypes)
        return _made(records.described_of, found)

    def thumbnail(self, gallery: str, id: int, *, size: int = 256) -> Image.Image:  # noqa: A002
        """An image of at most 128, 256 or 512 pixels. Raises UsageError if it, or its file, is not there."""
        return _opened(self._server.content(f"{_place(gallery)}/items/{id}/thumbnail", size=size))

    def image(self, gallery: str, id: int) -> Image.Image:  # noqa: A002
        """An image as browsers show it. Raises UsageError if it, or its file, is not there."""
        return _opened(self._server.content(f"{_place(gallery)}/items/{id}/image"))

    def classify(
        self,
        gallery: str,
        labels: Sequence[str] | None = None,
        *,
        prototypes: str | None = None,
        templates: str | None = None,
        where: str | None = None,
        ids: Sequence[int] | None = None,
        k: int = 5,
    ) -> Classes:
        """How many images are nearest to each class, of the gallery, of those that pass a filter, or of some IDs.

        Parameters
        ----------
        gallery : str
        labels : sequence of str, optional
            Names of classes; or else ``prototypes`` names some that are served.
        templates : str, optional
            A bundled set of templates for the labels.
        where : str, optional
        ids : sequence of int, optional
            Classify these images, and give the ``k`` best classes of each, in the order of their IDs.
        k : int

        Raises
        ------
        PromptError, FilterError, UsageError
            As the server refuses it.
        """
        body = {
            "labels": None if labels is None else list(labels),
            "prototypes": prototypes,
            "templates": templates,
            "where": where,
            "ids": None if ids is None else list(ids),
            "k": k,
        }
        return _made(records.classes_of, self._server.post(f"{_place(gallery)}/classify", body))

    def evaluate(self, gallery: str, prototypes: str) -> EvalReport:
        """How well prototypes find the labels; the ``run`` of the report holds no images.

        Raises ClassMappingError, or UsageError if no image has a label.
        """
        found = self._server.get(f"{_place(gallery)}/evaluation", prototypes=prototypes)
        return _made(records.report_of, found)

    def duplicates(self, gallery: str, *, near: float = DUPLICATE_SCORE) -> tuple[DuplicateGroup, ...]:
        """All groups of images that are there more than once, as ``zsretrieve.find_duplicates`` finds them."""
        groups: list[DuplicateGroup] = []
        offset: int | None = 0
        revision: str | None = None
        while offset is not None:
            content = self._server.get(
                f"{_place(gallery)}/duplicates", near=near, offset=offset, k=_PAGE, revision=revision
            )
            more, offset, revision = _made(
                lambda page: (tuple(map(records.group_of, page["groups"])), page["next"], page["revision"]), content
            )
            groups += more
        return tuple(groups)

    def add(self, gallery: str, source: str, *, on_stage: OnStage | None = None) -> Changes:
        """Add the new and changed images of a folder of the server's machine, and wait until that is done.

        ``source`` is its absolute path; ``on_stage`` is called with (name of the stage, steps done, steps in all).
        Raises UsageError if the server is read-only or the path is not absolute, ServerError if the job fails.
        """
        return self._job(self._server.post(f"{_place(gallery)}/add", {"source": source}), on_stage)

    def sync(self, gallery: str, *, on_stage: OnStage | None = None) -> Changes:
        """Bring a gallery up to date with its sources, and wait for it. Parameters and errors as ``add``."""
        return self._job(self._server.post(f"{_place(gallery)}/sync", {}), on_stage)

    def _job(self, started: Mapping[str, Any], on_stage: OnStage | None) -> Changes:
        last: Mapping[str, Any] = {}
        for last in self._server.events(f"jobs/{_made(itemgetter('job'), started)}/events"):
            stage, done, total = _made(itemgetter("stage", "done", "total"), last)
            if on_stage is not None and stage:
                on_stage(stage, done, total)
        if last.get("state") != "done":
            reason = last.get("message") or "the server ended before it was done"
            raise ServerError(f"the job failed: {reason}", hint="The server's log may say more; then begin it again.")
        return _made(lambda event: records.changes_of(event["changes"]), last)

    def _upload(self, data: bytes) -> str:
        return _made(lambda content: str(content["upload"]), self._server.post("uploads", data))


def _place(gallery: str) -> str:
    return f"galleries/{quote(gallery, safe='', errors='replace')}"


def _made(make: Callable[[Any], _Made], content: Any) -> _Made:
    """A record of what the server sent. Raises ServerError if that is something else."""
    try:
        return make(content)
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError(
            f"the answer is not what this version expects: {error}",
            hint="Use zsretrieve of the same version on both sides.",
        ) from error


def _opened(data: bytes) -> Image.Image:
    """An image of the server, decoded."""
    from zsretrieve.images.decoding import decode

    return decode(Content(data, 0), Reading()).image
