"""What clients send and receive, as the OpenAPI document describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Text = Annotated[str, Field(max_length=10_000)]
Id = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
MOST_HITS = 1000
# An address holds text, which a literal number does not accept.
Size = Annotated[Literal[128, 256, 512], BeforeValidator(int)]


class Body(BaseModel):
    """A body in which a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class TermBody(Body):
    """One term of a query: exactly one of ``text``, ``id``, ``upload`` and ``image`` (a file in base64)."""

    text: Text | None = None
    id: Id | None = None
    upload: Annotated[str, Field(max_length=64)] | None = None
    image: str | None = None
    weight: Annotated[float, Field(ge=-1000, le=1000)] = 1.0
    box: Annotated[list[Share], Field(min_length=4, max_length=4)] | None = None


class SearchBody(Body):
    """A search. Without a query and feedback, all images in the order of their IDs or dates."""

    query: Text | None = None
    terms: Annotated[list[TermBody], Field(max_length=32)] = []
    minus: Annotated[list[Text], Field(max_length=32)] = []
    more: Annotated[list[Id], Field(max_length=200)] = []
    less: Annotated[list[Id], Field(max_length=200)] = []
    k: Annotated[int, Field(ge=1, le=MOST_HITS)] = 50
    offset: Annotated[int, Field(ge=0, lt=2**31)] = 0
    where: Text | None = None
    dedup: bool = False
    near: Share | None = None
    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    order: Literal["score", "date"] = "score"
    literal: bool = False
    explain: bool = False
    exact: bool = False
    recall: Annotated[float, Field(gt=0, le=1)] | None = None
    whole: bool = False
    revision: Annotated[str, Field(max_length=100)] | None = None


class ItemAnswer(BaseModel):
    """An image of a gallery, or a ``text`` and the path of the ``image`` that it describes, if that is known.

    ``date`` is when its file was last changed.
    """

    id: int
    name: str
    path: str
    folder: str
    label: str | None
    width: int
    height: int
    bytes: int
    date: str
    missing: bool
    text: str | None
    image: str | None


class TermScoreAnswer(BaseModel):
    label: str
    weight: float
    score: float
    part: float


class HitAnswer(ItemAnswer):
    """An image with its place in a ranking; ``score`` is null where nothing was ranked.

    ``box`` is where the query fits best: left, top, right and bottom in shares of the width and the height of the
    upright image; null if that is the whole image.
    """

    rank: int
    score: float | None
    box: list[float] | None = None
    terms: list[TermScoreAnswer] | None = None


class MatchingAnswer(BaseModel):
    """Whether anything seems to match; ``n`` images reach ``threshold``, as ``false_alarms`` of unrelated texts do."""

    threshold: float
    best: float
    n: int | None
    nothing: bool
    false_alarms: float
    method: str


class QueryTermAnswer(BaseModel):
    text: str | None = None
    id: int | None = None
    upload: str | None = None
    weight: float
    box: list[float] | None = None
    label: str


class IntervalAnswer(BaseModel):
    low: float
    high: float
    level: float


class RecallAnswer(BaseModel):
    """The share of the best that queries of a kind find, as ``index tune`` has measured with ``n`` of them."""

    mean: float
    interval: IntervalAnswer
    p5: float
    n: int
    reaches: float


class ExpectedAnswer(BaseModel):
    """What an approximate index finds of the ``k`` best for a kind of query: texts or images."""

    queries: Literal["texts", "images"]
    k: int
    recall: RecallAnswer


class SearchAnswer(BaseModel):
    """A page of hits; send ``revision`` back with the offset ``next`` for the page after it.

    ``n_missing`` images were not compared, since the machines that hold them do not answer.
    """

    hits: list[HitAnswer]
    total: int
    offset: int
    next: int | None
    revision: str
    seconds: float
    exact: bool
    expected: ExpectedAnswer | None
    n_missing: int
    model: str
    n_images: int
    terms: list[QueryTermAnswer]
    matching: MatchingAnswer | None


class GalleryAnswer(BaseModel):
    name: str
    n_images: int
    model: str
    dim: int
    index: str
    exact: bool
    revision: str
    precision: str
    has_labels: bool
    has_map: bool
    holds_texts: bool
    writable: bool


class LabelAnswer(BaseModel):
    label: str
    n: int


class FolderAnswer(BaseModel):
    folder: str
    n: int


class GalleryDetailAnswer(GalleryAnswer):
    labels: list[LabelAnswer]
    folders: list[FolderAnswer]
    first_date: str | None
    last_date: str | None
    n_skipped: int


class PrototypesAnswer(BaseModel):
    name: str
    n_classes: int
    model: str
    galleries: list[str]


class GalleriesAnswer(BaseModel):
    galleries: list[GalleryAnswer]
    prototypes: list[PrototypesAnswer]
    read_only: bool
    allow_url: bool
    version: str


class NeighbourAnswer(ItemAnswer):
    score: float


class ClassAnswer(BaseModel):
    rank: int
    class_id: int
    class_name: str
    score: float
    probability: float


class ItemDetailAnswer(ItemAnswer):
    """An image with its nearest classes and neighbours."""

    classes: list[ClassAnswer]
    neighbours: list[NeighbourAnswer]


class UploadAnswer(BaseModel):
    """An image that was sent; ``upload`` stands for it in searches."""

    upload: str
    width: int
    height: int


class HealthAnswer(BaseModel):
    status: str
    version: str


class Reason(BaseModel):
    """What is wrong, and what to do next; ``kind`` is the name that the Python library has for such errors."""

    kind: str
    message: str
    hint: str | None


class ErrorAnswer(BaseModel):
    error: Reason
