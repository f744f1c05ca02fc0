"""How a model is trained and what came of it, as values that travel through every floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

from zsretrieve.domain.arguments import Between, Count, Seed, check_fields
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.plain import Result
from zsretrieve.domain.records import Skipped


class Tune(StrEnum):
    """What is trained: the whole text tower, or a linear map on its vectors."""

    TEXT = "text"
    LINEAR = "linear"


class Loss(StrEnum):
    """The softmax over a batch (CLIP), or a sigmoid for each pair (SigLIP)."""

    CLIP = "clip"
    SIGLIP = "siglip"


_EPOCHS = 10
# Peak learning rates of AdamW: of a text tower from scratch, of a trained one, and of a linear map.
_SCRATCH_LR, _TEXT_LR, _LINEAR_LR = 2e-3, 1e-4, 1e-3


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Parameters
    ----------
    tune : Tune or str
        ``text``, the text tower, or ``linear``, a linear map on its vectors, which becomes part of its projection.
    loss : Loss or str, optional
        ``clip`` or ``siglip``; by default the model's own.
    epochs : int, optional
        Passes over the images; 10 unless there are ``steps``.
    steps : int, optional
        Batches in all, in place of ``epochs``.
    batch_size : int
        Images per batch, each with one of its captions; fewer where there are fewer images.
    lr : float, optional
        The peak learning rate; by default 0.0001 for a text tower, 0.002 from scratch, and 0.001 for a linear map.
    held_out : float
        The share of images that is not trained on; retrieval among them is measured.
    patience : int, optional
        Stop after so many measurements in a row that do not improve; by default none stops the training.
    from_scratch : bool
        Begin with random weights of the text tower.
    seed : int
        The same seed draws the same held-out images, batches, captions and first weights.

    Raises
    ------
    UsageError
        If values contradict each other or are out of range.
    """

    tune: Tune = Tune.TEXT
    loss: Loss | None = None
    epochs: Count | None = None
    steps: Count | None = None
    batch_size: Annotated[int, Between(2, 2**20)] = 256
    lr: Annotated[float, Between(1e-9, 1e3)] | None = None
    held_out: Annotated[float, Between(0, 0.9)] = 0.1
    patience: Count | None = None
    from_scratch: bool = False
    seed: Seed = 0

    def __post_init__(self) -> None:
        for name, kind in (("tune", Tune), ("loss", Loss)):
            if (value := getattr(self, name)) in list(kind):
                object.__setattr__(self, name, kind(value))
        check_fields(self)
        if self.epochs is not None and self.steps is not None:
            raise UsageError("`epochs` and `steps` both say how long to train", hint="Give one of them.")
        if self.patience is not None and not self.held_out:
            raise UsageError("`patience` has no effect without held-out images", hint="Leave out `patience`.")
        if self.from_scratch and self.tune is Tune.LINEAR:
            raise UsageError("a linear map needs a trained text tower", hint="Leave out `from_scratch`.")

    def steps_for(self, images: int) -> int:
        """The batches in all for so many images to train on."""
        return self.steps or (self.epochs or _EPOCHS) * self.batches_per_epoch(images)

    def batches_per_epoch(self, images: int) -> int:
        """A last batch that would be smaller than the others is left out."""
        return max(1, images // self.batch_size)

    @property
    def peak_lr(self) -> float:
        """The learning rate after the warm-up."""
        if self.lr is not None:
            return self.lr
        if self.tune is Tune.LINEAR:
            return _LINEAR_LR
        return _SCRATCH_LR if self.from_scratch else _TEXT_LR


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


@dataclass(frozen=True)
class TrainedModel(Result):
    """A model that was trained, in the folder ``out``; ``model`` is the name that opens it.

    Its weights are those after ``best_step``, whose retrieval among the held-out images was the best, of ``steps``
    steps. ``n_images`` were trained on, with ``n_captions`` distinct captions. ``skipped`` are images of the gallery
    without a caption, and captions without an image.
    """

    out: str
    model: str
    base: str
    gallery: str
    tune: Tune
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
