"""The nouns: frozen dataclasses without behaviour beyond comparing themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from zsretrieve.domain.kinds import Approximate
from zsretrieve.domain.plain import Result, shortest
from zsretrieve.domain.training import Adapter, Training


class IndexKind(StrEnum):
    PROTOTYPES = "prototypes"
    GALLERY = "gallery"


class ScoreHead(StrEnum):
    """How a model turns cosine similarities into probabilities."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


# What resize modes of transformers' kind begin with.
RGB_FIRST = "rgb-"
RESIZE_MODES = ("shortest", "longest", "squash", f"{RGB_FIRST}shortest", f"{RGB_FIRST}squash")


@dataclass(frozen=True)
class Preprocessing:
    """How an image is prepared for the model. ``size`` is (height, width) in pixels.

    ``resize_mode`` is ``shortest``, ``longest`` or ``squash`` for open_clip's way, and ``rgb-shortest`` or
    ``rgb-squash`` for that of transformers, which converts to RGB first and splits odd margins in another way.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str
    fill_color: int = 0


@dataclass(frozen=True)
class TextContext:
    """How a prompt becomes tokens: the tokenizer, how it cleans text, and the number of tokens in the context."""

    tokenizer: str
    context_length: int


@dataclass(frozen=True)
class Space:
    """What makes vectors comparable.

    ``model`` is the name that opens the model again; it is not compared, because one set of weights may be in two
    places. ``weights`` identifies them: ``tag:ARCH/TAG``, ``hub:ORG/REPO@COMMIT`` or ``sha256:...``. ``images_of`` are
    the weights that the image tower was taken from unchanged, if only the text side was trained; it is known of the
    weights, so it is not compared.
    """

    model: str = field(compare=False)
    weights: str
    dim: int
    activation: str
    preprocessing: Preprocessing
    text: TextContext
    images_of: str | None = field(default=None, compare=False)

    @property
    def image_side(self) -> str:
        """The weights whose image tower it has: images have the same vectors wherever this is the same."""
        return self.images_of or self.weights

    def differences(self, other: Space) -> list[str]:
        """The names of the fields in which two spaces differ; empty if their vectors are comparable."""
        return [f.name for f in fields(self) if f.compare and getattr(self, f.name) != getattr(other, f.name)]


@dataclass(frozen=True)
class Head:
    """The model's own scale and bias from cosine similarity to logit (``scale`` is already exponentiated)."""

    kind: ScoreHead
    scale: float
    bias: float = 0.0

    def at(self, scale: float) -> Head:
        """The same at another temperature: a bias is divided by it like the scale."""
        return replace(self, scale=scale, bias=self.bias * scale / self.scale)


@dataclass(frozen=True)
class Encoding:
    """How vectors were computed; it does not make two embedding spaces differ.

    ``cosine_to_fp32`` and ``least_cosine_to_fp32`` are the mean and the least cosine similarity of int8 vectors to
    those of fp32, measured at the calibration; ``calibration`` is the digest of the image tower that computed
    them. ``decoding`` is ``exact``, or ``fast`` if large JPEG files were decoded at a fraction of their size.
    """

    engine: str
    precision: str
    device: str
    exif: bool = True
    cosine_to_fp32: float | None = None
    decoding: str = "exact"
    least_cosine_to_fp32: float | None = None
    calibration: str | None = None


@dataclass(frozen=True)
class PromptSet:
    """Classes and the prompts that describe them.

    ``class_keys`` are synset IDs if known. ``prompts[i]`` are the texts of class ``i``, templates applied.
    ``templates`` is empty if prompts were given class by class.
    """

    class_names: tuple[str, ...]
    class_keys: tuple[str | None, ...]
    prompts: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...] = ()
    classes_source: str = ""
    templates_source: str = ""


@dataclass(frozen=True)
class Item:
    """An image of a gallery. ``path`` is relative to the source's root; ``id`` never changes.

    In a gallery of texts it is a ``text``, without a size, and the path of the ``image`` that it describes, if known.
    """

    id: int
    path: str
    label: str | None
    width: int
    height: int
    bytes: int
    mtime_ns: int
    digest: str
    text: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class Skipped(Result):
    """A skipped input and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Hit(Result):
    """One search result; ``rank`` starts at 1, ``score`` is cosine similarity, None without a query.

    ``missing`` is whether the file, or the archive, is not there any more; of a remote one that is not known. ``box``
    is where the query fits best, None if that is the whole image. In a gallery of texts ``path`` is the place of the
    ``text`` in its file, and ``image`` the image that it describes.
    """

    rank: int
    id: int
    path: str
    score: float | None
    missing: bool = False
    box: tuple[float, float, float, float] | None = None
    text: str | None = None
    image: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Its fields; ``text`` and ``image`` only of a text."""
        row = {**super().to_dict(), "score": None if self.score is None else shortest(self.score)}
        return row if self.text is not None else {key: row[key] for key in row if key not in ("text", "image")}

    @property
    def title(self) -> str:
        """What people know it by: the text, or the path of an image."""
        return self.path if self.text is None else self.text

    @property
    def score_text(self) -> str:
        """The score in four digits; a dash without a query."""
        return "-" if self.score is None else f"{self.score:.4f}"


@dataclass(frozen=True)
class Prediction(Result):
    """One predicted class; ``rank`` starts at 1."""

    rank: int
    class_id: int
    class_name: str
    score: float
    probability: float

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "score": shortest(self.score)}


@dataclass(frozen=True)
class Classified(Result):
    """The predictions for one image, best first.

    ``rejected`` is whether the answer is "unknown" rather than the best; None if every image gets an answer.
    ``set_size`` is how many predictions, from the best, are the prediction set; None without a wanted coverage.
    ``width`` and ``height`` are pixels of the upright image, 0 if unknown.
    """

    path: str
    label: str | None
    predictions: tuple[Prediction, ...]
    rejected: bool | None = None
    set_size: int | None = None
    width: int = 0
    height: int = 0

    def to_dict(self) -> dict[str, Any]:
        """``path`` and ``predictions``, and ``rejected`` and ``set_size`` where they were asked for."""
        left_out = {"label", "width", "height"}
        left_out |= {name for name in ("rejected", "set_size") if getattr(self, name) is None}
        return {key: value for key, value in super().to_dict().items() if key not in left_out}

    def rows(self) -> list[dict[str, Any]]:
        """The same as one row for each prediction, for tables."""
        whole = self.to_dict()
        predictions = whole.pop("predictions")
        path = whole.pop("path")
        return [{"path": path, **prediction, **whole} for prediction in predictions]


@dataclass(frozen=True)
class FileEntry:
    """A file of an index in its manifest. ``head`` is the sha256 of its first 4096 bytes."""

    sha256: str
    bytes: int
    head: str


@dataclass(frozen=True)
class Segment:
    """A folder of files that never change: ``rows`` vectors, and ``removed`` IDs removed from older segments."""

    name: str
    rows: int
    removed: int = 0


@dataclass(frozen=True)
class Building:
    """An unfinished build; ``listing`` is the sha256 of the ``n_files`` paths it began with."""

    listing: str
    n_files: int


@dataclass(frozen=True)
class Damage:
    """Something wrong with an index. ``file`` is relative to its folder; None if it concerns several."""

    file: str | None
    message: str


@dataclass(frozen=True)
class Changes(Result):
    """What was done to a gallery, in images. ``encoded`` is how many of them the model had to encode.

    ``missing`` images are not there, but may come back: their drive is away, or their folder cannot be read. They stay.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    missing: int = 0
    encoded: int = 0
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Origin(Result):
    """A source that a gallery follows, and how many of its images are from there.

    ``missing`` is whether it does not exist now; None if only a server could say.
    """

    source: str
    images: int
    missing: bool | None


@dataclass(frozen=True)
class Manifest:
    """What an index folder says of itself. ``files`` are relative to the folder.

    ``generation`` counts the commits. ``index`` is the flat FAISS file, None until it is built from the segments.
    ``factory`` is the index kind; unless that is ``Flat``, ``approximate`` is the index of that kind, None until it is
    made.
    ``next_id`` is the ID of the next image. ``origins`` are a gallery's sources. ``verified`` is when every digest was
    last known to match. ``training`` is set if prototypes were made from images. ``lifted`` prototypes are augmented:
    they have a bias and two dimensions more than their space, see ``zsretrieve.domain.vectors.augmented_rows``.
    ``exclude`` and ``include`` are globs of what a gallery leaves out of its sources, and takes. ``home`` is where the
    index folder was while its images were where the manifest says.
    ``fitted_scale`` takes the place of the head's scale in probabilities. ``holds_texts`` is whether the items of a
    gallery are texts. ``adapter`` is set if keys and values of images add to the scores. ``regions`` names the
    ``Pyramid`` of tiles that have vectors of their own.
    """

    kind: IndexKind
    space: Space
    head: Head
    encoding: Encoding
    count: int
    factory: str
    files: dict[str, FileEntry]
    created: str
    tool_version: str
    verified: str
    generation: int = 1
    segments: tuple[Segment, ...] = ()
    index: str | None = None
    next_id: int = 0
    root: str | None = None
    origins: tuple[str, ...] = ()
    building: Building | None = None
    prompt_digest: str | None = None
    classes_source: str | None = None
    templates_source: str | None = None
    duplicate_names: tuple[str, ...] = ()
    cut_prompts: int = 0
    skipped: tuple[Skipped, ...] = ()
    training: Training | None = None
    lifted: bool = False
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    home: str | None = None
    fitted_scale: float | None = None
    approximate: Approximate | None = None
    holds_texts: bool = False
    adapter: Adapter | None = None
    regions: str | None = None

    @property
    def dim(self) -> int:
        """The dimension of the stored rows: that of the space, and two more if they are augmented."""
        return self.space.dim + 2 if self.lifted else self.space.dim


PathLike = str | os.PathLike[str]
