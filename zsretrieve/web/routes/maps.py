"""The map of a gallery."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from zsretrieve.web import maps
from zsretrieve.web.analysis_bodies import MapAnswer
from zsretrieve.web.answers import ERRORS, reply, service_of, unchanged
from zsretrieve.web.routes.galleries import Name

router = APIRouter(prefix="/api/v1/galleries/{gallery}/map", responses=ERRORS, tags=["map"])
_NUMBERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Little-endian numbers, for each image of the map",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "The client has it already"},
}


@router.get("", responses=_NUMBERS, response_class=Response)
async def places(request: Request, gallery: Name) -> Response:
    """Where each image of the map is: x and y as float32 in the unit square, y upwards."""
    return await _numbers(request, gallery, "xy")


@router.get("/about", response_model=MapAnswer)
async def about(request: Request, gallery: Name) -> Response:
    """How many images are on the map and how many are not, how it was made, and where each label is to be written."""
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current
    made = await service.working.run(maps.map_of, revision, service.memo)
    return reply({**made.about, "revision": revision.key})


@router.get("/{part}", responses=_NUMBERS, response_class=Response)
async def parts(
    request: Request,
    gallery: Name,
    part: Annotated[Literal["ids", "labels"], Path(description="int64 IDs, or int32 places in the list of captions")],
) -> Response:
    """The images of the map, in the order of their places: their IDs, or which captions are theirs (-1: none)."""
    return await _numbers(request, gallery, part)


async def _numbers(request: Request, gallery: str, part: Literal["xy", "ids", "labels"]) -> Response:
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current
    etag = maps.etag_of(revision)
    headers = {"X-Revision": revision.key}
    known = None if etag is None else unchanged(request, etag)
    if known is not None:
        known.headers.update({**headers, "Cache-Control": "private, no-cache"})
        return known
    made = await service.working.run(maps.map_of, revision, service.memo)
    # Kept by browsers, and looked at again each time: the ETag changes with the gallery and with the map.
    headers |= {"ETag": f'"{made.etag}"', "Cache-Control": "private, no-cache"}
    return Response(getattr(made, part), 200, headers, "application/octet-stream")
