"""One self-contained HTML page about an evaluation: figures, plots and examples of mistakes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import OutputExistsError, ReportError
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.results import EvalReport
from zsretrieve.domain.settings import Reading
from zsretrieve.reports.advice import Asked
from zsretrieve.reports.choosing import choose
from zsretrieve.reports.content import FEW_CLASSES, as_content
from zsretrieve.reports.look import STYLE, environment, file_text, markup
from zsretrieve.reports.plots import MANY_CLASSES, plots
from zsretrieve.reports.thumbnails import Thumbnail, link, thumbnails
from zsretrieve.system.atomic import OutputKind, replacing

IMAGES = 120

_GENERATOR = "zsretrieve evaluate --report"
_MARK = '<meta name="generator" content="zsretrieve '
_MARK_WITHIN = 1024
_POINTS = 20


def check_report(
    path: PathLike, *, force: bool = False, hint: str = "Give another path, or replace it with `force`."
) -> None:
    """Raise, before anything is computed, if ``write_report`` could not write there.

    An earlier page of zsretrieve is replaced; any other file only with ``force``, which ``hint`` may name.

    Raises
    ------
    ReportError
        If the folder does not exist or is not writable, or the path is a folder.
    OutputExistsError
        If there is another file.
    """
    path = Path(path)
    reason, remedy = None, ""
    if not path.parent.is_dir():
        reason, remedy = f"there is no folder '{path.parent}'", "Make the folder first, or give another path."
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        reason, remedy = f"no permission to write in '{path.parent}'", "Give a path in a folder of yours."
    elif path.is_dir():
        reason, remedy = "it is a folder", f"Give a file: {path / 'report.html'}"
    if reason is not None:
        raise ReportError(f"the report cannot be written to '{path}': {reason}", hint=remedy)
    if os.path.lexists(path) and not _is_ours(path) and not (force and path.is_file()):
        raise OutputExistsError(
            f"'{path}' exists and is not a report of zsretrieve, so it is left alone",
            hint=hint,
        )


def write_report(
    path: PathLike,
    report: EvalReport,
    *,
    asked: Asked | None = None,
    images: int = IMAGES,
    reading: Reading | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write the page of an evaluation. It needs no network and no other file.

    Parameters
    ----------
    path : path
        Written beside and renamed; an earlier report there is replaced.
    report : EvalReport
    asked : Asked, optional
        The names of source and prototypes, for the commands that the page proposes.
    images : int
        At most this many are shown, as JPEG of at most 192 x 192 pixels: 5 to 25 kB each in the page.
    reading : Reading, optional
        How the images were read when they were encoded.
    force : bool
        Replace a file that is not a report.

    Returns
    -------
    dict
        The content of the page except for the images; it is in the page as JSON too.

    Raises
    ------
    ReportError, OutputExistsError
        See ``check_report``.
    IndexFolderError
        If the system refuses to write.
    """
    path = Path(path)
    check_report(path, force=force)
    choice, run = choose(report, images), report.run
    shown = thumbnails([(run.paths[row], run.digests[row]) for row in choice.rows], reading or Reading())
    content = as_content(report, choice, shown, asked or Asked(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    links = {address: link(address, path.parent) for address in shown}
    page = _render(content, sorted(report.prec_at), shown, links, plots(report))
    write_page(path, page, force=force)
    return content


def write_page(path: Path, page: str, *, force: bool = False) -> None:
    """Write a page beside its place and rename it, where ``check_report`` allows that."""
    kind = OutputKind(
        is_folder=False, is_ours=lambda there: _is_ours(there) or (force and there.is_file()), name="report"
    )
    with replacing(path, kind, force=True) as beside:
        # Paths may hold bytes that are not UTF-8.
        beside.write_text(page, encoding="utf-8", errors="backslashreplace")


def _render(
    content: dict[str, Any],
    ranks: list[int],
    shown: dict[str, Thumbnail],
    links: dict[str, str | None],
    drawn: dict[str, str],
) -> str:
    script = file_text("sorting.js")
    templates = environment()
    templates.filters["some"] = _some
    return templates.from_string(file_text("page.html.j2")).render(
        report=content,
        ranks=ranks,
        thumbnails=shown,
        links=links,
        plots={name: markup(plot) for name, plot in drawn.items()},
        many=MANY_CLASSES,
        few=FEW_CLASSES,
        generator=_GENERATOR,
        style=markup(f"{STYLE}{file_text('page.css')}"),
        script=markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        json=markup(_embedded(content)),
    )


def _embedded(content: dict[str, Any]) -> str:
    """JSON that no HTML parser takes for tags; ASCII, so that bytes that are not UTF-8 survive."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _some(curve: list[Any]) -> list[Any]:
    """Some points of a curve for a table, including the first and the last."""
    if len(curve) <= _POINTS:
        return curve
    return [curve[round(at * (len(curve) - 1) / (_POINTS - 1))] for at in range(_POINTS)]


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return _MARK.encode() in file.read(_MARK_WITHIN)
