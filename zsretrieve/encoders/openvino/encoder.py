"""The Encoder port over OpenVINO: a converted model without torch or open_clip, on the CPU, and for images on Intel's
GPUs and NPUs.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.domain.errors import DeviceError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.records import Encoding
from zsretrieve.domain.settings import Compute, Engine, Precision
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.encoders import preprocessing
from zsretrieve.encoders.choosing import openvino_device, openvino_precision
from zsretrieve.encoders.openvino.int8_cache import Int8Tower
from zsretrieve.encoders.openvino.model_cache import COMPILED, IMAGE, TEXT, ConvertedModel
from zsretrieve.encoders.openvino.runtime import openvino, runs_bf16
from zsretrieve.encoders.text.batching import BatchLimits, in_batches
from zsretrieve.encoders.text.tokenizer import Ids, TextTokenizer
from zsretrieve.system.cache_dir import locked, part_of
from zsretrieve.system.hardware import cpu_best, cpu_name

# What is not quantised is computed in float32, which costs int8 no time and no accuracy.
_HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16", Precision.FP16: "f16", Precision.INT8: "f32"}
# OpenVINO's names of devices.
DEVICES = {"cpu": "CPU", "intel-gpu": "GPU", "intel-npu": "NPU"}
_BATCH = 32
_TEXT_ROWS, _TEXT_TOKENS = 128, 2048


class OpenVinoEncoder:
    """A converted model behind the Encoder port.

    Parameters
    ----------
    model : ConvertedModel
        A model that was converted without failure.
    compute : Compute
        Device and precision: bf16 is fp32 on a processor without it. Texts are encoded on the CPU, and in its best
        precision if that of images is fp16 or int8. By default, batches hold 32 images.
    int8_tower : Int8Tower, optional
        The image tower in int8. Without it, an encoder in int8 only encodes texts, which are not quantised.
    cache_compiled : bool
        Keep the compiled text tower in the cache folder, and load it from there.

    Raises
    ------
    DeviceError
        If OpenVINO cannot run it on this machine, or its weights are in bf16 and another precision is wanted. In int8
        without a tower, ``encoding`` and ``encode_prepared`` raise it.
    """

    concurrency = 1

    def __init__(
        self,
        model: ConvertedModel,
        compute: Compute,
        *,
        int8_tower: Int8Tower | None = None,
        cache_compiled: bool = True,
    ) -> None:
        assert model.space is not None
        assert model.head is not None
        self.space, self.head = model.space, model.head
        device, precision = openvino_device(compute), openvino_precision(compute)
        if model.half and compute.precision is Precision.AUTO and device == "cpu":
            precision = Precision.BF16
        if model.half and precision is not Precision.BF16:
            raise DeviceError(
                f"the weights of {model.name} are stored in bf16, so it has no {precision}",
                hint=f"Use {'`precision` bf16' if device == 'cpu' else '`device` cpu'}, "
                "or a pack that was made without `half`.",
            )
        if precision is Precision.BF16 and not runs_bf16():
            precision = Precision.FP32
        for_texts = cpu_best() if precision in (Precision.FP16, Precision.INT8) else precision
        # Rounded weights do not become exact where the processor computes with them in fp32.
        self.text_encoding = Encoding(Engine.OPENVINO, Precision.BF16 if model.half else for_texts, "cpu")
        self.batch_size = compute.batch_size or _BATCH
        self._limits = BatchLimits(self.space.dim, model.causal, _TEXT_TOKENS, _TEXT_ROWS)
        self._name = model.name
        self._tokenizer = TextTokenizer.load(model.folder)
        # Only the text tower is cached compiled: searches from the shell wait for it.
        self._image: _Tower | None = None
        if device != "cpu":
            self._encoding = replace(self.text_encoding, precision=precision, device=device)
            # NPUs take batches of one size alone, and GPUs compile for each.
            self._image = _Tower(model.folder / IMAGE, precision, cached=False, device=device, rows=self.batch_size)
        elif precision is not Precision.INT8:
            self._encoding = self.text_encoding
            self._image = _Tower(model.folder / IMAGE, precision, cached=False)
        elif int8_tower is not None:
            self._encoding = replace(
                self.text_encoding,
                precision=precision,
                cosine_to_fp32=int8_tower.mean_cosine,
                least_cosine_to_fp32=int8_tower.least_cosine,
                calibration=int8_tower.digest,
            )
            # A new calibration may delete its files at any time.
            self._image = _Tower(int8_tower.folder / IMAGE, precision, cached=False, preload=True)
        self._text = _Tower(model.folder / TEXT, for_texts, cached=cache_compiled)

    @property
    def encoding(self) -> Encoding:
        self._image_tower()
        return self._encoding

    def prepare(self, image: Image.Image) -> Pixels:
        """The image at the model's size: uint8 of shape (height, width, 3). Raises ImageError if it is too thin."""
        return preprocessing.prepare(image, self.space.preprocessing)

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        return unit_rows(self._image_tower()(np.stack(batch)))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, self.space.dim), dtype=np.float32)
        return in_batches(self._tokenizer, self._tokenizer.ids(texts), self._encode_tokens, self._limits)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._tokenizer.counts(texts)

    def _image_tower(self) -> _Tower:
        if self._image is None:
            raise DeviceError(
                f"{self._name} is not calibrated for int8",
                hint=f"Calibrate it on images like yours: zsretrieve models export {self._name} --int8 FOLDER",
            )
        return self._image

    def _encode_tokens(self, tokens: Ids) -> Vectors:
        return unit_rows(self._text(tokens))


class _Tower:
    """One tower, compiled on the first call; several threads may call it at once.

    With ``preload`` it does not need its files any more. With ``rows`` it computes in batches of that size alone.
    """

    def __init__(
        self,
        path: Path,
        precision: Precision,
        *,
        cached: bool,
        preload: bool = False,
        device: str = "cpu",
        rows: int | None = None,
    ) -> None:
        self._path = path
        self._graph = _read(path, rows) if preload or rows is not None else None
        self._device = DEVICES[device]
        self._rows = rows
        self._precision = precision
        self._cached = cached
        self._lock = threading.Lock()
        self._compiled: Any = None
        self._local = threading.local()

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Features of shape (n, dim), not normalised; they belong to the caller."""
        if self._rows is None:
            return self._infer(batch)
        parts = []
        for start in range(0, len(batch), self._rows):
            part = batch[start : start + self._rows]
            filled = np.zeros((self._rows, *batch.shape[1:]), dtype=batch.dtype)
            filled[: len(part)] = part
            parts.append(self._infer(filled)[: len(part)])
        return np.concatenate(parts)

    def _infer(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        try:
            with self._lock:
                if self._compiled is None:
                    self._compiled = _compile(
                        self._path, self._precision, self._graph, self._device, cached=self._cached
                    )
            request = getattr(self._local, "request", None)
            if request is None:
                request = self._local.request = self._compiled.create_infer_request()
            return np.array(request.infer([batch], share_inputs=True)[0], dtype=np.float32)
        except RuntimeError as error:
            raise _cannot_run(error) from error


def _read(path: Path, rows: int | None = None) -> Any:
    """The graph of a tower, for batches of any size or of one."""
    try:
        graph = openvino.Core().read_model(str(path))
        if rows is not None:
            shape = graph.input(0).partial_shape
            shape[0] = rows
            graph.reshape(shape)
        return graph
    except RuntimeError as error:
        raise _cannot_run(error) from error


def _cannot_run(error: RuntimeError) -> DeviceError:
    return DeviceError(
        f"OpenVINO cannot run the model: {' '.join(str(error).split())[-200:]}",
        hint="Use `device` cpu or `engine` torch, or clear the cache: zsretrieve models cache clear.",
    )


def _compile(path: Path, precision: Precision, graph: Any, device: str, *, cached: bool) -> Any:
    """Compile a tower, from its graph if it was read, and with ``cached`` through OpenVINO's own cache.

    OpenVINO writes its cache in place, so it is written in a folder beside and renamed. Each precision has its own,
    because OpenVINO confuses them. It includes the weights: the smaller form, which refers to those of the graph, fails
    for some graphs of dynamic shape (seen in OpenVINO 2026.4 with CoCa).
    """
    core = openvino.Core()
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    if not cached:
        return core.compile_model(str(path) if graph is None else graph, device, options)
    machine = hashlib.sha256(f"{cpu_name()} {openvino.__version__}".encode()).hexdigest()[:8]
    place = path.parent / COMPILED / f"{path.stem}-{precision}-{machine}"

    def compile_with(folder: Path) -> Any:
        return core.compile_model(str(path), device, {**options, "CACHE_DIR": str(folder)})

    if not place.is_dir():
        try:
            # Not the model's own lock, which a calibration holds for minutes.
            with locked(path.parent.with_name(f"{path.parent.name}.compiled.lock")):
                if not place.is_dir():
                    place.parent.mkdir(exist_ok=True)
                    with part_of(place) as part:
                        compiled = compile_with(part)
                        part.rename(place)
                    return compiled
        except OSError:  # without a cache it is only slower
            if not place.is_dir():
                return core.compile_model(str(path), device, options)
    return compile_with(place)
