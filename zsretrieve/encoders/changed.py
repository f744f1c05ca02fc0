"""A model of which one thing at a time is changed, to see what that does to a figure; for nothing else."""

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

from zsretrieve.encoders.preprocessing import prepare
from zsretrieve.encoders.torch_openclip import TorchEncoder
from zsretrieve.images import resized_size
from zsretrieve.ports import Pixels
from zsretrieve.records import Preprocessing
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.explain import DoesNotApplyError

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LOWERS = frozenset({"lower", "canonicalize"})
_STRIPS = frozenset({"canonicalize"})
_KINDS_OF_GELU = frozenset({"GELU", "GELUTanh", "QuickGELU"})


class ChangedEncoder(TorchEncoder):
    """``TorchEncoder`` with ``changed``. While nothing is changed it is one. Parameters are the same."""

    def __init__(
        self, name: str, *, device: str = "auto", precision: str = "fp32", batch_size: int | None = None
    ) -> None:
        super().__init__(name, device=device, precision=precision, batch_size=batch_size)
        self._preprocessing: Preprocessing = self.space.preprocessing
        self._antialias = True
        self._clean: Callable[[str], str] | None = None
        self._cut = False

    @contextlib.contextmanager
    def changed(self, change: str) -> Iterator[str]:
        """Change one of ``explain.CHANGES`` for as long as the context lasts; gives words for it.

        Raises
        ------
        DoesNotApplyError
            If the model has no room for it; the message says why.
        """
        before = self.__dict__.copy()
        with contextlib.ExitStack() as changes:
            changes.callback(self.__dict__.update, {name: before[name] for name in _CHANGED})
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
                    yield self._write(change)
                case "padding":
                    yield self._pad()
                case _:
                    raise DoesNotApplyError(f"'{change}' is no change")

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

    def _write(self, change: str) -> str:
        words = self._words
        if words is None:
            raise DoesNotApplyError("its tokenizer cannot be told to leave texts as they are")
        lowers, strips = words.clean in _LOWERS, words.clean in _STRIPS
        if change == "case":
            lowers = not lowers
            told = "texts made lower case" if lowers else "case of texts kept"
        else:
            strips = not strips
            told = "punctuation of texts removed" if strips else "punctuation of texts kept"

        def clean(text: str) -> str:
            text = text.replace("_", " ").translate(_NO_PUNCTUATION) if strips else text
            return text.lower() if lowers else text

        self._clean = clean
        return told

    def _pad(self) -> str:
        if self._words is None or not hasattr(self._model, "text"):
            raise DoesNotApplyError("its texts cannot be given with less padding")
        if self._text.causal:
            raise DoesNotApplyError("its text tower sees nothing of the padding behind a text")
        self._cut = True
        return f"texts padded to the longest of their batch instead of {self.space.text.context_length} tokens"


_CHANGED = ("_preprocessing", "_antialias", "_clean", "_cut")


def _without_antialiasing(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resized from the nearest pixels alone, however small it becomes; RGB."""
    width, height = resized_size(image.size, preprocessing)
    if (width, height) == image.size:
        return image
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
    made = F.interpolate(
        pixels, (height, width), mode=preprocessing.interpolation, align_corners=False, antialias=False
    )
    return Image.fromarray(made[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


@contextlib.contextmanager
def _other_activation(model: Any) -> Iterator[str]:
    """QuickGELU in place of every GELU of a model, or GELU in place of every QuickGELU."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child).__name__ in _KINDS_OF_GELU
    ]
    if not found:
        raise DoesNotApplyError("it has no GELU of either kind")
    quick = any(isinstance(child, QuickGELU) for _, _, child in found)
    try:
        for parent, name, _ in found:
            setattr(parent, name, nn.GELU() if quick else QuickGELU())
        yield "GELU instead of QuickGELU" if quick else "QuickGELU instead of GELU"
    finally:
        for parent, name, child in found:
            setattr(parent, name, child)
