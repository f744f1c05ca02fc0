"""The images of the page in the documentation are made here, so that they show what it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kits.browser import Opener
from PIL import Image
from playwright.sync_api import Page, expect

DOCS = Path(__file__).parents[3] / "docs"


def _search(page: Page) -> None:
    page.locator(".cell").nth(2).hover()


def _image(page: Page) -> None:
    expect(page.locator(".viewer .neighbours img").last).to_have_js_property("complete", True)


def _filters(page: Page) -> None:
    page.keyboard.press("f")
    page.get_by_role("group", name="Label").last.get_by_label("red heart").check()
    expect(page.get_by_label("SQL condition")).to_have_value("label in ('red circle', 'red heart')")
    expect(page.locator(".status")).to_contain_text("10 of 200 images")


def _comparison(page: Page) -> None:
    expect(page.locator(".comparison .cell").first).to_be_visible()
    page.evaluate("scrollTo(0, document.querySelector('.comparison').offsetTop - 70)")


def _nothing(page: Page) -> None:
    expect(page.locator(".nothing")).to_be_visible()


def _figures(page: Page) -> None:
    expect(page.locator(".matrix")).to_be_visible()


def _duplicates(page: Page) -> None:
    page.get_by_role("button", name="Select the others").first.click()
    expect(page.locator(".selection")).to_be_visible()


def _map(page: Page) -> None:
    expect(page.locator("zs-map:not([data-drawing]) .points")).to_be_attached()
    expect(page.locator(".map-side .cell").first).to_be_visible()
    # Thumbnails are drawn as they come.
    page.wait_for_function("() => document.querySelector('zs-map').overlay.shown.every(({ image }) => image.complete)")
    page.wait_for_timeout(100)


def _classify(page: Page) -> None:
    expect(page.locator(".of-class .cell").nth(8)).to_be_visible()


PICTURES = {
    "page-evaluation": ("?view=evaluation", 1180, 900, "light", _figures),
    "page-comparison": ("?view=evaluation&with=starred", 1180, 900, "dark", _comparison),
    "page-duplicates": ("?view=duplicates", 1180, 820, "light", _duplicates),
    "page-search": ("?q=a+red+circle+-+0.5%3Aa+star", 1180, 760, "light", _search),
    "page-image": ("?q=a+red+circle+-+0.5%3Aa+star&id={first}", 1180, 760, "dark", _image),
    "page-filters": ("?q=a+red+circle&where=label+%3D+%27red+circle%27", 1180, 760, "light", _filters),
    "page-map": ("?view=map&q=a+red+star&at=0.355,0.53,3.4", 1180, 760, "dark", _map),
    "page-classify": (
        "?view=classify&c=a+heart&c=a+star&c=an+arrow&c=a+circle+or+a+ring&c=something+else&bar=a+star",
        1180,
        760,
        "light",
        _classify,
    ),
    "page-nothing": ("?q=a+purple+crescent+on+brick", 390, 700, "dark", _nothing),
}

# The galleries that have something to evaluate.
OF_STUDIO = {"page-evaluation", "page-comparison", "page-duplicates"}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_for_the_documentation(
    request: pytest.FixtureRequest, tmp_path: Path, pytestconfig: pytest.Config, name: str
) -> None:
    state, width, height, scheme, prepare = PICTURES[name]
    looks = {"viewport": {"width": width, "height": height}, "color_scheme": scheme, "reduced_motion": "reduce"}
    open_window: Opener = request.getfixturevalue("open_studio" if name in OF_STUDIO else "open_window")
    window = open_window(state.replace("&id={first}", ""), **looks)
    if "{first}" in state:
        window.open(state.format(first=window.ids()[0]))
    page = window.page
    prepare(page)
    for image in page.locator(".cell img").all()[:12]:
        expect(image).to_have_js_property("complete", True)
    # Never the same twice, and of no interest.
    page.locator(".status span", has_text=re.compile("ms$| s$")).evaluate_all(
        "all => all.forEach(one => one.textContent = '12 ms')"
    )
    folder = DOCS / "images" if pytestconfig.getoption("--write-pictures") else tmp_path
    file = folder / f"{name}.jpg"
    page.screenshot(path=file, type="jpeg", quality=82)
    with Image.open(file) as made:
        assert made.size == (width, height)
        assert len(made.resize((64, 64)).convert("P").getcolors() or []) > 8  # there is something on it
    assert f"images/{name}.jpg" in (DOCS / "page.md").read_text(encoding="utf-8")
    with Image.open(DOCS / "images" / f"{name}.jpg") as published:
        assert published.size == (width, height)
