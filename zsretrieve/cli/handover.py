"""The end of commands whose answers are annotations: these are written for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve.cli import output

if TYPE_CHECKING:
    from zsretrieve.api.handover import Handover
    from zsretrieve.domain.annotations import Annotations
    from zsretrieve.domain.records import Skipped


def hand_over(annotations: Annotations, to: Handover, skipped: Sequence[Skipped], file: Path | None) -> None:
    """Write annotations, and print how many images were skipped: by the command, and for want of a file, here."""
    import zsretrieve as zs

    with output.progress() as on_stage:
        done = zs.hand_over(annotations, to, on_stage=on_stage)
    for one in done:
        output.note(f"{one.images} images -> {one.out}")
    left_out = (*skipped, *(image for one in done for image in one.skipped))
    output.report_skipped(tuple(dict.fromkeys(left_out)), file)
