"""What changes a gallery or is kept with it; needs ``--write``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as InPath
from starlette.responses import Response, StreamingResponse

from zsretrieve.api.gallery import add as add_images
from zsretrieve.api.gallery import sync as sync_images
from zsretrieve.api.prototypes import build_image_prototypes
from zsretrieve.api.searches import delete_search, save_search, saved_searches
from zsretrieve.api.selecting import label_images
from zsretrieve.api.selecting import subset as make_subset
from zsretrieve.domain.errors import QueryError
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.queries import ItemId, Term
from zsretrieve.domain.records import Changes
from zsretrieve.domain.settings import Reading
from zsretrieve.images import opening
from zsretrieve.images.addresses import HUB
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.named import PREFIX, folder_of
from zsretrieve.store.searches import SavedSearch
from zsretrieve.web.analysis_bodies import (
    AddBody,
    CountAnswer,
    JobAnswer,
    JobStartedAnswer,
    LabelBody,
    NameAnswer,
    PrototypesBody,
    SavedAnswer,
    SavedBody,
    SavedListAnswer,
    SubsetBody,
)
from zsretrieve.web.answers import ERRORS, reply, service_of
from zsretrieve.web.bodies import MOST_HITS, SearchBody
from zsretrieve.web.errors import HttpError, missing
from zsretrieve.web.galleries import ServedGallery
from zsretrieve.web.routes.galleries import Name
from zsretrieve.web.searching import question_of, wanted_of
from zsretrieve.web.service import Service

router = APIRouter(prefix="/api/v1", responses=ERRORS, tags=["changes"])
SearchName = Annotated[str, InPath(min_length=1, max_length=100)]
JobName = Annotated[str, InPath(max_length=32)]
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "A record for each step", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


def _writable(service: Service) -> None:
    if not service.settings.write:
        raise HttpError(403, "the server is read-only", hint="Its operator allows changes with --write.")


@router.get("/galleries/{gallery}/searches", response_model=SavedListAnswer)
async def searches(request: Request, gallery: Name) -> Response:
    """The saved searches of a gallery, by name."""
    service = service_of(request)
    return reply(await service.reading.run(_saved, service.shelf.gallery(gallery)))


def _saved(served: ServedGallery) -> dict[str, Any]:
    found = saved_searches(served.folder)
    # What the command line saved with images from elsewhere, only that can run.
    return {"searches": [saved for one in found if (saved := _saved_dict(one, served.current.gallery)) is not None]}


@router.post("/galleries/{gallery}/searches", response_model=SavedAnswer)
async def save(request: Request, gallery: Name, body: SavedBody) -> Response:
    """Keep a search with the gallery, in place of one of the same name."""
    service = service_of(request)
    served = service.shelf.gallery(gallery)
    _writable(service)
    return reply(await service.reading.run(_save, service, served, body))


def _save(service: Service, served: ServedGallery, body: SavedBody) -> dict[str, Any] | None:
    if any(term.upload is not None or term.image is not None for term in body.search.terms):
        raise HttpError(400, "an image that was sent cannot be part of a saved search", hint="Use one of the gallery.")
    question = question_of(body.search, service.uploads, _not_fetched, exif=True)
    kept = save_search(served.folder, body.name, question.terms, wanted_of(body.search))
    return _saved_dict(kept, served.current.gallery)


def _not_fetched(_url: str) -> bytes:
    raise HttpError(400, "an image at a URL cannot be part of a saved search", hint="Use one of the gallery.")


# A name may hold slashes, which a client escapes and the server unescapes before it looks for the route.
@router.delete("/galleries/{gallery}/searches/{name:path}", response_model=SavedListAnswer)
async def forget(request: Request, gallery: Name, name: SearchName) -> Response:
    """Forget a saved search; the others."""
    service = service_of(request)
    served = service.shelf.gallery(gallery)
    _writable(service)
    try:
        await service.reading.run(delete_search, served.folder, name)
    except QueryError as error:
        raise missing(error.message, "GET lists the saved searches.") from error
    return reply(await service.reading.run(_saved, served))


def _saved_dict(saved: SavedSearch, gallery: Gallery) -> dict[str, Any] | None:
    """A saved search as the body of a search; None if that cannot say it."""
    usual = SearchBody().model_dump()
    wanted = saved.wanted
    terms = [_term_dict(term, gallery) for term in saved.query.terms]
    if None in terms:
        return None
    body = {
        "terms": terms,
        "minus": list(wanted.minus), "more": list(wanted.more), "less": list(wanted.less),
        "k": min(wanted.k, MOST_HITS), "where": wanted.where, "dedup": wanted.dedup, "near": wanted.near,
        "min_score": wanted.min_score, "order": wanted.order.value, "literal": wanted.literal,
    }  # fmt: skip
    return {"name": saved.name, "search": {key: value for key, value in body.items() if value != usual[key]}}


def _term_dict(term: Term, gallery: Gallery) -> dict[str, Any] | None:
    """A term of a body; None for an image that is not of the gallery, whose path is nobody's business."""
    value: dict[str, Any]
    if isinstance(term.value, ItemId):
        value = {"id": term.value.id}
    elif term.path is None:
        value = {"text": term.label}
    else:
        rows = gallery.rows_by_real_path.get(opening.canonical(term.path), [])
        if not rows:
            return None
        value = {"id": gallery.items[rows[0]].id}
    box = {} if term.box is None else {"box": list(term.box)}
    return {**value, "weight": term.weight, **box}


@router.post("/galleries/{gallery}/add", response_model=JobStartedAnswer, status_code=202)
async def add(request: Request, gallery: Name, body: AddBody) -> Response:
    """Add the new and changed images of a folder, in the background."""
    service = service_of(request)
    served = service.shelf.gallery(gallery)
    _writable(service)
    source = body.source
    if not os.path.isabs(source) or opening.is_url(source) or source.startswith(HUB) or "\0" in source:
        raise HttpError(400, "the source is not an absolute path", hint="URLs and lists are added on the command line.")

    def work(on_stage: OnStage) -> Changes:
        reading = Reading(max_pixels=service.settings.limits.image_pixels)
        return add_images(served.folder, source, service.model, reading=reading, on_stage=on_stage)

    return await _started(service, served, work)


@router.post("/galleries/{gallery}/sync", response_model=JobStartedAnswer, status_code=202)
async def sync(request: Request, gallery: Name) -> Response:
    """Bring the gallery up to date with its sources, in the background."""
    service = service_of(request)
    served = service.shelf.gallery(gallery)
    _writable(service)

    def work(on_stage: OnStage) -> Changes:
        reading = Reading(max_pixels=service.settings.limits.image_pixels)
        return sync_images(served.folder, service.model, reading=reading, on_stage=on_stage)

    return await _started(service, served, work)


@router.post("/galleries/{gallery}/labels", response_model=CountAnswer)
async def label(request: Request, gallery: Name, body: LabelBody) -> Response:
    """Give some images a label."""
    service = service_of(request)
    served = service.shelf.gallery(gallery)
    _writable(service)

    def work() -> dict[str, Any]:
        changes = label_images(served.folder, dict.fromkeys(body.ids, body.label))
        served.refresh()
        return {"changed": changes.changed}

    return reply(await service.working.run(work))


@router.post("/galleries/{gallery}/subset", response_model=NameAnswer)
async def subset(request: Request, gallery: Name, body: SubsetBody) -> Response:
    """Make a gallery of some images, and serve it."""
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current
    _writable(service)

    def work() -> dict[str, Any]:
        out = f"{PREFIX}{body.name}"
        make_subset(revision.gallery, body.ids, out)
        return {"name": service.shelf.add_gallery(folder_of(out)).name}

    return reply(await service.working.run(work))


@router.post("/galleries/{gallery}/prototypes", response_model=NameAnswer)
async def prototypes(request: Request, gallery: Name, body: PrototypesBody) -> Response:
    """Make prototypes of images, the mean of those of each class, and serve them."""
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current
    _writable(service)

    def work() -> dict[str, Any]:
        out, labels = f"{PREFIX}{body.name}", _label_of(body.classes)
        for number in labels:
            revision.row_of(number)
        items = tuple(replace(item, label=labels.get(item.id)) for item in revision.gallery.items)
        build_image_prototypes(out, replace(revision.gallery, items=items))
        return {"name": service.shelf.add_prototypes(folder_of(out)).name}

    return reply(await service.working.run(work))


def _label_of(classes: Mapping[str, Sequence[int]]) -> dict[int, str]:
    labels: dict[int, str] = {}
    for name, ids in classes.items():
        for number in ids:
            if labels.setdefault(number, name) != name:
                raise HttpError(400, f"the image {number} is in two classes", hint="Leave it out of one of them.")
    return labels


async def _started(service: Service, served: ServedGallery, work: Callable[[OnStage], Changes]) -> Response:
    def then_open(on_stage: OnStage) -> Changes:
        done = work(on_stage)
        served.refresh()
        return done

    job = await service.jobs.start(then_open)
    return reply({"job": job.name}, 202)


@router.get("/jobs/{job}", response_model=JobAnswer)
async def job(request: Request, job: JobName) -> Response:
    """How far a job is."""
    return reply(service_of(request).jobs.job(job).record)


@router.get("/jobs/{job}/events", response_class=StreamingResponse, responses=_EVENTS)
async def events(request: Request, job: JobName) -> Response:
    """Every step of a job as server-sent events, until it is over."""
    jobs = service_of(request).jobs
    return StreamingResponse(
        jobs.events(jobs.job(job)), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )
