"""How prototypes were made from images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TrainingMethod(StrEnum):
    """How prototypes come from images: their means, or the weights of a classifier trained on them; or text prototypes
    with an adapter of images (Tip-Adapter, Tip-Adapter-F), or blended with images (LP++).
    """

    MEAN = "mean"
    PROBE = "probe"
    TIP = "tip"
    TIP_F = "tip-f"
    LP = "lp++"


# What adds images to text prototypes.
ADAPTERS = (TrainingMethod.TIP, TrainingMethod.TIP_F, TrainingMethod.LP)


@dataclass(frozen=True)
class Training:
    """The images that prototypes were made from; the index's ``drawn.npy`` lists them.

    ``shots`` is the number requested per class, None for all; ``seed`` drew them; ``n_images`` is the number in all.
    ``text_weight`` is the share of text prototypes that was mixed into means. ``c`` is
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
class Adapter:
    """The adapter of a prototype index: ``n_keys`` images, and the two numbers that they are weighted with.

    A key k adds ``alpha * exp(-beta * (1 - x.k))`` to the logit of its class (``zsretrieve.store.key_values``).
    """

    n_keys: int
    alpha: float
    beta: float
