"""The Encoder port over OpenVINO: a converted model on the CPU, without torch or open_clip."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.encoders import preprocessing
from zsretrieve.encoders.cache import locked
from zsretrieve.encoders.calibrated import Quantised
from zsretrieve.encoders.converted import COMPILED, IMAGE, TEXT, Converted
from zsretrieve.encoders.openvino_runtime import openvino
from zsretrieve.encoders.precision import cpu_best, cpu_name
from zsretrieve.encoders.text_batches import in_batches
from zsretrieve.encoders.tokenizing import Ids, TextTokenizer
from zsretrieve.errors import DeviceError
from zsretrieve.ports import Pixels
from zsretrieve.records import Encoding
from zsretrieve.vectors import Vectors, unit_rows

# What is not quantised is computed in float32: with it, int8 loses nothing more and is not slower.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_BATCH = 32
_TEXT_ROWS, _TEXT_TOKENS = 128, 2048


class OpenVinoEncoder:
    """A converted model behind the Encoder port.

    Parameters
    ----------
    model : Converted
        A model that was converted without failure.
    precision : str
        ``fp32``, ``bf16``, or ``int8`` for the picture tower.
    batch_size : int, optional
        Pictures a batch; 32 by default.
    quantised : Quantised, optional
        The picture tower in int8. Without it, int8 is for texts alone, which are few and stay as they are.
    keep_compiled : bool
        Keep the compiled text tower in the cache folder, or take it from there.

    Raises
    ------
    DeviceError
        If OpenVINO cannot run it on this machine; when a picture is to be encoded in int8, or ``encoding`` is asked
        for, also if there is no such tower.
    """

    concurrency = 1

    def __init__(
        self,
        model: Converted,
        *,
        precision: str,
        batch_size: int | None = None,
        quantised: Quantised | None = None,
        keep_compiled: bool = True,
    ) -> None:
        assert model.space is not None
        assert model.head is not None
        self.space, self.head = model.space, model.head
        for_texts = cpu_best() if precision == "int8" else precision
        self.text_encoding = Encoding("openvino", for_texts, "cpu")
        self.batch_size = batch_size or _BATCH
        self._causal = model.causal
        self._name = model.name
        self._tokenizer = TextTokenizer.load(model.folder)
        # A search from a shell waits for the text tower; a picture tower has more to do than to be compiled.
        self._image: _Tower | None = None
        if precision != "int8":
            self._encoding = self.text_encoding
            self._image = _Tower(model.folder / IMAGE, precision, cached=False)
        elif quantised is not None:
            self._encoding = replace(
                self.text_encoding, precision=precision, cosine_to_fp32=quantised.mean_cosine,
                least_cosine_to_fp32=quantised.least_cosine, calibration=quantised.digest,
            )  # fmt: skip
            # Its files may be deleted at any time, by a calibration made anew.
            self._image = _Tower(quantised.folder / IMAGE, precision, cached=False, held=True)
        self._text = _Tower(model.folder / TEXT, for_texts, cached=keep_compiled)

    @property
    def encoding(self) -> Encoding:
        self._pictures()
        return self._encoding

    def prepare(self, image: Image.Image) -> Pixels:
        """The picture at the model's size: uint8 of shape (height, width, 3). Raises ImageError if it is too thin."""
        return preprocessing.prepare(image, self.space.preprocessing)

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        return unit_rows(self._pictures()(np.stack(batch)))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, self.space.dim), dtype=np.float32)
        return in_batches(
            self._tokenizer,
            self._tokenizer.ids(texts),
            self._encode_tokens,
            dim=self.space.dim,
            causal=self._causal,
            most_tokens=_TEXT_TOKENS,
            most_rows=_TEXT_ROWS,
        )

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._tokenizer.counts(texts)

    def _pictures(self) -> _Tower:
        if self._image is None:
            raise DeviceError(
                f"{self._name} is not calibrated for int8",
                hint=f"Calibrate it on images like yours: zsretrieve models export {self._name} --int8 FOLDER",
            )
        return self._image

    def _encode_tokens(self, tokens: Ids) -> Vectors:
        return unit_rows(self._text(tokens))


class _Tower:
    """One tower, compiled when it is first called; several threads may call it at once.

    One that is ``held`` is read now, so that its files are not needed afterwards.
    """

    def __init__(self, path: Path, precision: str, *, cached: bool, held: bool = False) -> None:
        self._path = path
        self._graph = _read(path) if held else None
        self._precision = precision
        self._cached = cached
        self._lock = threading.Lock()
        self._compiled: Any = None
        self._local = threading.local()

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Features of shape (n, dim), not normalised; they belong to the caller."""
        try:
            with self._lock:
                if self._compiled is None:
                    self._compiled = _compile(self._path, self._precision, self._graph, cached=self._cached)
            request = getattr(self._local, "request", None)
            if request is None:
                request = self._local.request = self._compiled.create_infer_request()
            return np.array(request.infer([batch], share_inputs=True)[0], dtype=np.float32)
        except RuntimeError as error:
            raise _cannot_run(error) from error


def _read(path: Path) -> Any:
    try:
        return openvino.Core().read_model(str(path))
    except RuntimeError as error:
        raise _cannot_run(error) from error


def _cannot_run(error: RuntimeError) -> DeviceError:
    return DeviceError(
        f"OpenVINO cannot run the model: {' '.join(str(error).split())[-200:]}",
        hint="Use --engine torch, or clear the cache: zsretrieve models cache clear.",
    )


def _compile(path: Path, precision: str, graph: Any, *, cached: bool) -> Any:
    """Compile a tower, from its graph if it was read, and where ``cached`` through OpenVINO's own cache.

    OpenVINO writes that cache in place; so it is made in a folder beside and renamed when it is whole. Each precision
    has its own, because OpenVINO does not tell them apart. The weights are kept with it: its smaller form, which
    refers to those of the graph, fails for some graphs of dynamic shape (seen in OpenVINO 2026.4 with CoCa).
    """
    core = openvino.Core()
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
    }
    if not cached:
        return core.compile_model(str(path) if graph is None else graph, "CPU", options)
    machine = hashlib.sha256(f"{cpu_name()} {openvino.__version__}".encode()).hexdigest()[:8]
    place = path.parent / COMPILED / f"{path.stem}-{precision}-{machine}"

    def compile_with(folder: Path) -> Any:
        return core.compile_model(str(path), "CPU", {**options, "CACHE_DIR": str(folder)})

    if not place.is_dir():
        try:
            # Not the model's own lock, which is held for as long as a calibration takes.
            with locked(path.parent.with_name(f"{path.parent.name}.compiled.lock")):
                if not place.is_dir():
                    return _compile_into(place, compile_with)
        except OSError:  # a cache that cannot be written is only slower
            if not place.is_dir():
                return core.compile_model(str(path), "CPU", options)
    return compile_with(place)


def _compile_into(place: Path, compile_with: Callable[[Path], Any]) -> Any:
    place.parent.mkdir(exist_ok=True)
    for left in place.parent.glob(f"{place.name}.*"):  # of a process that was killed: this one holds the lock
        shutil.rmtree(left, ignore_errors=True)
    beside = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
    beside.mkdir()
    try:
        compiled = compile_with(beside)
        os.rename(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return compiled
