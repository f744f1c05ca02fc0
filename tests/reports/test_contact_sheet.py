"""The page of a search: thumbnails that open the images, and nothing that runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import zsretrieve as zs
from zsretrieve.domain.errors import OutputExistsError, ReportError
from zsretrieve.domain.records import Hit


def test_a_page_shows_each_hit_once_per_query_and_opens_it(scene_folder: Path, tmp_path: Path) -> None:
    image = sorted((scene_folder / "red circle").iterdir())[0]
    hits = (Hit(1, 7, str(image), 0.51234), Hit(2, 8, str(tmp_path / "gone <b>.jpg"), 0.4))
    for _ in range(2):  # its own page is replaced
        zs.write_contact_sheet(tmp_path / "page.html", {"<script>": hits, "other": hits[:1]})
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count(f'href="{image.as_uri()}"') == 2
    assert "0.5123" in page
    assert "cannot be shown: no such file" in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"<script|<b>\.jpg", page)


def test_the_page_has_a_heading_and_notes(scene_folder: Path, tmp_path: Path) -> None:
    image = sorted((scene_folder / "red circle").iterdir())[0]
    hits = (Hit(1, 7, str(image), None),)  # of a search without a query
    zs.write_contact_sheet(
        tmp_path / "page.html", {"x": hits, "y": hits}, heading="Search in <photos>", notes={"y": "nothing <matches>"}
    )
    page = (tmp_path / "page.html").read_text()
    assert "<h1>Search in &lt;photos&gt;</h1>" in page
    assert page.index("<h2>y</h2>") < page.index("nothing &lt;matches&gt;") < page.rindex("<figure>")
    assert page.count("nothing") == 1


def test_the_part_that_fits_is_marked(scene_folder: Path, tmp_path: Path) -> None:
    image = str(sorted((scene_folder / "red circle").iterdir())[0])
    zs.write_contact_sheet(tmp_path / "page.html", {"x": (Hit(1, 7, image, 0.5, box=(0.25, 0, 0.75, 0.5)),)})
    page = (tmp_path / "page.html").read_text()
    assert '<svg viewBox="0 0 128 128"' in page
    assert page.count('<rect x="32.0" y="0.0" width="64.0" height="64.0"') == 2
    zs.write_contact_sheet(tmp_path / "page.html", {"x": (Hit(1, 7, image, 0.5),)})
    assert "<svg" not in (tmp_path / "page.html").read_text()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<p>mine")
    with pytest.raises(OutputExistsError) as refused:
        zs.check_contact_sheet(tmp_path / "mine.html")
    assert refused.value.hint == "Give another path."
    with pytest.raises(ReportError, match="no folder"):
        zs.check_contact_sheet(tmp_path / "none" / "page.html")
