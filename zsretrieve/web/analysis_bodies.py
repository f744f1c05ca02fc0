"""As ``bodies``, for classification, evaluation, duplicates, saved searches and jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from zsretrieve.web.bodies import Body, Id, ItemAnswer, SearchBody, Text

Name = Annotated[str, Field(min_length=1, max_length=100)]
Ids = Annotated[list[Id], Field(max_length=100_000)]


class ClassifyBody(Body):
    """Classes, as ``labels`` or ``prototypes``; and images: ``ids``, the hits of ``search``, or the whole gallery."""

    labels: Annotated[list[Text], Field(min_length=1, max_length=10_000)] | None = None
    prototypes: Annotated[str, Field(max_length=255)] | None = None
    templates: Name | None = None
    where: Text | None = None
    ids: Ids | None = None
    search: SearchBody | None = None
    k: Annotated[int, Field(ge=1, le=100)] = 5
    listed: Annotated[int, Field(ge=0, le=100_000)] = 200


class ClassCountAnswer(BaseModel):
    """A class with the images it is best for: the first ``listed`` of them by probability."""

    class_name: str
    n: int
    share: float
    ids: list[int]


class PredictionAnswer(BaseModel):
    """One of the best classes of an image."""

    id: int
    path: str
    label: str | None
    rank: int
    class_id: int
    class_name: str
    score: float
    probability: float


class ClassifyAnswer(BaseModel):
    """``predictions`` are those of ``ids``, if they were given; classes come with the most frequent first.

    ``notes`` say what is wrong with the classes, such as that the model cannot distinguish some of them.
    """

    classes: list[ClassCountAnswer]
    predictions: list[PredictionAnswer]
    n: int
    notes: list[str]


class DuplicateAnswer(ItemAnswer):
    """An image of a group; ``score`` is its similarity to the first, which is the one to keep.

    ``digest`` is the sha256 of its file.
    """

    score: float
    digest: str


class GroupAnswer(BaseModel):
    kind: str
    items: list[DuplicateAnswer]


class DuplicatesAnswer(BaseModel):
    groups: list[GroupAnswer]
    total: int
    offset: int
    next: int | None
    revision: str


class CellAnswer(BaseModel):
    """The images of one class that were classified as another, or as the same."""

    hits: list[ItemAnswer]
    total: int
    offset: int
    next: int | None
    revision: str


class CaptionAnswer(BaseModel):
    """A label at the median of its images."""

    label: str
    x: float
    y: float
    n: int


class MapAnswer(BaseModel):
    """``missing`` images of the gallery are not on its map; captions come with the most frequent first."""

    n: int
    missing: int
    method: str
    captions: list[CaptionAnswer]
    revision: str


class NamedItemsBody(Body):
    ids: Annotated[list[Id], Field(max_length=1000)]


class NamedItemsAnswer(BaseModel):
    """The images that there are of those asked for, in the same order."""

    hits: list[ItemAnswer]


class ExportBody(Body):
    """Images and the form of their list; ``label`` takes the place of their own labels in files of labelling tools."""

    ids: Ids
    form: Literal["paths", "csv", "coco", "label-studio", "label-studio-setup"] = "paths"
    label: Annotated[str, Field(min_length=1, max_length=1000)] | None = None


class SavedBody(Body):
    name: Name
    search: SearchBody


class SavedAnswer(BaseModel):
    """A saved search, to be sent to ``/search`` again."""

    name: str
    search: dict[str, Any]


class SavedListAnswer(BaseModel):
    searches: list[SavedAnswer]


class AddBody(Body):
    """A folder or an image of the server's machine, by its absolute path."""

    source: Annotated[str, Field(min_length=1, max_length=4096)]


class LabelBody(Body):
    """A label for some images; null removes theirs."""

    ids: Ids
    label: Annotated[str, Field(min_length=1, max_length=1000)] | None


IndexName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\\\x00-\x1f.@-][^/\\\x00-\x1f]*$")]


class SubsetBody(Body):
    """Some images, for a gallery of their own that is kept in the server's data folder."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=100_000)]
    name: IndexName


class PrototypesBody(Body):
    """Classes by the images that show them, for prototypes that are kept in the server's data folder."""

    name: IndexName
    classes: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=1000)], Ids], Field(min_length=1, max_length=10_000)
    ]


class CountAnswer(BaseModel):
    """How many images were changed."""

    changed: int


class NameAnswer(BaseModel):
    """The name under which something new is served."""

    name: str


class JobStartedAnswer(BaseModel):
    job: str


class ChangesAnswer(BaseModel):
    """What was done to a gallery, in images."""

    added: int
    changed: int
    moved: int
    removed: int
    unchanged: int
    missing: int
    encoded: int
    skipped: int


class JobAnswer(BaseModel):
    """How far a job is; ``message`` says what was done, or why it failed, and ``changes`` counts it."""

    job: str
    state: Literal["running", "done", "failed"]
    stage: str
    done: int
    total: int
    message: str
    changes: ChangesAnswer | None
