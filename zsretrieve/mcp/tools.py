"""What assistants may do; nothing changes a gallery. Answers are those of the API."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeAlias

from mcp.server.mcpserver import Image
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from zsretrieve.domain.errors import UsageError, ZsRetrieveError
from zsretrieve.web.analysis_bodies import ClassifyBody
from zsretrieve.web.bodies import Id, SearchBody, Text
from zsretrieve.web.service import Service

_MOST_CLASSES, _MOST_IDS, _MOST_LISTED = 50, 10, 100

Tool: TypeAlias = Callable[..., Awaitable[Any]]

GalleryName = Annotated[str | None, Field(description="A gallery's name; may be left out if there is only one.")]
PrototypesName = Annotated[str | None, Field(description="The name of prototypes, as describe lists them.")]
Where = Annotated[
    str | None,
    Field(
        max_length=10_000,
        description="Only images that match this SQL condition over id, path, folder, name, label, width, height, "
        "bytes, mtime and digest, such as: width > 1000 and label like 'cat%'.",
    ),
]
Query = Annotated[
    Text | None,
    Field(
        description="A description of the images, such as: a dog on a beach. Terms can be joined, weighted and "
        "subtracted: a red circle + 0.5:a star - blue; id:42 is an image. Without a query, all images in the order of "
        "their IDs."
    ),
]
Ids = Annotated[list[Id], Field(max_length=200)]


def _reported(tool: Tool) -> Tool:
    """A tool whose errors the assistant reads, with what to do next."""

    @functools.wraps(tool)
    async def run(**arguments: Any) -> Any:
        try:
            return await tool(**arguments)
        except ZsRetrieveError as error:
            raise ToolError(error.message + (f"\nhint: {error.hint}" if error.hint else "")) from error

    return run


class Tools:
    """The tools over the galleries of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def all(self) -> tuple[Tool, ...]:
        """Every tool."""
        tools: tuple[Tool, ...] = (self.search, self.classify, self.describe, self.open_images)
        return tuple(map(_reported, tools))

    async def search(
        self,
        query: Query = None,
        gallery: GalleryName = None,
        k: Annotated[int, Field(ge=1, le=100, description="How many images.")] = 10,
        offset: Annotated[int, Field(ge=0, lt=2**31, description="How many of the best to leave out.")] = 0,
        where: Where = None,
        more: Annotated[Ids, Field(description="IDs of images that the hits should be like.")] = [],  # noqa: B006
        less: Annotated[Ids, Field(description="IDs of images that the hits should be unlike.")] = [],  # noqa: B006
        minus: Annotated[list[Text], Field(max_length=32, description="What the hits should not show.")] = [],  # noqa: B006
        dedup: Annotated[bool, Field(description="Leave out images that show the same as an earlier hit.")] = False,
        order: Annotated[
            Literal["score", "date"], Field(description="The best first, or of those that matter the newest.")
        ] = "score",
        literal: Annotated[bool, Field(description="Treat + and - in the query as text.")] = False,
        exact: Annotated[bool, Field(description="Compare every image, also where the index is approximate.")] = False,
        recall: Annotated[
            float | None, Field(gt=0, le=1, description="The share of the best to find, where the index is tuned.")
        ] = None,
        whole: Annotated[bool, Field(description="Compare whole images alone, not their regions.")] = False,
    ) -> dict[str, Any]:
        """Search a gallery of images or texts by words. A score is the cosine similarity with the query, which only
        compares the hits of one query. If exact is false, the index may have missed a few images; expected says which
        share it finds, if that was measured. If matching.nothing is true, nothing seems to match, however the hits are
        ordered. A hit's box, if any, is the region that fits, in shares of width and height. Look at hits with
        open_images.
        """
        body = SearchBody(
            query=query, k=k, offset=offset, where=where, more=more, less=less, minus=minus, dedup=dedup, order=order,
            literal=literal, exact=exact, recall=recall, whole=whole,
        )  # fmt: skip
        return await self._service.search(self._named(gallery), body)

    async def classify(
        self,
        labels: Annotated[
            list[Text] | None, Field(min_length=1, max_length=1000, description="Names of classes, in plain words.")
        ] = None,
        gallery: GalleryName = None,
        prototypes: PrototypesName = None,
        where: Where = None,
        ids: Annotated[
            Ids | None, Field(description="Classify these images alone, each with its best classes.")
        ] = None,
    ) -> dict[str, Any]:
        """Count how many images of a gallery are nearest to each class, for classes that are named freely (labels) or
        that prototypes have. Every image counts for its nearest class, also if none fits. Classes come with the most
        frequent first, at most 50, each with the IDs of the images that it fits best. If there are notes, say what they
        say: where the model cannot distinguish classes, their counts mean nothing.
        """
        body = ClassifyBody(labels=labels, prototypes=prototypes, where=where, ids=ids)
        answer = await self._service.classify(self._named(gallery), body)
        classes = [{**one, "ids": one["ids"][:_MOST_IDS]} for one in answer["classes"][:_MOST_CLASSES]]
        return {**answer, "classes": classes}

    async def describe(
        self,
        gallery: Annotated[str | None, Field(description="A gallery: its labels, folders and dates.")] = None,
        id: Annotated[Id | None, Field(description="An image of it: its file and the images that are like it.")] = None,  # noqa: A002
        prototypes: PrototypesName = None,
    ) -> dict[str, Any]:
        """Describe all galleries and prototypes there are, one gallery, or one image; with prototypes also the image's
        nearest classes.
        """
        if id is not None:
            return await self._service.item(self._named(gallery), id, prototypes)
        if prototypes is not None:
            raise UsageError("prototypes describe an image", hint="Give its id as well.")
        if gallery is None:
            return await self._service.galleries()
        record = await self._service.gallery(gallery)
        return {**record, **{name: record[name][:_MOST_LISTED] for name in ("labels", "folders")}}

    async def open_images(
        self,
        ids: Annotated[list[Id], Field(min_length=1, max_length=8, description="IDs of images.")],
        gallery: GalleryName = None,
        size: Annotated[Literal[128, 256, 512], Field(description="Pixels of the longer side, at most.")] = 512,
    ) -> list[Image | str]:
        """Look at images of a gallery, each after a line with its ID and path; of texts, the line is the text."""
        service = self._service
        revision = service.shelf.gallery(self._named(gallery)).current
        items = [revision.item(number) for number in ids]
        shown: list[Image | str] = []
        for item in items:
            if item.text is not None:
                shown.append(f"{item.id}: {item.text}")
                continue
            try:
                data = await service.drawing.run(service.pictures.base64_jpeg, revision.gallery, item, size)
            except ZsRetrieveError as error:
                if len(items) == 1:
                    raise
                shown.append(f"{item.id}: {item.path}: {error.message}")
            else:
                shown += [f"{item.id}: {item.path}", Image(data=data, format="jpeg")]
        return shown

    def _named(self, gallery: str | None) -> str:
        """The gallery that is meant. Raises UsageError if there are several, and none is named."""
        names = list(self._service.shelf.galleries)
        if gallery is None and len(names) > 1:
            raise UsageError("there are several galleries", hint=f"Name one of them: {', '.join(names)}.")
        return names[0] if gallery is None else gallery
