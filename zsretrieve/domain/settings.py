"""What a caller wants of a model and of the files it reads, as values that travel through every floor."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, TypeVar

from zsretrieve.domain.arguments import Between, check_fields
from zsretrieve.domain.errors import DeviceError
from zsretrieve.domain.records import Encoding

# Scores at which two images count as the same: hits that a search with dedup leaves out, and groups of duplicates,
# which people look at before they delete anything.
DEDUP_SCORE, DUPLICATE_SCORE = 0.98, 0.95
# An image of so many pixels takes more memory than any machine has.
MOST_PIXELS = 10**12
# How a manifest names the ways of decoding.
EXACT, FAST = "exact", "fast"
_DEVICE = re.compile(r"auto|cpu|intel-gpu|intel-npu|mps|cuda:all|cuda(:\d+)?(\s*,\s*cuda(:\d+)?)*")
DEVICES_HINT = "Use auto, cpu, cuda, cuda:0, cuda:0,cuda:1, cuda:all, mps, intel-gpu or intel-npu."


class Precision(StrEnum):
    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


class Engine(StrEnum):
    AUTO = "auto"
    OPENVINO = "openvino"
    TORCH = "torch"


class Form(StrEnum):
    """The form of vectors that other programs read or wrote."""

    CLIP_RETRIEVAL = "clip-retrieval"
    NPY = "npy"
    PARQUET = "parquet"
    MILVUS = "milvus"
    LANCEDB = "lancedb"
    QDRANT = "qdrant"


class AnnotationForm(StrEnum):
    """The program or convention that annotations are written for."""

    LABEL_STUDIO = "label-studio"
    COCO = "coco"
    YOLO = "yolo"
    CVAT = "cvat"
    CSV = "csv"
    FIFTYONE = "fiftyone"


# Intel's devices, which run images in OpenVINO, and the precisions that each has.
INTEL = {
    "intel-gpu": (Precision.AUTO, Precision.FP16, Precision.FP32),
    "intel-npu": (Precision.AUTO, Precision.FP16),
}


@dataclass(frozen=True)
class Compute:
    """Where and how a model runs.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N``, several GPUs (``cuda:0,cuda:1``), ``cuda:all``, and what ``auto`` never
        chooses: ``mps`` (Apple), ``intel-gpu`` or ``intel-npu``.
    precision : Precision or str
        ``auto`` (bf16 where the hardware has it, else fp32; fp16 on Intel's devices), ``fp32``, ``bf16``, ``fp16``
        (Intel's devices) or ``int8`` (calibrated on images).
    engine : Engine or str
        ``auto`` (torch on a GPU, OpenVINO on the CPU and Intel's devices), ``torch`` or ``openvino``.
    batch_size : int, optional
        Images per batch; by default what the engine prefers.
    compile : bool
        Run the image tower through ``torch.compile``: a minute at the start that pays off in long jobs on a GPU.
    trust_remote_code : bool
        Let Python code that comes with the model run; models that ask for it are refused otherwise.

    Raises
    ------
    DeviceError
        If a value is unknown, or no engine can do what they ask for together.
    """

    device: str = "auto"
    precision: Precision = Precision.AUTO
    engine: Engine = Engine.AUTO
    batch_size: Annotated[int, Between(1, 4096)] | None = None
    compile: bool = False
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", _member(Precision, self.precision, "a precision"))
        object.__setattr__(self, "engine", _member(Engine, self.engine, "an engine"))
        check_fields(self)
        if self.device.startswith("cpu:"):  # torch takes it, and it would mean another engine than cpu
            raise DeviceError(f"'{self.device}' is not a device", hint="Use cpu, which uses all cores.")
        if not _DEVICE.fullmatch(self.device):
            raise DeviceError(f"'{self.device}' is not a device", hint=DEVICES_HINT)
        if self.compile:
            self._refuse_compile()
        if self.precision is Precision.INT8:
            self._refuse_int8()
        if self.device in INTEL:
            self._check_intel(INTEL[self.device])
        elif self.precision is Precision.FP16:
            raise DeviceError(
                f"fp16 runs on {' and '.join(INTEL)}, not on '{self.device}'", hint="Use `precision` bf16 or fp32."
            )
        elif self.engine is Engine.OPENVINO and self.device not in ("auto", "cpu"):
            raise DeviceError(
                f"the engine openvino runs on the CPU, not on '{self.device}'",
                hint="Leave out `engine`, or use `device` cpu, intel-gpu or intel-npu.",
            )

    def _check_intel(self, precisions: tuple[Precision, ...]) -> None:
        if self.engine is Engine.TORCH:
            raise DeviceError(f"'{self.device}' runs in openvino, not in 'torch'", hint="Leave out `engine`.")
        if self.precision not in precisions:
            raise DeviceError(
                f"'{self.device}' does not compute in {self.precision}",
                hint=f"Use `precision` {' or '.join(precisions)}.",
            )

    def _refuse_compile(self) -> None:
        if self.engine is Engine.OPENVINO or self.device in INTEL:
            raise DeviceError(
                "the engine openvino does not run through torch.compile",
                hint="Leave out `compile`, or use `engine` torch on another device.",
            )
        if self.precision is Precision.INT8:
            raise DeviceError(
                "int8 runs in OpenVINO, not through torch.compile",
                hint="Leave out `compile`, or use another `precision`.",
            )

    def _refuse_int8(self) -> None:
        if self.engine is Engine.TORCH:
            raise DeviceError(
                "int8 runs in openvino on the CPU, not in 'torch'",
                hint="Leave out `engine`, or use `precision` bf16.",
            )
        if self.device not in ("auto", "cpu"):
            raise DeviceError(
                f"int8 runs in openvino on the CPU, not on '{self.device}'",
                hint="Leave out `device`, or use `precision` bf16.",
            )


@dataclass(frozen=True)
class Reading:
    """How image files are read.

    Parameters
    ----------
    exif : bool
        Turn images upright by their EXIF orientation; the published papers did not.
    strict : bool
        Raise SkippedInputError at the first image that cannot be used, instead of skipping it.
    max_pixels : int, optional
        Skip larger images; by default the limit follows from the free memory.
    fast : bool
        Decode large JPEG files at a fraction of their size that is enough for the model; vectors change a little.
    workers : int, optional
        Decoding threads; by default one for each processor this process may use.
    """

    exif: bool = True
    strict: bool = False
    max_pixels: Annotated[int, Between(1, MOST_PIXELS)] | None = None
    fast: bool = False
    workers: Annotated[int, Between(1, 1024)] | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def decoding(self) -> str:
        """How a manifest names this way of decoding."""
        return FAST if self.fast else EXACT

    def as_for(self, encoding: Encoding) -> Reading:
        """The same, with images turned and decoded as they were for vectors computed before."""
        return replace(self, exif=encoding.exif, fast=encoding.decoding == FAST)


@dataclass(frozen=True)
class Cluster:
    """A cluster of Ray to work on.

    Parameters
    ----------
    address : str
        ``HOST:PORT`` of its head; ``auto`` for the one that this machine belongs to, or that ``RAY_ADDRESS`` names;
        ``local`` to start one on this machine alone, for as long as the work takes.
    storage : str, optional
        A folder that every node mounts under the same path, or a URL of fsspec, for what the nodes make; by default it
        is kept inside the output, which must then be on such storage.
    """

    address: str = "auto"
    storage: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Shards:
    """How a gallery is spread over a cluster of Ray to be searched.

    Parameters
    ----------
    cluster : Cluster
    count : int
        Parts of nearly equal size, each held by a process of its own.
    replicas : int
        Processes that hold each part, on different nodes: for lost nodes, and for more searches at once.
    deadline_s : float
        How long a search waits for the shards, in seconds.
    partial : bool
        Whether a search goes on without the parts that do not answer, and states how many images it could not compare.
        Otherwise it raises MissingRowsError.
    """

    cluster: Cluster = field(default_factory=Cluster)
    count: Annotated[int, Between(1, 4096)] = 4
    replicas: Annotated[int, Between(1, 64)] = 1
    deadline_s: Annotated[float, Between(0.1, 3600)] = 5.0
    partial: bool = True

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Choice:
    """Which files of a source are taken, by globs in which ``*`` matches ``/`` too.

    A glob without a slash is compared with each name in a path, one with a slash with the path below the source's root.

    Parameters
    ----------
    exclude : tuple of str
        Files and folders that are left out.
    include : tuple of str
        Files and folders that are taken although they would be left out: by ``exclude``, as hidden, as a folder that a
        program keeps for itself, or because a file is not named like an image.
    """

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()

    @classmethod
    def of(cls, exclude: str | Iterable[str], include: str | Iterable[str]) -> Choice:
        """The choice that a caller means; a single glob may be given as it is."""
        return cls(*((given,) if isinstance(given, str) else tuple(given) for given in (exclude, include)))

    def joined(self, other: Choice) -> Choice:
        """What either of the two leaves out, and takes."""
        return Choice(*(tuple(dict.fromkeys(a + b)) for a, b in zip(self._globs, other._globs, strict=True)))

    def excludes(self, path: str) -> bool:
        """Whether a file or folder, without those above it, is left out on request."""
        return _matches(path, self.exclude) and not self.includes(path)

    def includes(self, path: str) -> bool:
        """Whether a file or folder, without those above it, is taken on request."""
        return _matches(path, self.include)

    def excludes_below(self, path: str) -> bool:
        """Whether a file, or a folder above it, is left out on request."""
        parts = path.split("/") if self.exclude else []
        return any(self.excludes("/".join(parts[:end])) for end in range(1, len(parts) + 1))

    @property
    def _globs(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.exclude, self.include


def _matches(path: str, globs: tuple[str, ...]) -> bool:
    for glob in (glob.rstrip("/") for glob in globs):
        # The slash in front lets `**/x` and `/x` match at the root.
        forms = (path, f"/{path}") if "/" in glob else (path.rpartition("/")[2],)
        if any(fnmatchcase(form, glob) for form in forms):
            return True
    return False


_Member = TypeVar("_Member", Precision, Engine)


def _member(kind: type[_Member], value: str, what: str) -> _Member:
    try:
        return kind(value)
    except ValueError:
        raise DeviceError(f"'{value}' is not {what}", hint=f"Use {', '.join(kind)}.") from None
