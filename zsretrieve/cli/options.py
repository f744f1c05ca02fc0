"""Options that several commands share."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli.groups import OptionGroup, grouped
from zsretrieve.cli.help import ADVANCED
from zsretrieve.cli.output import SKIPPED_COLUMNS, open_already
from zsretrieve.domain.errors import OutputExistsError
from zsretrieve.domain.settings import Cluster, Compute, Engine, Precision, Reading

if TYPE_CHECKING:
    from zsretrieve.domain.results import Reject

__all__ = ["ADVANCED", "Cluster", "Compute", "Reading", "grouped"]


class RejectBy(StrEnum):
    PROBABILITY = "probability"
    MARGIN = "margin"


REJECTING = 'Answering "unknown"'

_rare = functools.partial(typer.Option, rich_help_panel=ADVANCED)

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        show_default="small",
        help="small, medium, best, demo, ARCH/TAG, hf-hub:org/repo, pack:FILE, local-dir:PATH or ARCH/CHECKPOINT.",
    ),
]
ModelOfIndex = Annotated[
    str | None,
    _rare(
        "--model",
        "-m",
        metavar="MODEL",
        help="Open this model instead of the one the index names; it must have the same weights or image tower.",
    ),
]


def classes_option(help_text: str) -> Any:
    """``--classes``, which many know as ``--labels``."""
    return typer.Option("--classes", "-c", "--labels", "-l", metavar="CLASSES", help=help_text)


Classes = Annotated[
    str | None, classes_option('Classes instead of an index: a bundled set, a file, or a list such as "cat,dog".')
]
Templates = Annotated[
    str | None,
    typer.Option(
        "--templates",
        "-t",
        metavar="TEMPLATES",
        help="Templates for --classes: a set, a file, or one with {} (default: the set's own, else standard).",
    ),
]
ModelOfClasses = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        show_default="the index's or gallery's, else small",
        help="small, medium, best, demo, ARCH/TAG, hf-hub:org/repo, pack:FILE, local-dir:PATH or ARCH/CHECKPOINT.",
    ),
]
Device = Annotated[
    str,
    _rare(
        "--device",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:N, several GPUs (cuda:0,cuda:1 or cuda:all), mps, intel-gpu or intel-npu.",
    ),
]
Fp16Index = Annotated[
    bool,
    _rare("--fp16-index", help="Keep the GPU's copy of the index in float16: half the memory, the same results."),
]
_Precision = Annotated[
    Precision,
    _rare(
        "--precision",
        help="auto is bf16 where the hardware has it, else fp32, and fp16 on Intel's devices; "
        "int8 is calibrated on your images.",
    ),
]
_Engine = Annotated[Engine, _rare("--engine", help="auto is torch on a GPU, openvino on the CPU.")]
_BatchSize = Annotated[int | None, _rare("--batch-size", min=1, metavar="N", help="Images per batch.")]
_Compile = Annotated[
    bool,
    _rare(
        "--compile/--no-compile",
        help="Run the model through torch.compile: takes a minute, and pays off on a GPU in long jobs.",
    ),
]
TrustRemoteCode = Annotated[
    bool, _rare("--trust-remote-code", help="Let Python code that comes with the model run; read it first.")
]

COMPUTE = OptionGroup(
    Compute,
    {
        "device": (Device, "auto"),
        "precision": (_Precision, Precision.AUTO),
        "engine": (_Engine, Engine.AUTO),
        "batch_size": (_BatchSize, None),
        "compile": (_Compile, False),
        "trust_remote_code": (TrustRemoteCode, False),
    },
)
# For commands that encode images; only long jobs have --compile.
ComputeImages = Annotated[Compute, COMPUTE.without("compile")]
# For commands that encode texts, or a few images.
ComputeTexts = Annotated[Compute, COMPUTE.without("compile", "batch_size")]
ComputeLong = Annotated[Compute, COMPUTE]

_Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image instead of skipping it.")]
_Exif = Annotated[
    bool,
    _rare(
        "--exif/--no-exif",
        help="Apply the EXIF orientation of images (the default). Published figures were computed without.",
    ),
]
_MaxMegapixels = Annotated[
    float | None,
    _rare(
        "--max-megapixels",
        min=0.001,
        metavar="N",
        show_default="what fits in free memory",
        help="Skip larger images instead of decoding them.",
    ),
]
_FastDecode = Annotated[
    bool, _rare("--fast-decode", help="Decode large JPEG files at a fraction of their size; vectors change slightly.")
]


def _reading(
    *, exif: bool = True, strict: bool = False, max_megapixels: float | None = None, fast_decode: bool = False
) -> Reading:
    if max_megapixels is not None and not math.isfinite(max_megapixels):
        raise typer.BadParameter(f"{max_megapixels} is not a number of megapixels", param_hint="--max-megapixels")
    return Reading(exif, strict, None if max_megapixels is None else int(max_megapixels * 1e6), fast_decode)


READING = OptionGroup(
    _reading,
    {
        "strict": (_Strict, False),
        "exif": (_Exif, True),
        "max_megapixels": (_MaxMegapixels, None),
        "fast_decode": (_FastDecode, False),
    },
)
ReadImages = Annotated[Reading, READING]
# For an existing gallery, which has fixed the rest.
ReadNewImages = Annotated[Reading, READING.without("exif", "fast_decode")]

Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Leave out files and folders whose name, or path if it has a slash, matches; repeatable.",
    ),
]
Include = Annotated[
    list[str] | None,
    _rare(
        "--include",
        metavar="GLOB",
        help="Take files and folders that would be left out: hidden, a program's own, without an image's suffix.",
    ),
]
_Column = Annotated[
    str | None,
    typer.Option("--column", metavar="NAME", help="The column or key of texts (default: the one of a usual name)."),
]
_ImageColumn = Annotated[
    str | None,
    _rare("--image-column", metavar="NAME", help="The column of the images that the texts describe."),
]
_Split = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Only texts of this split, e.g. test of a Karpathy split.")
]
TEXT_COLUMNS = OptionGroup(
    lambda **given: given,
    {"column": (_Column, None), "image_column": (_ImageColumn, None), "split": (_Split, None)},
)
# The keywords of ``zsretrieve.open_texts``.
TextColumns = Annotated[dict[str, str | None], TEXT_COLUMNS]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only report what would be done; write nothing.")]
GroundTruth = Annotated[
    Path | None,
    typer.Option("--ground-truth", metavar="FILE", help="Labels for a flat folder, tar or zip file of images."),
]
Null = Annotated[
    bool, _rare("--null", "-0", help="Paths in a list end with NUL, as from find -print0 (recognised by itself).")
]
SkippedFile = Annotated[
    Path | None,
    typer.Option("--skipped", metavar="FILE", help="Write what was skipped and the reasons to this CSV file."),
]
Checksum = Annotated[bool, _rare("--checksum", help="Read every image, even if its size and time are unchanged.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Use only the gallery's images that match an SQL condition: \"label = 'tench' and width > 500\".",
    ),
]
RejectBelow = Annotated[
    float | None,
    typer.Option(
        "--reject-below",
        metavar="SCORE",
        rich_help_panel=REJECTING,
        help='Answer "unknown" if the probability (0 to 1) or the margin is below this.',
    ),
]
RejectByOption = Annotated[
    RejectBy | None,
    typer.Option(
        "--by",
        metavar="MEASURE",
        rich_help_panel=REJECTING,
        show_default="probability",
        help="What to compare: the best class's probability, or the margin of its score over the second best.",
    ),
]
Scale = Annotated[
    float | None,
    _rare(
        "--scale",
        metavar="NUMBER",
        show_default="the index's: the model's own, or fitted",
        help="Scale of scores in probabilities, the inverse of a temperature.",
    ),
]


def _cluster(ray: str | None, ray_storage: str | None) -> Cluster | None:
    if ray is None and ray_storage is not None:
        raise typer.BadParameter("it needs a cluster: add --ray", param_hint="--ray-storage")
    return None if ray is None else Cluster(ray, ray_storage)


_Ray = Annotated[
    str | None,
    _rare(
        "--ray",
        metavar="ADDRESS",
        help="Encode on the nodes of a Ray cluster: HOST:PORT, auto (the one of this machine) or local.",
    ),
]
_RayStorage = Annotated[
    str | None,
    _rare(
        "--ray-storage",
        metavar="PLACE",
        show_default="inside OUT",
        help="With --ray: a folder or URL that all nodes share, for encoded units.",
    ),
]
EncodeOnRay = Annotated[
    Cluster | None, OptionGroup(_cluster, {"ray": (_Ray, None), "ray_storage": (_RayStorage, None)})
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing index.")]

IndexMemory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Make an approximate index within this memory, e.g. 8GB; refused if the index itself is larger.",
    ),
]


def reject(below: float | None, by: RejectBy | None, wanted: float | None = None) -> Reject | None:
    """When to answer "unknown". Two thresholds, or ``--by`` without one, are wrong usage."""
    from zsretrieve.domain.results import Reject

    if below is not None and wanted is not None:
        raise typer.BadParameter("--reject-below already sets the threshold", param_hint="--wanted-precision")
    if below is None and wanted is None:
        if by is not None:
            raise typer.BadParameter("it needs a threshold: add --reject-below", param_hint="--by")
        return None
    return Reject((by or RejectBy.PROBABILITY).value, below, wanted)


def check_skipped(file: Path | None) -> None:
    """Raise, before the work, if the list of skipped images cannot be written."""
    check_writable(file, "--skipped", SKIPPED_COLUMNS)


def check_writable(file: Path | None, option: str, columns: Sequence[str] = (), *, more: bool = False) -> None:
    """Raise, before the work, if the file that an option names cannot be written.

    With ``columns``, an existing file is replaced only if it is a CSV list with these columns (with ``more``: and
    others after them).
    """
    if file is None:
        return
    # A dangling link is written where it points.
    place = file if file.exists() else Path(os.path.realpath(file))
    problem = None
    if place.is_dir():
        problem = "it is a folder"
    elif not place.parent.is_dir():
        problem = "no such folder"
    elif not os.access(place if place.exists() else place.parent, os.W_OK):
        problem = "no permission"
    if problem is not None:
        raise typer.BadParameter(f"'{file}' cannot be written: {problem}", param_hint=option)
    # Other than regular files, such as /dev/stderr, have no content to lose.
    if columns and file.is_file() and file.stat().st_size and open_already(file) is None:
        head = ",".join(columns).encode()
        with open(file, "rb") as existing:
            line = existing.readline(len(head) + 2)
            if (line[: len(head)] if more else line.rstrip(b"\r\n")) != head:
                raise OutputExistsError(
                    f"'{file}' exists and was not written by {option}, so it is left alone",
                    hint="Give another file.",
                )


def check_apart(files: Mapping[str, Path | None]) -> None:
    """Raise if two outputs are the same file, or one is inside the other: the last would overwrite the first."""
    given = [
        (option, file.resolve())
        for option, file in files.items()
        if file is not None and (file.is_file() or file.is_dir() or not file.exists())
    ]
    for (option, file), (other, place) in itertools.permutations(given, 2):
        if place == file or place in file.parents:
            raise typer.BadParameter(f"{other} already writes '{files[option]}'", param_hint=option)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was given, even if with its default value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def listed(source: str | Sequence[str], null: bool) -> Any:
    """What a command passes on as its source: a list that is opened with ``--null``, or the source as it is given."""
    if not null:
        return source
    from zsretrieve.api.sources import open_source

    return open_source([source] if isinstance(source, str) else source, null=True)
