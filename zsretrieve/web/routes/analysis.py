"""Classes, evaluations, duplicates and lists of images."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from zsretrieve.domain.settings import DUPLICATE_SCORE
from zsretrieve.web import analysis
from zsretrieve.web.analysis_bodies import CellAnswer, ClassifyAnswer, ClassifyBody, DuplicatesAnswer, ExportBody
from zsretrieve.web.answers import ERRORS, reply, service_of
from zsretrieve.web.galleries import Revision
from zsretrieve.web.items import item_dict
from zsretrieve.web.routes.galleries import Name

router = APIRouter(prefix="/api/v1/galleries/{gallery}", responses=ERRORS, tags=["analysis"])
Prototypes = Annotated[str, Query(max_length=255, description="The name of prototypes, see GET /galleries")]
Offset = Annotated[int, Query(ge=0, lt=2**31)]
Count = Annotated[int, Query(ge=1, le=1000)]
Shown = Annotated[str | None, Query(max_length=100, description="The revision of the page before this one")]
ClassName = Annotated[str, Query(max_length=10_000)]
# The media type of each form of a list, and the file's name.
_FILES = {
    "paths": ("text/plain", "images.txt"),
    "csv": ("text/csv", "images.csv"),
    "coco": ("application/json", "coco.json"),
    "label-studio": ("application/json", "tasks.json"),
    "label-studio-setup": ("application/xml", "config.xml"),
}
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The list", "content": {kind: {} for kind, _ in _FILES.values()}}
}


@router.post("/classify", response_model=ClassifyAnswer)
async def classify(request: Request, gallery: Name, body: ClassifyBody) -> Response:
    """How many images are nearest to each class, for classes that are named freely or that prototypes have."""
    return reply(await service_of(request).classify(gallery, body))


@router.get("/evaluation", response_model=dict[str, Any])
async def evaluation(request: Request, gallery: Name, prototypes: Prototypes) -> Response:
    """How well prototypes find the labels: all figures of a report, and the matrix of true and predicted classes."""
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current

    def work() -> dict[str, Any]:
        chosen = service.shelf.prototypes_for(prototypes, revision.gallery)
        return analysis.evaluation_dict(analysis.evaluated(revision, chosen, service.memo))

    return reply(await service.working.run(work))


@router.get("/evaluation/cell", response_model=CellAnswer)
async def cell(
    request: Request,
    gallery: Name,
    prototypes: Prototypes,
    true: ClassName,
    predicted: ClassName,
    offset: Offset = 0,
    k: Count = 50,
    revision: Shown = None,
) -> Response:
    """The images of one class that were classified as another."""
    service = service_of(request)
    shown = service.shelf.gallery(gallery).revision(revision)
    is_local = service.settings.is_local

    def work() -> dict[str, Any]:
        chosen = service.shelf.prototypes_for(prototypes, shown.gallery)
        rows = analysis.cell(shown, analysis.evaluated(shown, chosen, service.memo), true, predicted)
        items = [shown.gallery.items[row] for row in rows[offset : offset + k].tolist()]
        hits = [item_dict(shown.gallery, item, is_local=is_local) for item in items]
        return {"hits": hits, **_page(shown, len(rows), offset, k)}

    return reply(await service.working.run(work))


@router.get("/evaluation/compare", response_model=dict[str, Any])
async def compare(request: Request, gallery: Name, a: Prototypes, b: Prototypes) -> Response:
    """Whether prototypes ``b`` find the labels better than ``a``, and on which images they differ."""
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current
    is_local = service.settings.is_local

    def work() -> dict[str, Any]:
        first, second = (service.shelf.prototypes_for(name, revision.gallery) for name in (a, b))
        return analysis.compared(revision, first, second, service.memo, is_local=is_local)

    return reply(await service.working.run(work))


@router.get("/duplicates", response_model=DuplicatesAnswer)
async def duplicates(
    request: Request,
    gallery: Name,
    near: Annotated[float, Query(gt=0, le=1)] = DUPLICATE_SCORE,
    offset: Offset = 0,
    k: Annotated[int, Query(ge=1, le=200)] = 50,
    revision: Shown = None,
) -> Response:
    """Groups of images that are there more than once, the one to keep first."""
    service = service_of(request)
    shown = service.shelf.gallery(gallery).revision(revision)
    is_local = service.settings.is_local

    def work() -> dict[str, Any]:
        groups = analysis.duplicates(shown, near, service.memo) if len(shown.gallery.items) else ()
        page = [analysis.group_dict(shown, group, is_local=is_local) for group in groups[offset : offset + k]]
        return {"groups": page, **_page(shown, len(groups), offset, k)}

    return reply(await service.working.run(work))


@router.post("/export", response_class=Response, responses=_TEXT)
async def export(request: Request, gallery: Name, body: ExportBody) -> Response:
    """Some images as a list of paths or a table, or as annotations for labelling tools."""
    service = service_of(request)
    revision = service.shelf.gallery(gallery).current
    is_local = service.settings.is_local
    text = await service.reading.run(analysis.exported, revision, body.ids, body.form, body.label, is_local=is_local)
    kind, file = _FILES[body.form]
    headers = {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"}
    return Response(text.encode("utf-8", "backslashreplace"), 200, headers, f"{kind}; charset=utf-8")


def _page(shown: Revision, total: int, offset: int, k: int) -> dict[str, Any]:
    following = offset + k if offset + k < total else None
    return {"total": total, "offset": offset, "next": following, "revision": shown.key}
