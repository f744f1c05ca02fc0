"""Galleries and their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from zsretrieve.web import items
from zsretrieve.web.analysis_bodies import NamedItemsAnswer, NamedItemsBody
from zsretrieve.web.answers import ERRORS, picture_reply, reply, service_of, unchanged
from zsretrieve.web.bodies import (
    GalleriesAnswer,
    GalleryDetailAnswer,
    ItemDetailAnswer,
    SearchAnswer,
    SearchBody,
    Size,
)
from zsretrieve.web.galleries import Revision

router = APIRouter(prefix="/api/v1", responses=ERRORS, tags=["galleries"])
Name = Annotated[str, InPath(max_length=255, description="The name of a gallery, see GET /galleries")]
ItemNumber = Annotated[int, InPath(ge=0, lt=2**63)]
Image: dict[int | str, dict[str, Any]] = {
    200: {"description": "The image", "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "The client has it already"},
}


@router.get("/galleries", response_model=GalleriesAnswer)
async def galleries(request: Request) -> Response:
    """All galleries and prototypes."""
    return reply(await service_of(request).galleries())


@router.get("/galleries/{gallery}", response_model=GalleryDetailAnswer)
async def gallery(request: Request, gallery: Name) -> Response:
    """One gallery, with its most frequent labels and folders."""
    return reply(await service_of(request).gallery(gallery))


@router.get("/galleries/{gallery}/items", response_model=SearchAnswer)
async def browse(
    request: Request,
    gallery: Name,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    k: Annotated[int, Query(ge=1, le=1000)] = 50,
    order: Literal["score", "date"] = "score",
    where: Annotated[str | None, Query(max_length=10_000)] = None,
    revision: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """All images in the order of their IDs, or the newest files first."""
    body = SearchBody(offset=offset, k=k, order=order, where=where, revision=revision)
    return reply(await service_of(request).search(gallery, body))


@router.post("/galleries/{gallery}/items", response_model=NamedItemsAnswer)
async def named_items(request: Request, gallery: Name, body: NamedItemsBody) -> Response:
    """Some images by their IDs; those that are not there any more are left out."""
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current
    return reply(await service.reading.run(_named, revision, body.ids, is_local=service.settings.is_local))


def _named(revision: Revision, ids: Sequence[int], *, is_local: bool) -> dict[str, Any]:
    gallery = revision.gallery
    rows = [row for row in map(gallery.row_of, ids) if row is not None]
    return {"hits": [items.item_dict(gallery, gallery.items[row], is_local=is_local) for row in rows]}


@router.get("/galleries/{gallery}/items/{id}", response_model=ItemDetailAnswer)
async def item(
    request: Request,
    gallery: Name,
    id: ItemNumber,  # noqa: A002  (its name in the address)
    prototypes: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """One image with its nearest classes, if prototypes are named, and its neighbours."""
    return reply(await service_of(request).item(gallery, id, prototypes))


@router.get("/galleries/{gallery}/items/{id}/image", responses=Image, response_class=Response)
async def image(request: Request, gallery: Name, id: ItemNumber) -> Response:  # noqa: A002
    """The image itself: as its file is where browsers show such files, else as a JPEG."""
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current
    found = await service.drawing.run(service.pictures.whole, revision.gallery, revision.item(id))
    return picture_reply(request, found)


@router.get("/galleries/{gallery}/items/{id}/thumbnail", responses=Image, response_class=Response)
async def thumbnail(request: Request, gallery: Name, id: ItemNumber, size: Size = 256) -> Response:  # noqa: A002
    """The image, at most ``size`` pixels wide and high."""
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current
    one = revision.item(id)
    known = unchanged(request, service.pictures.etag(one, size))
    if known is not None:
        return known
    return picture_reply(request, await service.drawing.run(service.pictures.thumbnail, revision.gallery, one, size))
