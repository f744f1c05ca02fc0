"""Classifiers as encoders of images, and torchvision's ResNet-50 as retrieval: the baseline of the published tables.

The logits of a linear layer become inner products once images and classes get two more dimensions: the features f of
an image become (f, 1, 0), and the weights w and bias b of a class (w, b, r), where r makes all classes equally long.
Making all rows unit then keeps the order of the classes of every image. (Bachrach et al. 2014, Speeding up the Xbox
recommender system using a Euclidean transformation, section 3.)
"""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants
from PIL import Image
from torch import nn

from zsretrieve.domain.errors import ClassMappingError, ModelNameError, WeightsUnavailableError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.records import Head, Preprocessing, ScoreHead, Space, TextContext
from zsretrieve.domain.settings import Compute, Precision
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.encoders.baseline import IDENTITY, RESNET50
from zsretrieve.encoders.catalog.bundled_prompts import provide
from zsretrieve.encoders.catalog.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.catalog.model_name import ModelName
from zsretrieve.encoders.preprocessing import prepare
from zsretrieve.encoders.torch.autocast import numerics
from zsretrieve.encoders.torch.encoder import planned_encoding, resolve_device

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# torchvision's preset for these weights: resize the shorter side to 256 pixels, then crop the middle 224 of both.
_RESIZED = (256, 256)
_OF_RESNET50 = Preprocessing((224, 224), _MEAN, _STD, "bilinear", "shortest")
# timm's ways of cropping that have a counterpart.
_RESIZE_MODES = {"center": "shortest", "squash": "squash"}


class FeatureEncoder:
    """The features of a classifier behind the Encoder port, as vectors of images; it encodes no texts.

    Parameters
    ----------
    features : torch module
        Float tensors of shape (n, width) of images of shape (n, 3, height, width).
    space : Space
        ``preprocessing.size`` is what is cropped from the middle.
    resized : int
        The side that images are resized to before the crop.
    compute : Compute
        See ``TorchEncoder``.
    """

    def __init__(self, features: nn.Module, space: Space, resized: tuple[int, int], compute: Compute) -> None:
        self._device = resolve_device(compute.device)
        self.encoding = self.text_encoding = planned_encoding(compute)
        self._features = features.to(self._device).eval()
        preprocessing = space.preprocessing
        self._resized = replace(preprocessing, size=resized)
        self._mean, self._std = (
            torch.tensor(v, device=self._device).view(-1, 1, 1) for v in (preprocessing.mean, preprocessing.std)
        )
        self.space = space
        # Its probabilities depend on the length of the features, which unit rows lose.
        self.head = Head(ScoreHead.SOFTMAX, 1.0)
        self.batch_size = compute.batch_size or (256 if self._device.type == "cuda" else 64)
        self.concurrency = 1

    def prepare(self, image: Image.Image) -> Pixels:
        """Resize and crop as its library does for these weights: uint8 of shape (height, width, 3)."""
        resized = prepare(image.convert("RGB"), self._resized)
        height, width = self.space.preprocessing.size
        top, left = (round((side - cropped) / 2) for side, cropped in zip(resized.shape, (height, width), strict=False))
        return np.ascontiguousarray(resized[top : top + height, left : left + width])

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        with numerics(self._device, Precision(self.encoding.precision)):
            images = torch.from_numpy(np.stack(batch)).to(self._device).permute(0, 3, 1, 2).contiguous().float()
            features = self._features(images.div_(255).sub_(self._mean).div_(self._std)).float().cpu().numpy()
        return self._rows_of(features)

    def _rows_of(self, features: Vectors) -> Vectors:
        return unit_rows(features)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Raises ModelNameError: it has no text tower."""
        raise ModelNameError(
            f"'{self.space.model}' is a classifier and cannot encode texts, such as '{texts[0]}'",
            hint="Use a CLIP-like model.",
        )

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [0 for _ in texts]


class SupervisedEncoder(FeatureEncoder):
    """torchvision's ResNet-50, which has the vectors of its classes itself.

    Parameters
    ----------
    features : torch module
        Float tensors of shape (n, width) of images of shape (n, 3, 224, 224).
    classifier : torch.nn.Linear
    keys : sequence of str
        The synset id of each output.
    weights : str
        Identifies it.
    compute : Compute
        See ``TorchEncoder``.
    """

    def __init__(
        self,
        features: nn.Module,
        classifier: nn.Linear,
        keys: Sequence[str],
        weights: str,
        compute: Compute,
    ) -> None:
        self._class_ids = {key: row for row, key in enumerate(keys)}
        self._classes = _unit_classes(classifier)
        space = _space(RESNET50, weights, self._classes.shape[1], _OF_RESNET50)
        super().__init__(features, space, _RESIZED, compute)

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
                hint="It only has the classes of ImageNet-1k; leave it out with `baseline=False`.",
            )
        return np.ascontiguousarray(self._classes[[self._class_ids[str(key)] for key in keys]])

    def _rows_of(self, features: Vectors) -> Vectors:
        return unit_rows(np.column_stack([features, np.ones(len(features)), np.zeros(len(features))]))


def load_supervised(compute: Compute) -> SupervisedEncoder:
    """Load torchvision's ResNet-50 with the weights IMAGENET1K_V1, downloading them if need be.

    Raises
    ------
    WeightsUnavailableError
        If its weights are neither in torch's cache nor available for download, which HF_HUB_OFFLINE also forbids.
    DeviceError
        If the device or precision is not available.
    """
    model, classifier = _resnet50()
    return SupervisedEncoder(model, classifier, provide("timm:imagenet_synsets"), IDENTITY, compute)


def load_features(name: ModelName, compute: Compute) -> FeatureEncoder:
    """Load a classifier of timm, or torchvision's ResNet-50, for what its last layer is given.

    Raises
    ------
    ModelNameError
        If timm has no such model, or prepares images in a way that is not supported.
    WeightsUnavailableError
        If its weights are neither cached nor available for download.
    DeviceError
        If the device or precision is not available.
    """
    if name.written == RESNET50:
        model, classifier = _resnet50()
        return FeatureEncoder(
            model, _space(RESNET50, RESNET50, classifier.in_features, _OF_RESNET50), _RESIZED, compute
        )
    timm: Any = importlib.import_module("timm")
    if not timm.is_model(name.rest) or not timm.models.is_model_pretrained(name.rest):
        near = difflib.get_close_matches(name.rest, timm.list_models(pretrained=True), n=3, cutoff=0.0)
        names = " or ".join(f"timm:{one}" for one in near)
        raise ModelNameError(f"timm has no weights called '{name.rest}'", hint=f"Did you mean {names}?")
    with offline_if_unreachable() as offline:
        try:
            model = timm.create_model(name.rest, pretrained=True, num_classes=0)
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsUnavailableError(
                f"could not load the weights of '{name.written}': {why_missing(error, offline)}",
                hint="Check the network and HF_HUB_OFFLINE.",
            ) from error
    config = timm.data.resolve_model_data_config(model)
    height, width = config["input_size"][1:]
    if config["crop_mode"] not in _RESIZE_MODES or config["interpolation"] not in ("bicubic", "bilinear"):
        raise ModelNameError(
            f"timm prepares images for '{name.rest}' in a way that is not supported", hint="Use another model."
        )
    mode = _RESIZE_MODES[config["crop_mode"]]
    preprocessing = Preprocessing((height, width), config["mean"], config["std"], config["interpolation"], mode)
    resized = math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"])
    space = _space(name.written, name.written, model.num_features, preprocessing)
    return FeatureEncoder(model, space, resized, compute)


def _space(name: str, weights: str, dim: int, preprocessing: Preprocessing) -> Space:
    return Space(name, weights, dim, "relu" if name == RESNET50 else "none", preprocessing, TextContext("none", 0))


def _resnet50() -> tuple[nn.Module, nn.Linear]:
    """Its features and its last layer. Raises WeightsUnavailableError."""
    from torchvision.models import ResNet50_Weights, resnet50

    if not is_cached() and constants.HF_HUB_OFFLINE:
        raise _unavailable("not in torch's cache, and HF_HUB_OFFLINE is set")
    try:
        state = ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise _unavailable(" ".join(str(error).split())[:200]) from error
    model: Any = resnet50(weights=None)
    model.load_state_dict(state)
    classifier, model.fc = model.fc, nn.Identity()
    return model, classifier


def is_cached() -> bool:
    """Whether the weights are in torch's cache."""
    from torchvision.models import ResNet50_Weights

    file = str(ResNet50_Weights.IMAGENET1K_V1.url).rpartition("/")[2]
    return (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file()


def _unavailable(reason: str) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"could not load the weights of '{RESNET50}': {reason}",
        hint="Check the network and HF_HUB_OFFLINE, or leave the baseline out with `baseline=False`.",
    )


def _unit_classes(classifier: nn.Linear) -> Vectors:
    weight = classifier.weight.detach().double().cpu().numpy()
    bias = classifier.bias.detach().double().cpu().numpy()
    rows = np.column_stack([weight, bias])
    squares = np.square(rows).sum(axis=1)
    return unit_rows(np.column_stack([rows, np.sqrt(np.maximum(squares.max() - squares, 0.0))]))
