"""The Encoder port over torch and open_clip: every model that open_clip opens, on CPU and CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import open_clip
import torch
from PIL import Image

from zsretrieve.devices import ALL_GPUS, gpu_numbers
from zsretrieve.encoders import openclip
from zsretrieve.encoders.naming import parse_model_name
from zsretrieve.encoders.preprocessing import prepare
from zsretrieve.encoders.text_batches import in_batches
from zsretrieve.encoders.text_tower import TextTower, text_tower
from zsretrieve.encoders.tokenizing import Ids, InexactTokenizerError, TextTokenizer
from zsretrieve.encoders.torch_numerics import numerics
from zsretrieve.encoders.torch_pictures import PictureTower
from zsretrieve.errors import DeviceError
from zsretrieve.ports import Pixels
from zsretrieve.records import Encoding
from zsretrieve.vectors import Vectors, unit_rows

PRECISIONS = ("auto", "fp32", "bf16")
# The most texts and tokens a batch of texts holds. A CPU gains nothing by more tokens than keep its cores busy.
_TEXT_ROWS = {"cpu": 256, "cuda": 4096}
_TEXT_TOKENS = {"cpu": 2048, "cuda": 65536}


class TorchEncoder:
    """An open_clip model behind the Encoder port.

    Parameters
    ----------
    name : str
        ``ARCH/TAG``, ``ARCH,TAG``, ``hf-hub:org/repo``, ``local-dir:PATH``, ``ARCH/CHECKPOINT`` or ``demo``.
    device : str
        ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    precision : str
        ``fp32``, ``bf16``, or ``auto``: bf16 on CUDA, fp32 on the CPU.
    batch_size : int, optional
        Pictures a batch; 64 on the CPU and 256 on CUDA by default.
    compiled : bool
        Run the picture tower through ``torch.compile``, which takes a minute before the first batch.

    Raises
    ------
    ModelNameError
        If there is no such model; the nearest names are in the hint.
    WeightsUnavailableError
        If its weights are neither cached nor to be downloaded, or do not fit the model.
    DeviceError
        If the device or precision is not there.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        compiled: bool = False,
    ) -> None:
        parsed = parse_model_name(name)
        self._device = resolve_device(device)
        self._precision = _resolve_precision(precision, self._device)
        loaded = openclip.load(parsed)
        self._model = loaded.model.to(self._device)
        self._tokenizer = loaded.tokenizer
        self.space, self.head = loaded.space, loaded.head
        self.encoding = self.text_encoding = Encoding("torch", self._precision, str(self._device))
        cuda = self._device.type == "cuda"
        self.batch_size = batch_size or (256 if cuda else 64)
        # On a GPU the copies of one batch hide behind the work on another.
        self.concurrency = 2 if cuda and not compiled else 1
        self._pictures = PictureTower(
            self._model, self.space.preprocessing, self._device, self._precision,
            full_batch=self.batch_size, compiled=compiled,
        )  # fmt: skip

    def prepare(self, image: Image.Image) -> Pixels:
        """Resize and crop as open_clip does: uint8 of shape (height, width, 3).

        Raises
        ------
        ImageError
            If the picture is so thin that resizing its shorter side would make it enormous.
        """
        return prepare(image, self.space.preprocessing)

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        return self._pictures(batch)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        words = self._words
        if words is None:
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
        """Our own tokenizer, which is quick and does not pad; None where only open_clip's gives its tokens."""
        try:
            return TextTokenizer.from_openclip(self._tokenizer)
        except InexactTokenizerError:
            return None

    @cached_property
    def _text(self) -> TextTower:
        return text_tower(self._model, self._words.pad_id if self._words else 0).eval()

    def _encode_ids(self, words: TextTokenizer, ids: Sequence[Ids], *, cut: bool) -> Vectors:
        """Vectors of texts as tokens; with ``cut``, padded no further than the longest of their batch."""
        kind = self._device.type
        return in_batches(
            words, ids, self._encode_tokens, dim=self.space.dim, causal=cut, most_tokens=_TEXT_TOKENS[kind],
            most_rows=_TEXT_ROWS[kind],
        )  # fmt: skip

    def _encode_tokens(self, tokens: Ids) -> Vectors:
        with numerics(self._device, self._precision):
            features = self._text(torch.from_numpy(tokens).to(self._device))
        return unit_rows(features.float().cpu().numpy())

    def _encode_plainly(self, texts: Sequence[str]) -> Vectors:
        tokens = self._tokenizer(list(texts)).to(self._device)
        with numerics(self._device, self._precision):
            features = self._model.encode_text(tokens)
        return unit_rows(features.float().cpu().numpy())


def planned_encoding(device: str, precision: str) -> Encoding:
    """What device and precision become on this machine. Raises DeviceError if they are not there."""
    resolved = resolve_device(device)
    return Encoding("torch", _resolve_precision(precision, resolved), str(resolved))


def torch_devices(device: str) -> list[str]:
    """The devices that an option names, each as ``resolve_device`` takes it. Raises DeviceError."""
    if "," not in device and device != ALL_GPUS:
        return [device]
    return [f"cuda:{number}" for number in gpu_numbers(device, torch.cuda.device_count(), "torch")]


def resolve_device(device: str) -> torch.device:
    """``auto`` to a device of this machine. Raises DeviceError if the one asked for is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"'{device}' is not a device", hint="Use auto, cpu, cuda or cuda:0.") from error
    if resolved.type not in ("cpu", "cuda"):
        raise DeviceError(f"the device '{device}' is not supported", hint="Use auto, cpu, cuda or cuda:0.")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"there is no device '{device}': torch sees {torch.cuda.device_count()} GPUs", hint="Use --device cpu."
        )
    return resolved


def _resolve_precision(precision: str, device: torch.device) -> str:
    if precision not in PRECISIONS:
        raise DeviceError(f"'{precision}' is not a precision", hint=f"Use {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
