"""The hits of searches as one self-contained HTML page of thumbnails that open the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zsretrieve.domain.boxes import Box, in_pixels
from zsretrieve.domain.records import Hit, PathLike
from zsretrieve.domain.settings import Reading
from zsretrieve.images import opening
from zsretrieve.reports.look import STYLE, environment, file_text, markup
from zsretrieve.reports.pages import check_report, write_page
from zsretrieve.reports.thumbnails import Thumbnail, thumbnails


def check_contact_sheet(path: PathLike) -> None:
    """Raise, before anything is computed, if ``write_contact_sheet`` could not write there.

    An earlier page of zsretrieve is replaced, no other file.

    Raises
    ------
    ReportError, OutputExistsError
        See ``zsretrieve.reports.check_report``.
    """
    check_report(path, hint="Give another path.")


def write_contact_sheet(
    path: PathLike,
    answers: Mapping[str, Sequence[Hit]],
    reading: Reading | None = None,
    *,
    heading: str = "Search",
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write the hits of each query with thumbnails; it needs no other file, and a click opens the image.

    Parameters
    ----------
    path : path
        Written beside and renamed; an earlier page there is replaced.
    answers : mapping of query to hits
    reading : Reading, optional
        How the images were read when they were encoded.
    heading : str
        What the page is called.
    notes : mapping of query to str, optional
        What is said above the hits of a query.

    Raises
    ------
    ReportError, OutputExistsError
        See ``check_contact_sheet``.
    IndexFolderError
        If the system refuses to write.
    """
    check_contact_sheet(path)
    images = [(hit.path, "") for hits in answers.values() for hit in hits if hit.text is None]
    templates = environment()
    templates.filters["address"] = _address
    templates.filters["region"] = _region
    page = templates.from_string(file_text("contact_sheet.html.j2")).render(
        answers=answers,
        heading=heading,
        notes=notes or {},
        thumbnails=thumbnails(images, reading or Reading()),
        style=markup(STYLE),
    )
    write_page(Path(path), page)


def _region(box: Box, small: Thumbnail) -> str:
    """A rectangle over a thumbnail, white between black lines."""
    x, y, width, height = in_pixels(box, small.width, small.height)
    rectangle = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return markup(
        f'<svg viewBox="0 0 {small.width} {small.height}" aria-hidden="true">'
        f'{rectangle} stroke="#000" stroke-width="4"/>{rectangle} stroke="#fff" stroke-width="2"/></svg>'
    )


def _address(path: str) -> str | None:
    """What a browser opens; None for an image in an archive."""
    if opening.is_url(path):
        return path if opening.split(path) is None else None
    return None if opening.split(path) is not None else Path(path).absolute().as_uri()
