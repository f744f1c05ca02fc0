"""A model in which one thing at a time is changed, to measure its effect on a figure."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from open_clip.transformer import QuickGELU
from PIL import Image
from torch import nn
from torch.nn import functional as F

from zsretrieve.domain.errors import DoesNotApplyError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.records import Preprocessing
from zsretrieve.domain.settings import Compute
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.preprocessing import prepare
from zsretrieve.encoders.torch.encoder import TorchEncoder
from zsretrieve.images.decoding import resized_size

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LOWERS = frozenset({"lower", "canonicalize"})
_STRIPS = frozenset({"canonicalize"})
_KINDS_OF_GELU = frozenset({"GELU", "GELUTanh", "QuickGELU"})


class AblatedEncoder(TorchEncoder):
    """``TorchEncoder`` with ``ablate``; the parameters are the same."""

    def __init__(self, name: str, compute: Compute) -> None:
        super().__init__(name, compute)
        self._preprocessing: Preprocessing = self.space.preprocessing
        self._antialias = True
        self._clean: Callable[[str], str] | None = None
        self._cut = False
        self._raw = False

    @contextlib.contextmanager
    def ablate(self, change: str) -> Iterator[str]:
        """Apply one of ``reproduction.ablation.CHANGES``, or ``normalisation``, within the context, which yields its
        description.

        Raises
        ------
        DoesNotApplyError
            If it does not apply to the model; the message says why.
        """
        before = self.__dict__.copy()
        with contextlib.ExitStack() as changes:
            changes.callback(self.__dict__.update, {name: before[name] for name in _SWITCHES})
            match change:
                case "resizing":
                    yield self._resize()
                case "interpolation":
                    yield self._interpolate()
                case "antialiasing":
                    self._antialias = False
                    yield "resized without antialiasing, as tensors often are"
                case "activation":
                    yield changes.enter_context(_other_activation(self._model))
                case "case" | "punctuation":
                    yield self._clean_otherwise(change)
                case "padding":
                    yield self._pad()
                case "normalisation":
                    self._raw = True
                    yield "vectors of texts not normalised"
                case _:
                    raise DoesNotApplyError(f"'{change}' is not one of the changes")

    def prepare(self, image: Image.Image) -> Pixels:
        resized = image if self._antialias else _without_antialiasing(image, self._preprocessing)
        return prepare(resized, self._preprocessing)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        words = self._words
        if words is None or not (self._clean or self._cut):
            return super().encode_texts(texts)
        if self._clean is not None:
            words = replace(words, clean="whitespace")
            texts = [self._clean(text) for text in texts]
        return self._encode_ids(words, words.ids(texts), cut=self._cut or self._text.causal)

    def _rows_of(self, features: Vectors) -> Vectors:
        return features if self._raw else super()._rows_of(features)

    def _resize(self) -> str:
        mode = self._preprocessing.resize_mode
        other = "shortest" if mode == "squash" else "squash"
        self._preprocessing = replace(self._preprocessing, resize_mode=other)
        named = {"squash": "squashed to a square", "shortest": "cropped to the middle", "longest": "padded"}
        return f"{named[other]} instead of {named[mode]}"

    def _interpolate(self) -> str:
        mode = self._preprocessing.interpolation
        other = "bicubic" if mode == "bilinear" else "bilinear"
        self._preprocessing = replace(self._preprocessing, interpolation=other)
        return f"{other} instead of {mode}"

    def _clean_otherwise(self, change: str) -> str:
        words = self._words
        if words is None:
            raise DoesNotApplyError("its tokenizer has its own way of cleaning texts")
        lowers, strips = words.clean in _LOWERS, words.clean in _STRIPS
        if change == "case":
            lowers = not lowers
            description = "texts in lower case" if lowers else "case of texts kept"
        else:
            strips = not strips
            description = "punctuation of texts removed" if strips else "punctuation of texts kept"

        def clean(text: str) -> str:
            text = text.replace("_", " ").translate(_NO_PUNCTUATION) if strips else text
            return text.lower() if lowers else text

        self._clean = clean
        return description

    def _pad(self) -> str:
        if self._words is None or not hasattr(self._model, "text"):
            raise DoesNotApplyError("its texts cannot be padded less")
        if self._text.causal:
            raise DoesNotApplyError("its text tower does not see the padding after a text")
        self._cut = True
        return f"texts padded to the longest of their batch instead of {self.space.text.context_length} tokens"


_SWITCHES = ("_preprocessing", "_antialias", "_clean", "_cut", "_raw")


def _without_antialiasing(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resized from the nearest pixels alone, however small the result; RGB."""
    width, height = resized_size(image.size, preprocessing)
    if (width, height) == image.size:
        return image
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
    resized = F.interpolate(
        pixels, (height, width), mode=preprocessing.interpolation, align_corners=False, antialias=False
    )
    return Image.fromarray(resized[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


@contextlib.contextmanager
def _other_activation(model: Any) -> Iterator[str]:
    """QuickGELU in place of every GELU of a model, or GELU in place of every QuickGELU."""
    activations = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child).__name__ in _KINDS_OF_GELU
    ]
    if not activations:
        raise DoesNotApplyError("it has no GELU of either kind")
    quick = any(isinstance(child, QuickGELU) for _, _, child in activations)
    try:
        for parent, name, _ in activations:
            setattr(parent, name, nn.GELU() if quick else QuickGELU())
        yield "GELU instead of QuickGELU" if quick else "QuickGELU instead of GELU"
    finally:
        for parent, name, child in activations:
            setattr(parent, name, child)
