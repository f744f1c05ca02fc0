"""Answers as they are sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from zsretrieve.web.bodies import ErrorAnswer
from zsretrieve.web.errors import HttpError, body_of
from zsretrieve.web.pictures import Picture
from zsretrieve.web.service import Service

_STATUSES = {
    400: "Something in the request cannot be used",
    401: "No token, or a wrong one",
    403: "From another site, or the server is read-only",
    404: "There is no such gallery, image or prototypes",
    408: "The request took too long to arrive",
    409: "The gallery has changed since the search began",
    413: "The request is too large",
    415: "Not an image that can be read",
    422: "The request is not as described here",
    503: "The server is busy; see Retry-After",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _STATUSES.items()
}
_LASTING = "private, max-age=3600"


def service_of(request: Request) -> Service:
    """The service that an application serves."""
    service: Service = request.app.state.service
    return service


async def known_parameters(request: Request) -> None:
    """Refuse parameters that an address does not have, as bodies refuse keys. Raises HttpError (422)."""
    route: APIRoute = request.scope["route"]
    known = [parameter.alias for parameter in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            hint = f"Its parameters are {', '.join(known)}." if known else "It takes none."
            raise HttpError(422, f"{name[:100]}: this address has no such parameter", hint=hint)


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON, in ASCII: a text of a client may hold what UTF-8 cannot."""
    data = json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
    return Response(data, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def error_reply(error: HttpError) -> Response:
    """The answer for an error."""
    return reply(body_of(error), error.status, error.headers)


def unchanged(request: Request, etag: str, cache_control: str = _LASTING) -> Response | None:
    """304 if the client has what ``etag`` names."""
    known = request.headers.get("if-none-match", "")
    if f'"{etag}"' not in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return None
    return Response(status_code=304, headers={"ETag": f'"{etag}"', "Cache-Control": cache_control})


def picture_reply(request: Request, picture: Picture) -> Response:
    """An image, to be kept by the browser."""
    found = unchanged(request, picture.etag) if picture.is_lasting else None
    if found is not None:
        return found
    headers = {
        "ETag": f'"{picture.etag}"',
        "Cache-Control": _LASTING if picture.is_lasting else "no-cache",
        "Content-Disposition": "inline",
    }
    if picture.path is not None:
        return FileResponse(picture.path, headers=headers, media_type=picture.media_type)
    return Response(picture.content, 200, headers, picture.media_type)
