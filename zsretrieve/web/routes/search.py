"""Searching, and the images that are searched with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from zsretrieve.web.answers import ERRORS, picture_reply, reply, service_of
from zsretrieve.web.bodies import SearchAnswer, SearchBody, Size, UploadAnswer
from zsretrieve.web.errors import HttpError
from zsretrieve.web.pictures import Picture
from zsretrieve.web.routes.galleries import Image, Name
from zsretrieve.web.service import Service

router = APIRouter(prefix="/api/v1", responses=ERRORS, tags=["search"])
Numbers = Annotated[list[Annotated[int, Query(ge=0, lt=2**63)]], Query(max_length=200)]
UploadName = Annotated[str, InPath(max_length=64)]
_BYTES = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/galleries/{gallery}/search", response_model=SearchAnswer)
async def search(request: Request, gallery: Name, body: SearchBody) -> Response:
    """The images nearest to a query, best first."""
    return reply(await service_of(request).search(gallery, body))


@router.get("/galleries/{gallery}/search", response_model=SearchAnswer)
async def search_by_link(
    request: Request,
    gallery: Name,
    query: Annotated[str | None, Query(max_length=10_000)] = None,
    q: Annotated[str | None, Query(max_length=10_000, description="Short for query")] = None,
    k: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    where: Annotated[str | None, Query(max_length=10_000)] = None,
    dedup: bool = False,
    near: Annotated[float | None, Query(ge=0, le=1)] = None,
    min_score: Annotated[float | None, Query(ge=-1, le=1)] = None,
    order: Literal["score", "date"] = "score",
    literal: bool = False,
    explain: bool = False,
    exact: bool = False,
    recall: Annotated[float | None, Query(gt=0, le=1)] = None,
    whole: bool = False,
    more: Numbers = [],  # noqa: B006  (FastAPI copies it)
    less: Numbers = [],  # noqa: B006
    revision: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """As POST, with the query in the address."""
    if query is not None and q is not None:
        raise HttpError(400, "query and q both say what to search for", hint="Give one of them.")
    body = SearchBody(
        query=query if q is None else q, k=k, offset=offset, where=where, dedup=dedup, near=near,
        min_score=min_score, order=order, literal=literal, explain=explain, exact=exact, recall=recall,
        whole=whole, more=more, less=less, revision=revision,
    )  # fmt: skip
    return reply(await service_of(request).search(gallery, body))


@router.post("/uploads", response_model=UploadAnswer, openapi_extra=_BYTES)
async def upload(request: Request) -> Response:
    """Send an image file, of any content type, to search with."""
    service = service_of(request)
    data = await request.body()
    return reply(await service.drawing.run(_keep, service, data))


def _keep(service: Service, data: bytes) -> dict[str, Any]:
    name, width, height = service.uploads.keep(data)
    return {"upload": name, "width": width, "height": height}


@router.get("/uploads/{upload}/thumbnail", responses=Image, response_class=Response)
async def upload_thumbnail(request: Request, upload: UploadName, size: Size = 256) -> Response:
    """An image that was sent, at most ``size`` pixels wide and high."""
    service = service_of(request)
    return picture_reply(request, await service.drawing.run(_thumbnail, service, upload, size))


def _thumbnail(service: Service, upload: str, size: int) -> Picture:
    return service.pictures.thumbnail_of(service.uploads.content(upload), size)
