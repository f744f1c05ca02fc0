"""The tensors of a safetensors file, mapped into memory: read from disk when they are used, and not before."""

from __future__ import annotations

import contextlib
import json
import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.encoders.openvino.runtime import openvino

# What is stored of each type: bf16, which NumPy lacks, as the upper halves of float32.
_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
# Older versions of transformers stored these integers, which are 0, 1, 2 and so on.
_NO_WEIGHTS = ".position_ids"
_LONGEST_HEADER = 100_000_000


class MisfitError(Exception):
    """Weights that are not those of a model of the configuration, or a file that is not whole."""


@dataclass(frozen=True)
class Stored:
    """A tensor as it is in a file: its type there, and its values."""

    kind: str
    values: NDArray[Any]


class Weights:
    """The tensors of one or more files by name, each of which the towers of a model must use.

    Parameters
    ----------
    *paths : Path
        Safetensors files.
    renamed : callable, optional
        Gives the tensors their names and shapes in open_clip.

    Raises
    ------
    MisfitError
        If one is not a safetensors file, or not all of one.
    OSError
        If one cannot be read.
    """

    def __init__(
        self, *paths: Path, renamed: Callable[[dict[str, Stored]], dict[str, Stored]] = lambda tensors: tensors
    ) -> None:
        files = [_read(path) for path in paths]
        self._mapped = [mapped for mapped, _ in files]
        self._tensors = renamed({name: tensor for _, tensors in files for name, tensor in tensors.items()})
        self._used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises MisfitError if there is no such tensor."""
        return self._stored(name).values.shape

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A tensor in memory. Raises MisfitError unless it is there in this shape."""
        stored = self._of_shape(name, shape)
        if stored.kind == "BF16":
            return (stored.values.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(stored.values, dtype=np.float32)

    def node(self, name: str, shape: tuple[int, ...], rows: slice = slice(None)) -> Any:
        """A constant of a graph, float32, or some of its rows; its values stay in the file, in the type stored there.

        Raises MisfitError unless the tensor is there in this shape.
        """
        stored = self._of_shape(name, shape)
        values = stored.values[rows]
        if stored.kind == "F64":
            values = values.astype(np.float32)
        if stored.kind == "BF16":
            tensor = openvino.Tensor(values, list(values.shape), openvino.Type.bf16)
            constant = openvino.op.Constant(tensor, shared_memory=True)
        else:
            constant = openvino.op.Constant(values, shared_memory=True)
        if stored.kind in ("F32", "F64"):
            return constant
        return openvino.opset13.convert(constant, "f32")

    def release(self) -> None:
        """Give back the memory of what was read; what is used again is read again."""
        for mapped in self._mapped if hasattr(mmap, "MADV_DONTNEED") else ():
            with contextlib.suppress(OSError):
                mapped.madvise(mmap.MADV_DONTNEED)

    def check_all_used(self) -> None:
        """Raise MisfitError if a tensor was not used: it would belong to a model of another kind."""
        left = sorted(set(self._tensors) - self._used)
        if left:
            raise MisfitError(f"{len(left)} tensors do not belong to its configuration, such as {left[0]}")

    def _of_shape(self, name: str, shape: tuple[int, ...]) -> Stored:
        stored = self._stored(name)
        if stored.values.shape != shape:
            raise MisfitError(f"{name} has the shape {stored.values.shape}, and its configuration gives {shape}")
        self._used.add(name)
        return stored

    def _stored(self, name: str) -> Stored:
        if name not in self._tensors:
            raise MisfitError(f"there is no tensor {name}")
        return self._tensors[name]


def _read(path: Path) -> tuple[mmap.mmap, dict[str, Stored]]:
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_LONGEST_HEADER, size - 8):
                raise ValueError("its header is longer than the file")
            header: dict[str, Any] = json.loads(file.read(length))
            # A private copy, since OpenVINO takes only what may be written to; nothing writes to it.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        header.pop("__metadata__", None)
        tensors = {
            name: _tensor(mapped, 8 + length, about) for name, about in header.items() if not name.endswith(_NO_WEIGHTS)
        }
        wrapped = next(iter(tensors), "").startswith("module.")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MisfitError(f"'{path.name}' is not a whole safetensors file: {error}") from error
    # Some were saved from a model that was wrapped for training on several GPUs.
    return mapped, {name[len("module.") :] if wrapped else name: tensor for name, tensor in tensors.items()}


def _tensor(mapped: mmap.mmap, begin: int, about: Mapping[str, Any]) -> Stored:
    start, end = about["data_offsets"]
    shape, kind = tuple(int(side) for side in about["shape"]), str(about["dtype"])
    dtype = _TYPES[kind]
    if not 0 <= start <= end <= len(mapped) - begin or end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor of the shape {shape} does not fit into it")
    return Stored(kind, np.frombuffer(mapped, dtype, math.prod(shape), begin + start).reshape(shape))
