"""The Encoder port over torch and open_clip: every model that open_clip opens, on CPU and CUDA."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import open_clip
import torch
from PIL import Image

from zsretrieve.encoders import openclip
from zsretrieve.encoders.naming import parse_model_name
from zsretrieve.encoders.text_batches import in_batches
from zsretrieve.encoders.text_tower import TextTower, text_tower
from zsretrieve.encoders.tokenizing import Ids, InexactTokenizerError, TextTokenizer
from zsretrieve.errors import DeviceError, ImageError
from zsretrieve.ports import Pixels
from zsretrieve.records import Encoding
from zsretrieve.vectors import Vectors, unit_rows

PRECISIONS = ("auto", "fp32", "bf16")
# The most texts and tokens a batch of texts holds. A CPU gains nothing by more tokens than keep its cores busy.
_TEXT_ROWS = {"cpu": 256, "cuda": 4096}
_TEXT_TOKENS = {"cpu": 2048, "cuda": 65536}
# At 224 pixels this side ratio makes a picture of 30 MB on its way to the crop.
_MAX_ASPECT = 200


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
        self, name: str, *, device: str = "auto", precision: str = "auto", batch_size: int | None = None
    ) -> None:
        parsed = parse_model_name(name)
        self._device = resolve_device(device)
        self._precision = _resolve_precision(precision, self._device)
        loaded = openclip.load(parsed)
        self._model = loaded.model.to(self._device)
        self._tokenizer = loaded.tokenizer
        config = open_clip.transform.PreprocessCfg(**self._model.visual.preprocess_cfg)
        self._preprocess = open_clip.transform.image_transform_v2(config, is_train=False)
        self.space, self.head = loaded.space, loaded.head
        self.encoding = Encoding("torch", self._precision, str(self._device))
        self.batch_size = batch_size or (256 if self._device.type == "cuda" else 64)

    def prepare(self, image: Image.Image) -> Pixels:
        """open_clip's own preprocessing: float32 of shape (3, height, width).

        Raises
        ------
        ImageError
            If the picture is so thin that resizing its shorter side would make it enormous.
        """
        shorter, longer = sorted(image.size)
        if self.space.preprocessing.resize_mode == "shortest" and longer > _MAX_ASPECT * shorter:
            raise ImageError(f"too thin to be resized: {image.width} x {image.height} pixels")
        pixels: Pixels = self._preprocess(image).numpy()
        return pixels

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        images = torch.from_numpy(np.stack(batch)).to(self._device)
        with self._numerics():
            vectors = self._model.encode_image(images)
        return unit_rows(vectors.float().cpu().numpy())

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        rows, words = _TEXT_ROWS[self._device.type], self._words
        if words is None:
            parts = [self._encode_plainly(texts[start : start + rows]) for start in range(0, len(texts), rows)]
            return np.concatenate([np.empty((0, self.space.dim), dtype=np.float32), *parts])
        return in_batches(
            words,
            words.ids(texts),
            self._encode_tokens,
            dim=self.space.dim,
            causal=self._text.causal,
            most_tokens=_TEXT_TOKENS[self._device.type],
            most_rows=rows,
        )

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

    def _encode_tokens(self, tokens: Ids) -> Vectors:
        with self._numerics():
            features = self._text(torch.from_numpy(tokens).to(self._device))
        return unit_rows(features.float().cpu().numpy())

    def _encode_plainly(self, texts: Sequence[str]) -> Vectors:
        tokens = self._tokenizer(list(texts)).to(self._device)
        with self._numerics():
            features = self._model.encode_text(tokens)
        return unit_rows(features.float().cpu().numpy())

    @contextlib.contextmanager
    def _numerics(self) -> Iterator[None]:
        """No gradients; bf16 by autocast; in fp32 no TF32, which cuDNN would otherwise use without a word.

        ``no_grad`` rather than ``inference_mode``, under which autocast does not cache its casts of the weights.
        """
        with torch.no_grad(), contextlib.ExitStack() as stack:
            if self._precision == "bf16":
                stack.enter_context(torch.autocast(self._device.type, dtype=torch.bfloat16))
            elif self._device.type == "cuda":
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            try:
                yield
            except torch.OutOfMemoryError as error:
                raise DeviceError(
                    f"the device '{self._device}' is out of memory",
                    hint="Give a smaller --batch-size, or --device cpu.",
                ) from error


def automatic_encoding() -> Encoding:
    """What ``auto`` for device and precision becomes on this machine."""
    device = resolve_device("auto")
    return Encoding("torch", _resolve_precision("auto", device), str(device))


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
