"""One self-contained HTML page of an evaluation: what is right, what is wrong, and pictures of both."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zsretrieve import mending
from zsretrieve.errors import OptionalDependencyError, OutputExistsError, ReportError
from zsretrieve.exchange.output import Kind, replacing
from zsretrieve.reports import plots as drawing
from zsretrieve.reports.advice import Asked
from zsretrieve.reports.choosing import choose
from zsretrieve.reports.content import FEW_CLASSES, as_content
from zsretrieve.reports.look import STYLE, environment, file_text, markup
from zsretrieve.reports.plots import Plot
from zsretrieve.reports.thumbnails import thumbnails
from zsretrieve.results import EvalReport, Run

PICTURES = 120

_GENERATOR = "zsretrieve evaluate --report"
_MARK = f'<meta name="generator" content="{_GENERATOR}">'
_MARK_WITHIN = 1024
_POINTS = 20


def check_report(path: str | Path, *, force: bool = False) -> None:
    """Raise, before anything is computed, if ``write_report`` could not write there.

    A report that is already there is replaced; any other file only with ``force``.

    Raises
    ------
    ReportError
        If the folder does not exist or cannot be written to, or there is a folder at the path.
    OutputExistsError
        If there is another file.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ReportError(
            f"the report cannot be written to '{path}': there is no folder '{path.parent}'",
            hint="Make the folder first, or give another path.",
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ReportError(
            f"the report cannot be written to '{path}': no permission to write in '{path.parent}'",
            hint="Give a path in a folder of yours.",
        )
    if path.is_dir():
        raise ReportError(
            f"the report cannot be written to '{path}': it is a folder", hint=f"Give a file: {path / 'report.html'}"
        )
    if os.path.lexists(path) and not _is_ours(path) and not (force and path.is_file()):
        raise OutputExistsError(
            f"'{path}' exists and is no report of zsretrieve, so it is left alone",
            hint="Give another path, or replace it with --force.",
        )


def write_report(
    path: str | Path,
    run: Run,
    report: EvalReport,
    *,
    asked: Asked | None = None,
    pictures: int = PICTURES,
    exif: bool = True,
    max_pixels: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write the page of an evaluation. It needs no network and no other file.

    Parameters
    ----------
    path : str or Path
        It is written beside and renamed; an earlier report there is replaced.
    run : Run
    report : EvalReport
        The figures of that run.
    asked : Asked, optional
        The names of source and prototypes, for the commands that the page proposes.
    pictures : int
        At most so many are shown, as JPEG of at most 192 x 192 pixels: 5 to 25 kB each in the page.
    exif : bool
        Turn pictures upright, as they were when they were encoded.
    max_pixels : int, optional
        Larger pictures are not decoded; see ``zsretrieve.images.decode``.
    force : bool
        Replace a file that is no report.

    Returns
    -------
    dict
        What the page holds but for the pictures; it stands in the page as JSON too.

    Raises
    ------
    ReportError, OutputExistsError
        See ``check_report``.
    IndexFolderError
        If the system refuses to write.
    """
    path = Path(path)
    check_report(path, force=force)
    choice = choose(run, report, pictures)
    shown = thumbnails(
        [(run.paths[row], run.digests[row]) for row in choice.rows], exif=exif, max_pixels=max_pixels
    )  # fmt: skip
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    content = as_content(run, report, choice, shown, asked or Asked(), made)
    try:
        drawn = drawing.plots(run, report)
    except OptionalDependencyError:
        drawn = None
    page = _render(content, shown, drawn)
    kind = Kind(is_folder=False, is_ours=lambda there: _is_ours(there) or (force and there.is_file()), name="report")
    with replacing(path, kind, force=True) as beside:
        # Paths may hold bytes that are no UTF-8.
        beside.write_text(page, encoding="utf-8", errors="backslashreplace")
    return content


def _render(content: dict[str, Any], shown: dict[str, Any], drawn: dict[str, Plot] | None) -> str:
    script = file_text("sorting.js")
    made = environment()
    made.filters["some"] = _some
    return made.from_string(file_text("page.html.j2")).render(
        report=content,
        figures=content["figures"],
        thumbnails=shown,
        plots=drawn or {},
        plots_missing=mending.install("matplotlib") if drawn is None else None,
        many=drawing.MANY_CLASSES,
        few=FEW_CLASSES,
        generator=_GENERATOR,
        style=markup(f"{STYLE}{file_text('page.css')}"),
        script=markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        json=markup(_embedded(content)),
    )


def _embedded(content: dict[str, Any]) -> str:
    """JSON that no parser of HTML takes for tags; ASCII, so that bytes which are no UTF-8 come back as they were."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _some(curve: list[Any]) -> list[Any]:
    """Some points of a curve, the first and the last among them, for a table."""
    if len(curve) <= _POINTS:
        return curve
    return [curve[round(at * (len(curve) - 1) / (_POINTS - 1))] for at in range(_POINTS)]


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return _MARK.encode() in file.read(_MARK_WITHIN)
