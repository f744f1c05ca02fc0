"""The application: the API, clip-retrieval's protocol and the page."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zsretrieve.domain.errors import ZsRetrieveError
from zsretrieve.system.version import tool_version
from zsretrieve.web import clip_retrieval
from zsretrieve.web.answers import error_reply, known_parameters
from zsretrieve.web.errors import HttpError, as_http, is_undeclared, unlike
from zsretrieve.web.page import PageFiles
from zsretrieve.web.routes import analysis, changes, galleries, maps, search, server
from zsretrieve.web.security import Bounds, Guard
from zsretrieve.web.service import Service


def create_app(service: Service) -> ASGIApp:
    """The whole server behind its guards, for uvicorn or another ASGI server."""
    app = FastAPI(
        title="zsretrieve",
        version=tool_version(),
        description="Image search and zero-shot classification as vector retrieval.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=_lifespan,
    )
    app.state.service = service
    for router in (galleries.router, search.router, analysis.router, maps.router, changes.router):
        app.include_router(router, dependencies=[Depends(known_parameters)])
    for router in (server.router, clip_retrieval.router):
        app.include_router(router)
    app.add_route("/{path:path}", PageFiles().answer)
    for kind in (ZsRetrieveError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _refused)
    return Guard(Bounds(_Counted(app, service), service.settings), service.settings)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    async with service.running():
        yield


class _Counted:
    """Counts requests and their seconds."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._metrics = service.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        # HEAD is answered as GET is, and the server leaves the body out.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(asked.get("route"), "path", None) or "other"
                self._metrics.request(scope["method"], route, message["status"], time.perf_counter() - started)
            await send(message)

        await self._app(asked, receive, counted)


async def _refused(_request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        problem = error.errors()[0]
        if is_undeclared(problem):
            hint = "Send it with the header Content-Type: application/json."
            return error_reply(HttpError(422, "the body is not declared as JSON", hint=hint))
        hint = "See /api/v1/reference for the form of requests."
        return error_reply(HttpError(422, unlike(problem), hint=hint))
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        if error.status_code == 404:
            return error_reply(HttpError(404, "there is nothing at this address", headers=headers))
        return error_reply(HttpError(error.status_code, str(error.detail).lower(), headers=headers))
    return error_reply(as_http(error))
