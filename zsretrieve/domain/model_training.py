"""How a model is trained and what came of it, as values that travel through every floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

from zsretrieve.domain.arguments import Between, Count, Seed, check_fields
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.plain import Result
from zsretrieve.domain.records import Skipped


class Tune(StrEnum):
    """What is trained: the whole text tower, low-rank additions to its blocks, or a linear map on its vectors."""

    TEXT = "text"
    LORA = "lora"
    LINEAR = "linear"


class Loss(StrEnum):
    """The softmax over a batch (CLIP), or a sigmoid for each pair (SigLIP)."""

    CLIP = "clip"
    SIGLIP = "siglip"


class Lock(StrEnum):
    """The tower whose weights stay as they are: the image tower (LiT) or the text tower."""

    IMAGE = "image"
    TEXT = "text"


_EPOCHS = 10
# Peak learning rates of AdamW: of a text tower from scratch, of a trained one, and of what is added to it.
_SCRATCH_LR, _TEXT_LR, _ADDED_LR = 2e-3, 1e-4, 1e-3
# Of both towers, from scratch and trained; the first is CLIP's (Radford et al. 2021, table 18) for ViT-B.
_TOWERS_SCRATCH_LR, _TOWERS_LR = 5e-4, 1e-5


@dataclass(frozen=True)
class Schedule:
    """How long a model is trained, on which batches.

    Parameters
    ----------
    loss : Loss or str, optional
        ``clip`` or ``siglip``; by default the model's own.
    epochs : int, optional
        Passes over the images; 10 unless there are ``steps``.
    steps : int, optional
        Batches in all, in place of ``epochs``.
    batch_size : int
        Images per batch, each with one of its captions; fewer where there are fewer images.
    lr : float, optional
        The peak learning rate; ``peak_lr`` says which by default.
    held_out : float
        The share of images that is not trained on; retrieval among them is measured.
    patience : int, optional
        Stop after so many measurements in a row that do not improve; by default none stops the training.
    from_scratch : bool
        Begin with random weights of what is trained.
    seed : int
        The same seed draws the same held-out images, batches, captions and first weights.

    Raises
    ------
    UsageError
        If values contradict each other or are out of range.
    """

    loss: Loss | None = None
    epochs: Count | None = None
    steps: Count | None = None
    batch_size: Annotated[int, Between(2, 2**20)] = 256
    lr: Annotated[float, Between(1e-9, 1e3)] | None = None
    held_out: Annotated[float, Between(0, 0.9)] = 0.1
    patience: Count | None = None
    from_scratch: bool = False
    seed: Seed = 0

    # Fields that are written as texts.
    _written: ClassVar[Mapping[str, type[StrEnum]]] = {"loss": Loss}

    def __post_init__(self) -> None:
        for name, kind in self._written.items():
            if (value := getattr(self, name)) in list(kind):
                object.__setattr__(self, name, kind(value))
        check_fields(self)
        if self.epochs is not None and self.steps is not None:
            raise UsageError("`epochs` and `steps` both say how long to train", hint="Give one of them.")
        if self.patience is not None and not self.held_out:
            raise UsageError("`patience` has no effect without held-out images", hint="Leave out `patience`.")

    def steps_for(self, images: int) -> int:
        """The batches in all for so many images to train on."""
        return self.steps or (self.epochs or _EPOCHS) * self.batches_per_epoch(images)

    def batches_per_epoch(self, images: int) -> int:
        """A last batch that would be smaller than the others is left out."""
        return max(1, images // self.batch_size)


@dataclass(frozen=True)
class TrainingSettings(Schedule):
    """How the text side of a model is trained on the vectors of a gallery; see ``Schedule`` for the other parameters.

    Parameters
    ----------
    tune : Tune or str
        ``text``, the text tower; ``lora``, a low-rank addition to each matrix of its blocks (Hu et al. 2021, arXiv
        2106.09685); or ``linear``, a linear map on its vectors. The last two become part of its weights.
    """

    tune: Tune = Tune.TEXT

    _written: ClassVar[Mapping[str, type[StrEnum]]] = {"loss": Loss, "tune": Tune}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.from_scratch and self.tune is not Tune.TEXT:
            raise UsageError(f"`tune` {self.tune} needs a trained text tower", hint="Leave out `from_scratch`.")

    @property
    def peak_lr(self) -> float:
        """The learning rate after the warm-up: by default 0.0001 for a text tower, 0.002 from scratch, and 0.001 for
        what is added to it.
        """
        if self.lr is not None:
            return self.lr
        if self.tune is not Tune.TEXT:
            return _ADDED_LR
        return _SCRATCH_LR if self.from_scratch else _TEXT_LR


@dataclass(frozen=True)
class ImageTrainingSettings(Schedule):
    """How a model is trained on images, by open_clip's trainer; see ``Schedule`` for the other parameters.

    Parameters
    ----------
    lock : Lock or str, optional
        The tower that stays as it is; by default both are trained.
    weight_decay : float
        Of AdamW, for all but biases, norms and the temperature.
    crop : float
        The least share of an image that a random crop of it shows to the model; 1 for whole images.
    checkpointing : bool
        Compute activations again in the backward pass, which takes less memory and about a third more time.
    workers : int
        Processes that decode images, for each process that trains.
    processes : int, optional
        That train on this machine together, each on its share of every batch; by default one for each device named.
    """

    lock: Lock | None = None
    weight_decay: Annotated[float, Between(0, 10)] = 0.2
    crop: Annotated[float, Between(0.01, 1)] = 0.9
    checkpointing: bool = False
    workers: Annotated[int, Between(0, 1024)] = 2
    processes: Annotated[int, Between(1, 1024)] | None = None

    _written: ClassVar[Mapping[str, type[StrEnum]]] = {"loss": Loss, "lock": Lock}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lock is not None and self.from_scratch:
            raise UsageError("a tower of random weights cannot be locked", hint="Leave out `lock` or `from_scratch`.")

    @property
    def peak_lr(self) -> float:
        """The learning rate after the warm-up: by default 0.00001, and 0.0005 from scratch."""
        if self.lr is not None:
            return self.lr
        return _TOWERS_SCRATCH_LR if self.from_scratch else _TOWERS_LR


@dataclass(frozen=True)
class TrainingPoint(Result):
    """One measurement after ``step`` steps.

    ``loss`` and ``grad_norm``, before it is clipped, are means over the steps since the last point, None at the first;
    ``scale`` and ``bias`` are those of the model's probabilities, ``seconds`` those since the start. The recall is
    that of retrieval among the held-out images, None without them.
    """

    _keys: ClassVar[Mapping[str, str]] = {
        "text_to_image": "text_to_image_recall@1",
        "image_to_text": "image_to_text_recall@1",
    }

    step: int
    seconds: float
    loss: float | None
    grad_norm: float | None
    lr: float
    scale: float
    bias: float | None
    text_to_image: float | None
    image_to_text: float | None

    @property
    def recall(self) -> float | None:
        """The mean of both directions."""
        if self.text_to_image is None or self.image_to_text is None:
            return None
        return (self.text_to_image + self.image_to_text) / 2


def is_best(point: TrainingPoint, history: Sequence[TrainingPoint], best_step: int) -> bool:
    """Whether the weights at ``point`` are at least as good as those of ``best_step``, the best of ``history``.

    Of equally good weights those that were trained longer; without a measurement the last.
    """
    best = next((one.recall for one in history if one.step == best_step), None)
    return point.recall is None or best is None or point.recall >= best


def is_stuck(history: Sequence[TrainingPoint], patience: int | None) -> bool:
    """Whether as many of the last measurements as ``patience`` did not improve on the best before them."""
    recalls = [point.recall for point in history if point.recall is not None]
    return patience is not None and bool(recalls) and len(recalls) - 1 - recalls.index(max(recalls)) >= patience


@dataclass(frozen=True)
class TrainedModel(Result):
    """A model that was trained, in the folder ``out``; ``model`` is the name that opens it.

    It was trained on ``data``, a gallery or a source of images; ``trained`` says what of it, such as ``text tower``.
    Its weights are those after ``best_step``, whose retrieval among the held-out images was the best, of ``steps``
    steps. ``n_images`` were trained on, with ``n_captions`` distinct captions. ``skipped`` are images without a
    caption or that cannot be read, and captions without an image.
    """

    out: str
    model: str
    base: str
    data: str
    trained: str
    loss: Loss
    n_images: int
    n_captions: int
    n_held_out: int
    steps: int
    best_step: int
    stopped_early: bool
    batch_size: int
    lr: float
    seed: int
    from_scratch: bool
    seconds: float
    history: tuple[TrainingPoint, ...]
    skipped: tuple[Skipped, ...]

    @property
    def first(self) -> TrainingPoint:
        """The measurement before the first step."""
        return self.history[0]

    @property
    def best(self) -> TrainingPoint:
        """The measurement of the weights in ``out``."""
        return next(point for point in self.history if point.step == self.best_step)
