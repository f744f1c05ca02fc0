"""The nouns: frozen dataclasses without behaviour beyond comparing themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum


class IndexKind(StrEnum):
    PROTOTYPES = "prototypes"
    GALLERY = "gallery"


class ScoreHead(StrEnum):
    """How a model turns cosine similarities into probabilities."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a picture before the model sees it. ``size`` is (height, width) in pixels."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str
    fill_color: int = 0


@dataclass(frozen=True)
class TextContext:
    """How a prompt becomes tokens: which tokenizer, how text is cleaned, how many tokens there is room for."""

    tokenizer: str
    context_length: int


@dataclass(frozen=True)
class Space:
    """What makes vectors comparable.

    ``model`` is the name that opens the model again; it is not compared, because one set of weights may lie in
    two places. ``weights`` identifies them: ``tag:ARCH/TAG``, ``hub:ORG/REPO@COMMIT`` or ``sha256:...``.
    """

    model: str = field(compare=False)
    weights: str
    dim: int
    activation: str
    preprocessing: Preprocessing
    text: TextContext

    def differences(self, other: Space) -> list[str]:
        """The names of the compared fields in which two spaces differ; empty when vectors are comparable."""
        return [f.name for f in fields(self) if f.compare and getattr(self, f.name) != getattr(other, f.name)]


@dataclass(frozen=True)
class Head:
    """The model's own scale and bias from cosine similarity to logit (``scale`` is already exponentiated)."""

    kind: ScoreHead
    scale: float
    bias: float = 0.0


@dataclass(frozen=True)
class Encoding:
    """How vectors were computed. Recorded, but two spaces do not differ by it.

    ``cosine_to_fp32`` and ``least_cosine_to_fp32`` are the mean and the least cosine similarity of int8 vectors to
    those of fp32, measured when they were calibrated; ``calibration`` is the digest of the picture tower that gave
    them. ``decoding`` is ``exact``, or ``fast`` where large JPEG files were decoded at a part of their size.
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

    ``class_keys`` are synset ids where known. ``prompts[i]`` are the texts of class ``i``, templates applied.
    ``templates`` is empty when prompts were given class by class.
    """

    class_names: tuple[str, ...]
    class_keys: tuple[str | None, ...]
    prompts: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...] = ()
    classes_source: str = ""
    templates_source: str = ""


@dataclass(frozen=True)
class Item:
    """One picture of a gallery. ``path`` is relative to the source's root; ``id`` never changes."""

    id: int
    path: str
    label: str | None
    width: int
    height: int
    bytes: int
    mtime_ns: int
    digest: str


@dataclass(frozen=True)
class Skipped:
    """An input that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Hit:
    """One search result; ``rank`` starts at 1, ``score`` is cosine similarity."""

    rank: int
    id: int
    path: str
    score: float


class DuplicateKind(StrEnum):
    """Why pictures form a group: their files are equal, or their vectors are near."""

    EXACT = "exact"
    NEAR = "near"


@dataclass(frozen=True)
class Duplicate:
    """One picture of a group; ``score`` is its cosine similarity to the group's first."""

    id: int
    path: str
    digest: str
    score: float


@dataclass(frozen=True)
class DuplicateGroup:
    """Pictures that show the same, in the order of the gallery. ``lowest_score`` is the least of their scores."""

    kind: DuplicateKind
    items: tuple[Duplicate, ...]
    lowest_score: float


@dataclass(frozen=True)
class Prediction:
    """One predicted class; ``rank`` starts at 1."""

    rank: int
    class_id: int
    class_name: str
    score: float
    probability: float


@dataclass(frozen=True)
class Classified:
    """The predictions for one picture, best first; ``rejected`` if the answer is "unknown" rather than the best."""

    path: str
    label: str | None
    predictions: tuple[Prediction, ...]
    rejected: bool = False


@dataclass(frozen=True)
class FileEntry:
    """A file of an index as its passport knows it. ``head`` is the sha256 of its first 4096 bytes."""

    sha256: str
    bytes: int
    head: str


@dataclass(frozen=True)
class Segment:
    """A folder of files that never change. ``rows`` vectors lie in it; it takes ``removed`` ids out of older ones."""

    name: str
    rows: int
    removed: int = 0


@dataclass(frozen=True)
class Building:
    """A build that is not finished: ``listing`` is the sha256 of the ``n_files`` paths it set out with."""

    listing: str
    n_files: int


@dataclass(frozen=True)
class Damage:
    """Something wrong with an index. ``file`` is relative to its folder; None if it is no single file's fault."""

    file: str | None
    message: str


@dataclass(frozen=True)
class Changes:
    """What was done to a gallery, in pictures. ``encoded`` is how many of them the model had to see."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    encoded: int = 0
    skipped: tuple[Skipped, ...] = ()


class TrainingMethod(StrEnum):
    """How prototypes come from pictures: their means, or the weights of a classifier trained on them."""

    MEAN = "mean"
    PROBE = "probe"


@dataclass(frozen=True)
class Training:
    """The pictures that prototypes were made from. Which they were is told by the index's ``drawn.npy``.

    ``shots`` is how many of each class were asked for, None for all there were; ``seed`` chose them; ``n_images`` is
    how many there were in all. ``text_weight`` is the share of text prototypes that was mixed into means. ``c`` is
    the inverse strength of a probe's regularisation.
    """

    method: TrainingMethod
    source: str
    shots: int | None
    seed: int
    n_images: int
    text_weight: float | None = None
    c: float | None = None


@dataclass(frozen=True)
class Manifest:
    """The passport of an index folder. ``files`` are relative to the folder.

    ``generation`` counts the commits. ``index`` is the FAISS file, None while it is left to be made from the
    segments. ``next_id`` is the id that the next picture gets. ``origins`` list a gallery's pictures anew.
    ``verified`` is when every digest was last known to match. ``training`` is there where prototypes were made from
    pictures. ``lifted`` prototypes have a bias and are of two dimensions more than their space, see
    ``zsretrieve.vectors.lifted_rows``.
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
    format_version: int = 2

    @property
    def dim(self) -> int:
        """How long the stored rows are: the dimension of the space, and two more where they are lifted."""
        return self.space.dim + 2 if self.lifted else self.space.dim
