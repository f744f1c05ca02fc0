"""Commands whose answers are annotations: the options to write these for other programs, and doing it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import output
from zsretrieve.cli.groups import OptionGroup
from zsretrieve.domain.settings import AnnotationForm

if TYPE_CHECKING:
    from zsretrieve.api.handover import Handover
    from zsretrieve.domain.annotations import Annotations
    from zsretrieve.domain.records import Skipped

_PANEL = "Labelling tools and folders"

_handing_over = functools.partial(typer.Option, rich_help_panel=_PANEL)
_Export = Annotated[
    Path | None,
    _handing_over("--export", metavar="OUT", help="Write the annotations for another program; with --as."),
]
_AnnotationForm = Annotated[
    AnnotationForm | None, _handing_over("--as", help="What to write: a file of coco, cvat or csv, else a folder.")
]
_SortInto = Annotated[
    Path | None,
    _handing_over("--sort-into", metavar="FOLDER", help="Link the images into one folder per class; nothing is moved."),
]
_Copy = Annotated[bool, _handing_over("--copy", help="Copy images instead of linking to them.")]
_ImagesAt = Annotated[
    str | None,
    _handing_over(
        "--images-at",
        metavar="URL",
        show_default="files of its machine",
        help="For label-studio: where it finds the images; the URL before their names.",
    ),
]
_Replace = Annotated[bool, _handing_over("--force", help="Replace earlier outputs.")]


def _handover(*, export_as: AnnotationForm | None, **given: Any) -> Handover:
    from zsretrieve.api.handover import Handover

    return Handover(form=export_as, **given)


HandOver = Annotated[
    Any,
    OptionGroup(
        _handover,
        {
            "export": (_Export, None),
            "export_as": (_AnnotationForm, None),
            "sort_into": (_SortInto, None),
            "copy": (_Copy, False),
            "images_at": (_ImagesAt, None),
            "force": (_Replace, False),
        },
    ),
]


def hand_over(annotations: Annotations, to: Handover, skipped: Sequence[Skipped], file: Path | None) -> None:
    """Write annotations, and print how many images were skipped: by the command, and for want of a file, here."""
    import zsretrieve as zs

    with output.progress() as on_stage:
        done = zs.hand_over(annotations, to, on_stage=on_stage)
    for one in done:
        output.note(f"{one.images} images -> {one.out}")
    left_out = (*skipped, *(image for one in done for image in one.skipped))
    output.report_skipped(tuple(dict.fromkeys(left_out)), file)
