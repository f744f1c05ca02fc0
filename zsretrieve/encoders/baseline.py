"""The supervised baseline of the published tables, a classifier of torchvision, as a model by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from zsretrieve.domain.errors import ModelNameError
from zsretrieve.domain.ports import Encoder, OnStage
from zsretrieve.domain.settings import Compute
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.catalog.model_name import RESNET50
from zsretrieve.encoders.loading import Model
from zsretrieve.system import extras

__all__ = ["IDENTITY", "RESNET50", "SupervisedEncoder", "SupervisedModel", "is_cached", "is_supervised"]

IDENTITY = f"{RESNET50}/IMAGENET1K_V1"


class SupervisedEncoder(Encoder, Protocol):
    """A classifier that was trained on the classes, so that it has their vectors itself."""

    def class_vectors(self, keys: Sequence[str | None]) -> Vectors:
        """Prototypes of classes by synset id, float32 of shape (len(keys), dim), unit rows.

        Raises
        ------
        ClassMappingError
            If a class has no synset id, or one that the classifier does not know.
        """
        ...


def is_supervised(name: str) -> bool:
    """Whether a model of a table is a supervised classifier, which takes no prompts.

    Raises
    ------
    ModelNameError
        If it is one of torchvision's other than ``RESNET50``.
    """
    if not name.startswith("torchvision:"):
        return False
    if name != RESNET50:
        raise ModelNameError(f"there is no supervised baseline '{name}'", hint=f"Use {RESNET50}.")
    return True


def is_cached() -> bool:
    """Whether the weights of the baseline are in torch's cache."""
    from zsretrieve.encoders.torch import supervised

    return supervised.is_cached()


class SupervisedModel(Model):
    """The baseline, which always runs in torch, on the first of several GPUs.

    Parameters
    ----------
    compute : Compute
    on_stage : callable, optional
        See ``Model``.
    """

    def __init__(self, compute: Compute, *, on_stage: OnStage | None = None) -> None:
        super().__init__(None, compute, on_stage=on_stage)
        self.name = RESNET50

    @property
    def identity(self) -> str:
        return IDENTITY

    def check_installed(self) -> None:
        extras.require_models(f"'{RESNET50}'")

    def _load(self) -> Encoder:
        self.check_installed()
        from zsretrieve.encoders.torch.encoder import torch_devices
        from zsretrieve.encoders.torch.supervised import load_supervised

        return load_supervised(replace(self.compute, device=torch_devices(self.compute.device)[0]))
