"""torchvision's classifiers as retrieval: the supervised baseline of the published tables.

The logits of a linear layer are inner products once pictures and classes get two numbers more: a picture's features
f become (f, 1, 0), and the weights w and bias b of a class (w, b, what is missing to the greatest length of all).
Classes are then of one length, so that making all rows unit leaves the order of the classes of every picture as it
was. (Bachrach et al. 2014, Speeding up the Xbox recommender system using a Euclidean transformation, section 3.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants
from PIL import Image
from torch import nn

from zsretrieve.encoders.metadata import provide
from zsretrieve.encoders.preprocessing import prepare
from zsretrieve.encoders.torch_numerics import numerics
from zsretrieve.encoders.torch_openclip import planned_encoding, resolve_device
from zsretrieve.errors import ClassMappingError, ModelNameError, WeightsUnavailableError
from zsretrieve.ports import Pixels
from zsretrieve.records import Head, Preprocessing, ScoreHead, Space, TextContext
from zsretrieve.vectors import Vectors, unit_rows

PREFIX = "torchvision:"
RESNET50 = f"{PREFIX}resnet50"
IDENTITY = f"{RESNET50}/IMAGENET1K_V1"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# As torchvision's preset of these weights: the shorter side to 256 pixels, then the middle 224 of both.
_RESIZED, _CROPPED = 256, 224


class SupervisedEncoder:
    """A classifier behind the Encoder port; it reads no texts, and has the vectors of its classes itself.

    Parameters
    ----------
    features : torch module
        Gives float tensors of shape (n, width) for pictures of shape (n, 3, 224, 224).
    classifier : torch.nn.Linear
    keys : sequence of str
        The synset id of each of its outputs.
    weights : str
        What identifies it.
    device, precision, batch_size
        See ``TorchEncoder``.
    """

    def __init__(
        self,
        features: nn.Module,
        classifier: nn.Linear,
        keys: Sequence[str],
        weights: str,
        *,
        device: str = "auto",
        precision: str = "fp32",
        batch_size: int | None = None,
    ) -> None:
        self._device = resolve_device(device)
        self.encoding = self.text_encoding = planned_encoding(device, precision)
        self._features = features.to(self._device).eval()
        self._class_ids = {key: row for row, key in enumerate(keys)}
        self._classes = _unit_classes(classifier)
        self._mean, self._std = (torch.tensor(v, device=self._device).view(-1, 1, 1) for v in (_MEAN, _STD))
        self.space = Space(
            model=RESNET50,
            weights=weights,
            dim=self._classes.shape[1],
            activation="relu",
            preprocessing=Preprocessing((_CROPPED, _CROPPED), _MEAN, _STD, "bilinear", "shortest"),
            text=TextContext("none", 0),
        )
        # Its probabilities depend on the length of the features, which a unit row does not keep.
        self.head = Head(ScoreHead.SOFTMAX, 1.0)
        self.batch_size = batch_size or (256 if self._device.type == "cuda" else 64)
        self.concurrency = 1

    def class_vectors(self, keys: Sequence[str | None]) -> Vectors:
        """The vectors of classes by synset id, float32 of shape (len(keys), dim), unit rows.

        Raises
        ------
        ClassMappingError
            If a class has no synset id, or one that the classifier does not know.
        """
        unknown = [key for key in keys if key not in self._class_ids]
        if unknown:
            raise ClassMappingError(
                f"the supervised baseline does not know {len(unknown)} of the {len(keys)} classes; "
                f"the first has the synset id '{unknown[0]}'",
                hint="It goes with classes of ImageNet-1k; leave it out with --no-baseline.",
            )
        return np.ascontiguousarray(self._classes[[self._class_ids[str(key)] for key in keys]])

    def prepare(self, image: Image.Image) -> Pixels:
        """Resize and crop as torchvision does for these weights: uint8 of shape (224, 224, 3)."""
        resized = Preprocessing((_RESIZED, _RESIZED), _MEAN, _STD, "bilinear", "shortest")
        border = (_RESIZED - _CROPPED) // 2
        return np.ascontiguousarray(prepare(image.convert("RGB"), resized)[border:-border, border:-border])

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        with numerics(self._device, self.encoding.precision):
            images = torch.from_numpy(np.stack(batch)).to(self._device).permute(0, 3, 1, 2).contiguous().float()
            found = self._features(images.div_(255).sub_(self._mean).div_(self._std)).float().cpu().numpy()
        return unit_rows(np.column_stack([found, np.ones(len(found)), np.zeros(len(found))]))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Raises ModelNameError: there is nothing in it that reads texts."""
        raise ModelNameError(
            f"'{self.space.model}' is a classifier and reads no texts, such as '{texts[0]}'",
            hint="Take a CLIP-like model.",
        )

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [0 for _ in texts]


def load_supervised(
    name: str, *, device: str = "auto", precision: str = "fp32", batch_size: int | None = None
) -> SupervisedEncoder:
    """Load torchvision's ResNet-50 with the weights IMAGENET1K_V1, fetching them if need be.

    Raises
    ------
    ModelNameError
        If it is another.
    WeightsUnavailableError
        If its weights are neither in torch's cache nor to be fetched; HF_HUB_OFFLINE is heeded for them, too.
    DeviceError
        If the device or precision is not there.
    """
    check_name(name)
    from torchvision.models import ResNet50_Weights, resnet50

    if not is_cached(name) and constants.HF_HUB_OFFLINE:
        raise _unavailable("not in torch's cache, and HF_HUB_OFFLINE is set")
    try:
        state = ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise _unavailable(" ".join(str(error).split())[:200]) from error
    model: Any = resnet50(weights=None)
    model.load_state_dict(state)
    classifier, model.fc = model.fc, nn.Identity()
    return SupervisedEncoder(
        model, classifier, provide("timm:imagenet_synsets"), IDENTITY,
        device=device, precision=precision, batch_size=batch_size,
    )  # fmt: skip


def is_cached(name: str) -> bool:
    """Whether its weights lie in torch's cache. Raises ModelNameError if it is another model."""
    check_name(name)
    from torchvision.models import ResNet50_Weights

    file = str(ResNet50_Weights.IMAGENET1K_V1.url).rpartition("/")[2]
    return (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file()


def check_name(name: str) -> None:
    """Raise ModelNameError if there is no such baseline."""
    if name != RESNET50:
        raise ModelNameError(f"there is no supervised baseline '{name}'", hint=f"There is {RESNET50}.")


def _unavailable(reason: str) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"the weights of '{RESNET50}' cannot be had: {reason}",
        hint="Check the network and HF_HUB_OFFLINE, or leave the baseline out with --no-baseline.",
    )


def _unit_classes(classifier: nn.Linear) -> Vectors:
    weight = classifier.weight.detach().double().cpu().numpy()
    bias = classifier.bias.detach().double().cpu().numpy()
    rows = np.column_stack([weight, bias])
    squares = np.square(rows).sum(axis=1)
    return unit_rows(np.column_stack([rows, np.sqrt(np.maximum(squares.max() - squares, 0.0))]))
