"""Options that several commands share, each spelled and explained once."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli.output import SKIPPED_COLUMNS, Verbosity, note, open_already, working
from zsretrieve.encoders.naming import DEFAULT_MODEL
from zsretrieve.errors import OutputExistsError

if TYPE_CHECKING:
    from zsretrieve.ports import Encoder
    from zsretrieve.results import Reject
    from zsretrieve.sources import Source
    from zsretrieve.store.indexes import Gallery
    from zsretrieve.verbs.build import BuiltPrototypes


class Precision(StrEnum):
    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


class Engine(StrEnum):
    AUTO = "auto"
    OPENVINO = "openvino"
    TORCH = "torch"


class RejectBy(StrEnum):
    PROBABILITY = "probability"
    MARGIN = "margin"


_MODEL = "Model"
_SOURCE = "Images"
REJECTING = 'Answering "unknown"'

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", rich_help_panel=_MODEL,
        help="ARCH/TAG, hf-hub:org/repo, local-dir:PATH, ARCH/CHECKPOINT or demo.",
    ),
]  # fmt: skip
ModelOfIndex = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", rich_help_panel=_MODEL,
        help="Open this model instead of the one the index names; it must be of the same space.",
    ),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option(
        "--device", rich_help_panel=_MODEL, help="auto, cpu, cuda, cuda:N, or several GPUs: cuda:0,cuda:1 or cuda:all."
    ),
]
Fp16Index = Annotated[
    bool,
    typer.Option(
        "--fp16-index", rich_help_panel=_MODEL,
        help="Keep a GPU's copy of the index in float16: half the memory, the same results.",
    ),
]  # fmt: skip
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision", rich_help_panel=_MODEL,
        help="auto is bf16 where the hardware has it, and fp32 elsewhere; int8 is calibrated on your images.",
    ),
]  # fmt: skip
EngineOption = Annotated[
    Engine,
    typer.Option("--engine", rich_help_panel=_MODEL, help="auto is torch on a GPU and openvino on the CPU."),
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, rich_help_panel=_MODEL, help="Images a batch.")]
Compile = Annotated[
    bool,
    typer.Option("--compile/--no-compile", rich_help_panel=_MODEL,
                 help="Compile the model by torch.compile first: a minute that pays on a GPU for long jobs."),
]  # fmt: skip
GroundTruth = Annotated[
    Path | None,
    typer.Option(
        "--ground-truth", rich_help_panel=_SOURCE, help="A file of labels for a flat folder, tar or zip file of images."
    ),
]
Exif = Annotated[
    bool,
    typer.Option("--exif/--no-exif", rich_help_panel=_SOURCE,
                 help="Turn images upright by their EXIF orientation; the published numbers did not."),
]  # fmt: skip
QueryExif = Annotated[
    bool | None,
    typer.Option(
        "--exif/--no-exif",
        rich_help_panel=_SOURCE,
        help="Turn query images upright by their EXIF orientation. (default: as the gallery's were)",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", rich_help_panel=_SOURCE, help="Make the first unreadable image an error.")
]
SkippedFile = Annotated[
    Path | None, typer.Option("--skipped", rich_help_panel=_SOURCE, help="List skipped images and reasons here (CSV).")
]
MaxMegapixels = Annotated[
    float | None,
    typer.Option("--max-megapixels", min=0.001, rich_help_panel=_SOURCE, show_default="by the free memory",
                 help="Skip larger images instead of decoding them."),
]  # fmt: skip
FastDecode = Annotated[
    bool,
    typer.Option("--fast-decode", rich_help_panel=_SOURCE,
                 help="Decode large JPEG files at a part of their size; vectors change a little."),
]  # fmt: skip
Checksum = Annotated[
    bool,
    typer.Option(
        "--checksum", rich_help_panel=_SOURCE, help="Read every image, even where size and time are the same."
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where", rich_help_panel=_SOURCE,
        help="Keep to the images of the gallery that pass a condition: \"label = 'tench' and width > 500\".",
    ),
]  # fmt: skip
RejectBelow = Annotated[
    float | None,
    typer.Option("--reject-below", metavar="NUMBER", rich_help_panel=REJECTING,
                 help="Answer \"unknown\" where the probability (a fraction) or the margin is below this."),
]  # fmt: skip
RejectByOption = Annotated[
    RejectBy | None,
    typer.Option("--by", rich_help_panel=REJECTING, show_default="probability",
                 help="What is compared: the best class's probability, or how much its score is above the second's."),
]  # fmt: skip
Force = Annotated[bool, typer.Option("--force", help="Replace an index that is already there.")]

MODEL_DEFAULT = DEFAULT_MODEL

_SHOWN = 10


def verbosity(context: typer.Context) -> Verbosity:
    """What ``--quiet`` and ``--verbose`` asked for."""
    found = context.find_object(Verbosity)
    return found if found is not None else Verbosity()


def load_encoder(
    told: Verbosity,
    model: str,
    device: str,
    precision: Precision,
    engine: Engine = Engine.AUTO,
    batch_size: int | None = None,
    *,
    source: Source | None = None,
    exif: bool = True,
    max_megapixels: float | None = None,
    fast_decode: bool = False,
    compiled: bool = False,
) -> Encoder:
    """Load a model under a spinner; for int8 it is calibrated on the source if it is not calibrated yet, whose pictures
    are read by ``exif``, ``max_megapixels`` and ``fast_decode``.
    """
    from zsretrieve import api

    if compiled:
        api.check_compiling(precision=precision.value, engine=engine.value)
    if precision is Precision.INT8 and source is not None:
        api.check_runs_int8(device=device, engine=engine.value)
        if not api.is_calibrated(model):
            calibrate(
                told, model, source, exif=exif, max_megapixels=max_megapixels, fast_decode=fast_decode, anew=False
            )
    with working(told, f"loading {model}"):
        return api.load_encoder(
            model, device=device, precision=precision.value, engine=engine.value, batch_size=batch_size,
            compiled=compiled,
        )  # fmt: skip


def calibrate(
    told: Verbosity,
    model: str,
    source: Source,
    *,
    exif: bool = True,
    max_megapixels: float | None = None,
    fast_decode: bool = False,
    force: bool = False,
    anew: bool = True,
) -> None:
    """Calibrate a model for int8 under a spinner, and tell what it costs."""
    from zsretrieve import api

    with working(told, f"calibrating {model} for int8"):
        made = api.calibrate(
            model,
            source,
            exif=exif,
            max_pixels=pixels(max_megapixels),
            fast_decode=fast_decode,
            force=force,
            anew=anew,
        )
    note(
        told,
        f"int8 calibrated on {made.calibrated_on} images; cosine similarity to fp32 on {made.measured_on} others: "
        f"mean {made.mean_cosine:.4f}, least {made.least_cosine:.4f}",
    )


def open_source(where: list[str], ground_truth: Path | None = None) -> Source:
    """Find pictures; ``-`` reads the list of paths from standard input."""
    from zsretrieve import api

    return api.open_source(where, ground_truth=ground_truth, standard_input=sys.stdin if where == ["-"] else None)


def prompt_notes(built: BuiltPrototypes) -> list[str]:
    """What people should know of the prompts they gave: equal names, equal vectors, prompts cut to the context."""
    lines = []
    if built.duplicate_names:
        names = ", ".join(f"'{name}'" for name in built.duplicate_names)
        lines.append(f"class names given more than once, whose ties go to the lowest class id: {names}")
    for group in built.indistinct[:_SHOWN]:
        names = ", ".join(f"'{name}'" for name in group[:_SHOWN])
        lines.append(f"the model cannot tell these {len(group)} classes apart, their vectors are equal: {names}")
    if built.cut_prompts:
        room = built.prototypes.space.text.context_length
        count = len(built.cut_prompts)
        are = "prompt is" if count == 1 else "prompts are"
        lines.append(f"{count} {are} longer than the model's {room} tokens and cut:")
        lines += [f"  '{text}'" for text in built.cut_prompts[:_SHOWN]]
        if count > _SHOWN:
            lines.append(f"  and {count - _SHOWN} more")
    return lines


def pixels(megapixels: float | None) -> int | None:
    """The limit in pixels."""
    return None if megapixels is None else int(megapixels * 1e6)


def reject(below: float | None, by: RejectBy | None, wanted: float | None = None) -> Reject | None:
    """What shall be answered with "unknown"; two thresholds, or none to go with ``--by``, are wrong usage."""
    from zsretrieve.results import Reject

    if below is not None and wanted is not None:
        raise typer.BadParameter("a threshold is given already", param_hint="--wanted-precision")
    if below is None and wanted is None:
        if by is not None:
            raise typer.BadParameter("there is no threshold to compare with", param_hint="--by")
        return None
    return Reject((by or RejectBy.PROBABILITY).value, below, wanted)


def check_skipped(file: Path | None) -> None:
    """Raise before the work if the list of skipped images could not be written after it."""
    check_writable(file, "--skipped", SKIPPED_COLUMNS)


def check_writable(file: Path | None, option: str, columns: Sequence[str] = (), *, more: bool = False) -> None:
    """Raise before the work if the file that an option names could not be written after it.

    Where the columns of a list are told, only an earlier list with these is replaced, or with ``more`` after them.
    """
    if file is None:
        return
    # A link that leads to nothing yet is written where it leads.
    place = file if file.exists() else Path(os.path.realpath(file))
    what = None
    if place.is_dir():
        what = "it is a folder"
    elif not place.parent.is_dir():
        what = "no such folder"
    elif not os.access(place if place.exists() else place.parent, os.W_OK):
        what = "no permission"
    if what is not None:
        raise typer.BadParameter(f"'{file}' cannot be written: {what}", param_hint=option)
    # What is no regular file, such as /dev/stderr, holds nothing to be lost.
    if columns and file.is_file() and file.stat().st_size and open_already(file) is None:
        head = ",".join(columns).encode()
        with open(file, "rb") as there:
            line = there.readline(len(head) + 2)
            if (line[: len(head)] if more else line.rstrip(b"\r\n")) != head:
                raise OutputExistsError(
                    f"'{file}' exists and is no list that {option} has written, so it is left alone",
                    hint="Give another file.",
                )


def check_apart(files: Mapping[str, Path | None]) -> None:
    """Outputs that are one file, or one of them in the folder of another, are wrong usage: the last would win."""
    # What is no regular file, such as /dev/null, holds nothing that could be lost.
    given = [
        (option, file.resolve())
        for option, file in files.items()
        if file is not None and (file.is_file() or file.is_dir() or not file.exists())
    ]
    for (option, file), (other, place) in itertools.permutations(given, 2):
        if place == file or place in file.parents:
            raise typer.BadParameter(f"'{files[option]}' is written by {other} already", param_hint=option)


def given(context: typer.Context, name: str) -> bool:
    """Whether an option was given, were it with its default value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def check_where(where: str | None, gallery: Gallery | None) -> None:
    """A filter needs the items of a gallery; with another source it is wrong usage."""
    if where is not None and gallery is None:
        raise typer.BadParameter("a filter goes with a gallery, not with a folder or files", param_hint="--where")


def check_reading(gallery: Gallery | None, *, exif: bool, max_megapixels: float | None, fast_decode: bool) -> None:
    """How images are read was settled when a gallery was built; to ask for it again is wrong usage."""
    given = {"--no-exif": not exif, "--max-megapixels": max_megapixels is not None, "--fast-decode": fast_decode}
    for name in (name for name, asked in given.items() if asked and gallery is not None):
        raise typer.BadParameter("the images of a gallery were read when it was built", param_hint=name)


def check_encoding(precision: Precision, engine: Engine, batch_size: int | None) -> None:
    """Where nothing is encoded, to say how is wrong usage."""
    given = {
        "--precision": precision is not Precision.AUTO, "--engine": engine is not Engine.AUTO,
        "--batch-size": batch_size is not None,
    }  # fmt: skip
    for name in (name for name, asked in given.items() if asked):
        raise typer.BadParameter("nothing is encoded, the gallery has its vectors already", param_hint=name)


def open_gallery_at(where: list[str], device: str = "auto", *, half: bool = False) -> Gallery | None:
    """The gallery that the source names, or None if it names something else."""
    from zsretrieve import api

    if len(where) != 1 or not api.is_index(where[0]):
        return None
    return api.open_gallery(where[0], device=device, half=half)
