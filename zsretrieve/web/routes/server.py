"""The server itself: whether it is well, and its figures."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from zsretrieve.system.version import tool_version
from zsretrieve.web.answers import reply, service_of
from zsretrieve.web.bodies import HealthAnswer
from zsretrieve.web.reference import page

router = APIRouter(tags=["server"])


@router.get("/api/v1/health", response_model=HealthAnswer)
async def health() -> Response:
    """Whether the server answers; without a token."""
    return reply({"status": "ok", "version": tool_version()})


@router.get("/api/v1/reference", response_class=HTMLResponse, include_in_schema=False)
async def reference(request: Request) -> Response:
    """The OpenAPI document as a page."""
    return HTMLResponse(page(request.app.openapi()))


@router.get("/metrics", response_class=Response, include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    service = service_of(request)
    for name, served in service.shelf.galleries.items():
        service.metrics.images(name, len(served.current.gallery.items))
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
