"""The protocol of clip-retrieval's service, so that its client and its front end work unchanged.

Bodies are JSON whatever content type they have: its client sends none, its front end ``text/plain``.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from zsretrieve.api.hits import Hits
from zsretrieve.domain.errors import MissingRowsError, ZsRetrieveError
from zsretrieve.domain.queries import Term
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.domain.wanted import Wanted
from zsretrieve.images import opening
from zsretrieve.web.answers import reply, service_of
from zsretrieve.web.errors import HttpError, as_http
from zsretrieve.web.galleries import Revision
from zsretrieve.web.items import shown
from zsretrieve.web.searching import Key, Question
from zsretrieve.web.service import Service

router = APIRouter(include_in_schema=False)

_MOST_HITS, _MOST_IMAGES = 10_000, 1000
_ALIKE = 0.94
_BLOCK = 512
_SHOWN_SIZE = 512
_OWN = re.compile(r"/api/v1/galleries/([^/]+)/items/(\d{1,18})/(?:image|thumbnail)")
_Answer = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True)
class _Asked:
    """The body of ``/knn-service``, as far as it has a meaning here."""

    text: str | None
    image: str | None
    image_url: str | None
    embedding: list[float] | None
    index: str | None
    images: int
    ids: int
    deduplicate: bool

    @classmethod
    def of(cls, body: dict[str, Any]) -> _Asked:
        """Raises HttpError (400)."""
        if body.get("modality", "image") != "image":
            raise HttpError(400, "there are no captions to search, only images")
        images = _number(body, "num_images", 100)
        embedding = body.get("embedding_input")
        if embedding is not None and not (
            isinstance(embedding, list) and embedding and all(map(_is_finite, embedding))
        ):
            raise HttpError(400, "embedding_input is not a list of numbers")
        return cls(
            _text(body, "text") or None, _text(body, "image"), _text(body, "image_url"), embedding,
            _text(body, "indice_name"), images, _number(body, "num_result_ids", images), bool(body.get("deduplicate")),
        )  # fmt: skip


def _endpoint(path: str, methods: list[str]) -> Callable[[_Answer], _Answer]:
    """An address of the protocol, with one slash or the two that a front end makes of a trailing one."""

    def added(answer: _Answer) -> _Answer:
        @wraps(answer)
        async def answered(request: Request) -> Response:
            try:
                return reply(await answer(request))
            except ZsRetrieveError as error:
                refused = as_http(error)
                message = refused.message if refused.hint is None else f"{refused.message}. {refused.hint}"
                return reply({"message": message}, refused.status, refused.headers)

        answered.__annotations__ = {"request": Request, "return": Response}
        for place in (path, f"/{path}"):
            router.add_api_route(place, answered, methods=methods, response_model=None)
        return answer

    return added


@_endpoint("/indices-list", ["GET"])
async def indices_list(request: Request) -> Any:
    return list(service_of(request).shelf.galleries)


@_endpoint("/config.json", ["GET"])
async def config(request: Request) -> Any:
    return {"defaultBackend": _origin(request), "defaultIndex": "", "urlColumn": "url"}


@_endpoint("/metadata", ["POST"])
async def metadata(request: Request) -> Any:
    body = await _body(request)
    ids = body.get("ids")
    if not isinstance(ids, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in ids):
        raise HttpError(400, "ids is not a list of numbers")
    if len(ids) > _MOST_IMAGES:
        raise HttpError(400, f"at most {_MOST_IMAGES} ids are answered at once")
    service = service_of(request)
    revision = _revision(service, _text(body, "indice_name"))
    return await service.drawing.run(_metadata, service, revision, ids, _origin(request))


@_endpoint("/knn-service", ["POST"])
async def knn_service(request: Request) -> Any:
    service, origin = service_of(request), _origin(request)
    asked = _Asked.of(await _body(request))
    revision = _revision(service, asked.index)
    value, scale = await service.drawing.run(_query, service, revision, asked, origin)
    wanted = Wanted(k=max(1, min(asked.ids, _MOST_HITS)), literal=True)
    if not len(revision.gallery.items):
        return []
    hits = await service.batches.ask(Key(revision, wanted), (Question((Term(value),), (), is_plain=True), None))
    if hits.n_missing:
        raise as_http(MissingRowsError(f"{hits.n_missing:,} images cannot be compared, which this protocol cannot say"))
    return await service.drawing.run(_results, service, revision, hits, asked, origin, scale)


def _metadata(service: Service, revision: Revision, ids: list[int], origin: str) -> list[dict[str, Any]]:
    return [{"id": one, "metadata": _described(service, revision, one, origin)} for one in ids]


def _query(service: Service, revision: Revision, asked: _Asked, origin: str) -> tuple[Any, float]:
    """What to search with, and what similarities are multiplied by: a vector that is given need not be of length 1."""
    exif = revision.gallery.manifest.encoding.exif
    if asked.text is not None:
        return asked.text.strip() or asked.text, 1.0
    if asked.image is not None:
        return service.uploads.from_base64(asked.image, exif=exif), 1.0
    if asked.image_url is not None:
        own = _own_vector(revision, asked.image_url, origin)
        return (
            service.uploads.from_bytes(service.fetcher.fetch(asked.image_url), exif=exif) if own is None else own
        ), 1.0
    if asked.embedding is None:
        raise HttpError(400, "one of text, image, image_url and embedding_input must be given")
    vector = np.array(asked.embedding, dtype=np.float32)
    return vector, float(np.linalg.norm(vector.astype(np.float64)))


def _own_vector(revision: Revision, url: str, origin: str) -> Vectors | None:
    """The vector of an image that this server itself has behind a URL; None for other URLs."""
    parts = urlsplit(url)
    found = _OWN.fullmatch(parts.path)
    if f"{parts.scheme}://{parts.netloc}" != origin or found is None:
        return None
    if unquote(found[1]) != revision.name:
        raise HttpError(400, "the image is of another gallery")
    vector: Vectors = revision.gallery.index.stored(np.array(revision.row_of(int(found[2]))))
    return vector


def _results(
    service: Service, revision: Revision, hits: Hits, asked: _Asked, origin: str, scale: float
) -> list[dict[str, Any]]:
    kept = list(hits)
    if asked.deduplicate:
        rows = np.array([revision.row_of(hit.id) for hit in hits], dtype=np.int64)
        kept = [hits[place] for place in _first_of_each(revision, rows)]
    results = []
    for place, hit in enumerate(kept):
        described = _described(service, revision, hit.id, origin) if place < asked.images else {}
        results.append({**described, "id": hit.id, "similarity": round((hit.score or 0.0) * scale, 7)})
    return results


def _first_of_each(revision: Revision, rows: Rows) -> list[int]:
    """The places of the best of each group: images belong together if a chain of near-duplicates connects them."""
    vectors = revision.gallery.index.stored(rows).astype(np.float32)
    waiting = np.arange(len(rows))
    first = []
    while len(waiting):
        first.append(int(waiting[0]))
        group, waiting = waiting[:1], waiting[1:]
        while len(group) and len(waiting):
            near = np.zeros(len(waiting), dtype=bool)
            for start in range(0, len(group), _BLOCK):
                block = vectors[group[start : start + _BLOCK]]
                near |= (vectors[waiting] @ block.T > np.float32(_ALIKE)).any(axis=1)
            group, waiting = waiting[near], waiting[~near]
    return first


def _described(service: Service, revision: Revision, number: int, origin: str) -> dict[str, Any]:
    """What is known of an image: where it is, a caption, and itself in base64 if it can be read."""
    gallery, item = revision.gallery, revision.item(number)
    address = gallery.path_of(item)
    known: dict[str, Any] = {"caption": shown(item.text or item.label or item.path.rpartition("/")[2])}
    if item.text is not None:
        return known | ({"url": item.image} if opening.is_url(item.image or "") else {})
    known["url"] = (
        address
        if opening.is_url(address) and service.settings.is_local
        else f"{origin}/api/v1/galleries/{quote(revision.name, safe='')}/items/{number}/image"
    )
    if service.settings.is_local:
        known["image_path"] = shown(address)
    try:
        jpeg = service.pictures.base64_jpeg(gallery, item, _SHOWN_SIZE)
        known["image"] = base64.b64encode(jpeg).decode("ascii")
    except ZsRetrieveError:  # it is described without
        pass
    return known


def _revision(service: Service, name: str | None) -> Revision:
    galleries = service.shelf.galleries
    return service.shelf.gallery(name or next(iter(galleries))).current


def _origin(request: Request) -> str:
    """What the client calls this server, without a slash at the end."""
    return f"http://{request.headers['host']}"


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise HttpError(400, "the request is not JSON") from error
    if not isinstance(body, dict):
        raise HttpError(400, "the request is not a JSON object")
    return body


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise HttpError(400, f"{name} is not a text")
    return value


def _number(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not _is_finite(value) or value < 0:
        raise HttpError(400, f"{name} is not a number of images")
    return int(value)


def _is_finite(value: Any) -> bool:
    """Whether JSON gave a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
