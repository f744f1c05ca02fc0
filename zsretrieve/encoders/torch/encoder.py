"""The Encoder port over torch: every model that open_clip opens, on the CPU, CUDA and Apple's GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.domain.arguments import check_texts
from zsretrieve.domain.errors import DeviceError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.records import Encoding
from zsretrieve.domain.settings import Compute, Engine, Precision
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.encoders.catalog.model_name import parse_model_name
from zsretrieve.encoders.preprocessing import prepare
from zsretrieve.encoders.text.batching import BatchLimits, in_batches
from zsretrieve.encoders.text.tokenizer import Ids, InexactTokenizerError, TextTokenizer
from zsretrieve.encoders.torch import loading
from zsretrieve.encoders.torch.autocast import numerics
from zsretrieve.encoders.torch.image_tower import ImageTower
from zsretrieve.encoders.torch.patches import has_patches
from zsretrieve.encoders.torch.text_tower import TextTower, text_tower
from zsretrieve.system.devices import ALL_GPUS, gpu_numbers

# The most texts and tokens per batch. On a CPU, more tokens than keep its cores busy do not help.
_TEXT_ROWS = {"cpu": 256, "cuda": 4096, "mps": 1024}
_TEXT_TOKENS = {"cpu": 2048, "cuda": 65536, "mps": 16384}


class TorchEncoder:
    """An open_clip model behind the Encoder port.

    Parameters
    ----------
    name : str
        ``ARCH/TAG``, ``ARCH,TAG``, ``hf-hub:org/repo``, ``local-dir:PATH``, ``ARCH/CHECKPOINT`` or ``demo``.
    compute : Compute
        One device, in ``fp32``, ``bf16``, or ``auto``: bf16 on CUDA, else fp32. By default, batches hold 256 images on
        CUDA, else 64.

    Raises
    ------
    ModelNameError
        If there is no such model; the nearest names are in the hint.
    WeightsUnavailableError
        If its weights are neither cached nor available for download, or do not fit the model.
    UntrustedCodeError
        If it would run code of its own, and ``compute`` does not allow that.
    DeviceError
        If the device or precision is not available.
    """

    def __init__(self, name: str, compute: Compute | None = None) -> None:
        compute = compute or Compute()
        parsed = replace(parse_model_name(name), trusted=compute.trust_remote_code)
        self._device = resolve_device(compute.device)
        self._precision = _resolve_precision(compute.precision, self._device)
        loaded = loading.load(parsed)
        self._model = loaded.model.to(self._device)
        self._tokenizer = loaded.tokenizer
        self.space, self.head = loaded.space, loaded.head
        self.encoding = self.text_encoding = Encoding(Engine.TORCH, self._precision, str(self._device))
        cuda = self._device.type == "cuda"
        self.batch_size = compute.batch_size or (256 if cuda else 64)
        # On a GPU, the copies of one batch overlap with the work on another.
        self.concurrency = 2 if cuda and not compute.compile else 1
        compiled_batch = self.batch_size if compute.compile else None
        self._image = ImageTower(
            self._model, self.space.preprocessing, self._device, self._precision, compiled_batch=compiled_batch
        )

    def prepare(self, image: Image.Image) -> Pixels:
        """Resize and crop as open_clip does: uint8 of shape (height, width, 3).

        Raises
        ------
        ImageError
            If the image is so thin that resizing its shorter side would make it enormous.
        """
        return prepare(image, self.space.preprocessing)

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        return self._image(batch)

    @property
    def has_patches(self) -> bool:
        """Whether the image tower has vectors of patches, see ``zsretrieve.encoders.torch.patches``."""
        return has_patches(self._model.visual)

    def encode_patches(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """The vectors of patches of prepared images, see ``ImageTower.patches``."""
        return self._image.patches(batch)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        words = self._words
        if words is None:
            check_texts(texts)
            rows = _TEXT_ROWS[self._device.type]
            parts = [self._encode_plainly(texts[start : start + rows]) for start in range(0, len(texts), rows)]
            return np.concatenate([np.empty((0, self.space.dim), dtype=np.float32), *parts])
        return self._encode_ids(words, words.ids(texts), cut=self._text.causal)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        if self._words is not None:
            return self._words.counts(texts)
        if isinstance(self._tokenizer, open_clip.tokenizer.SimpleTokenizer):
            return [len(self._tokenizer.encode(text)) + 2 for text in texts]
        if not texts:
            return []
        clean = getattr(self._tokenizer, "clean_fn", lambda text: text)
        return [len(ids) for ids in self._tokenizer.tokenizer([clean(text) for text in texts]).input_ids]

    @cached_property
    def _words(self) -> TextTokenizer | None:
        """Our own tokenizer, which is fast and does not pad; None if it cannot reproduce open_clip's."""
        try:
            return TextTokenizer.from_openclip(self._tokenizer)
        except InexactTokenizerError:
            return None

    @cached_property
    def _text(self) -> TextTower:
        return text_tower(self._model, self._words.pad_id if self._words else 0).eval()

    def _encode_ids(self, words: TextTokenizer, ids: Sequence[Ids], *, cut: bool) -> Vectors:
        """Vectors of texts as tokens; with ``cut``, padded only to the longest of their batch."""
        kind = self._device.type
        limits = BatchLimits(self.space.dim, cut, _TEXT_TOKENS[kind], _TEXT_ROWS[kind])
        return in_batches(words, ids, self._encode_tokens, limits)

    def _encode_tokens(self, tokens: Ids) -> Vectors:
        with numerics(self._device, self._precision):
            features = self._text(torch.from_numpy(tokens).to(self._device))
        return self._rows_of(features.float().cpu().numpy())

    def _encode_plainly(self, texts: Sequence[str]) -> Vectors:
        tokens = self._tokenizer(list(texts)).to(self._device)
        with numerics(self._device, self._precision):
            features = self._model.encode_text(tokens)
        return self._rows_of(features.float().cpu().numpy())

    def _rows_of(self, features: Vectors) -> Vectors:
        return unit_rows(features)


def planned_encoding(compute: Compute) -> Encoding:
    """The device and precision to expect on this machine. Raises DeviceError if they are not available."""
    resolved = resolve_device(compute.device)
    return Encoding(Engine.TORCH, _resolve_precision(compute.precision, resolved), str(resolved))


def torch_devices(device: str) -> list[str]:
    """The devices that an option names, each as ``resolve_device`` takes it. Raises DeviceError."""
    if "," not in device and device != ALL_GPUS:
        return [device]
    return [f"cuda:{number}" for number in gpu_numbers(device, torch.cuda.device_count(), "torch")]


def resolve_device(device: str) -> torch.device:
    """A device of this machine; ``auto`` is the first GPU, else the CPU. Raises DeviceError if it is not available."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"'{device}' is not a device", hint="Use auto, cpu, cuda, cuda:0 or mps.") from error
    if resolved.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"the device '{device}' is not supported", hint="Use auto, cpu, cuda, cuda:0 or mps.")
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"there is no device '{device}': torch sees no Apple GPU", hint="Use `device` cpu.")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"there is no device '{device}': torch sees {torch.cuda.device_count()} GPUs", hint="Use `device` cpu."
        )
    return resolved


def _resolve_precision(precision: Precision, device: torch.device) -> Precision:
    if precision is not Precision.AUTO:
        return precision
    return Precision.BF16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else Precision.FP32
