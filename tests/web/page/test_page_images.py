"""The page: the grid, the large image, and the selection."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path

import pytest
from kits.browser import Opener, Window
from kits.shapes import Galleries
from kits.waiting import PATIENCE_S
from playwright.sync_api import Page, Route, expect

import zsretrieve as zs
from zsretrieve.domain.ports import Encoder

FOCUSED = "Number(new URL(document.activeElement.href).searchParams.get('id'))"


def parameter(page: Page, name: str) -> str | None:
    """A part of the state in the address."""
    found: str | None = page.evaluate("name => new URL(location.href).searchParams.get(name)", name)
    return found


def scroll_to_the_end(window: Window, n: int) -> None:
    """Scroll until so many images are there."""
    until = time.monotonic() + PATIENCE_S
    while (count := window.page.locator(".cell").count()) < n:
        assert time.monotonic() < until, f"only {count} images were loaded"
        window.page.mouse.wheel(0, 4000)
        window.page.wait_for_timeout(60)


def scrolled_to(page: Page) -> float:
    """How far the page is scrolled, once that has been so for longer than it takes the page to note it."""
    seen = [-1.0, page.evaluate("scrollY")]
    while seen[-1] != seen[-2]:
        page.wait_for_timeout(350)
        seen.append(page.evaluate("scrollY"))
    return seen[-1]


def shown_at(page: Page, n: int) -> bool:
    """Whether the image of a rank is in sight."""
    seen: bool = page.evaluate(
        "n => { const box = document.querySelectorAll('.cell')[n].getBoundingClientRect();"
        "return box.top < innerHeight && box.bottom > 0; }",
        n,
    )
    return seen


def test_all_images_are_reached_by_scrolling_and_nothing_moves(
    open_window: Opener, galleries: Galleries, demo_encoder: Encoder
) -> None:
    window = open_window("?q=a+blue+star")
    page = window.page
    page.mouse.move(640, 500)
    scroll_to_the_end(window, 200)
    hits = zs.search(galleries.shapes, "a blue star", demo_encoder, k=200)
    assert window.ids() == [hit.id for hit in hits]
    assert window.shift() < 0.01
    # Back keeps the place, and so does loading the page again.
    page.mouse.wheel(0, -1500)
    place = scrolled_to(page)
    assert place > 1000
    window.box.fill("red")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("q=red"))
    window.ready()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page.locator(".cell")).to_have_count(200)
    assert page.evaluate("scrollY") == pytest.approx(place, abs=2)
    page.reload()
    expect(page.locator(".cell")).to_have_count(200)
    page.wait_for_timeout(50)
    assert page.evaluate("scrollY") == pytest.approx(place, abs=2)


@pytest.mark.parametrize("density", [1, 2])
def test_thumbnails_are_as_large_as_needed(open_window: Opener, density: int) -> None:
    page = open_window(device_scale_factor=density).page
    for image in page.locator(".cell img").all()[:8]:
        expect(image).to_have_js_property("complete", True)
        drawn, wanted = image.evaluate(
            "one => [one.naturalWidth * devicePixelRatio, one.clientWidth * devicePixelRatio]"
        )
        # With sizes, the natural width counts in units of the page.
        source = int(re.search(r"size=(\d+)", image.evaluate("one => one.currentSrc"))[1])  # type: ignore[index]
        width = source * min(1, image.evaluate("one => one.naturalWidth / one.naturalHeight"))
        assert width >= wanted * 0.85 or source == 512, (source, wanted)
        assert width / 2 < wanted * 1.2 or source == 128, (source, wanted)
        assert drawn


def test_arrow_keys_move_in_the_grid(open_window: Opener) -> None:
    window = open_window()
    page = window.page
    ids = window.ids()
    assert page.locator(".cell a[tabindex='0']").count() == 1
    window.box.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(FOCUSED) == ids[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(FOCUSED) == ids[2]
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(FOCUSED) == ids[1]
    there = "document.activeElement.getBoundingClientRect().toJSON()"
    before = page.evaluate(there)
    page.keyboard.press("ArrowDown")
    below = page.evaluate(there)
    assert below["top"] >= before["bottom"]
    assert abs(below["x"] - before["x"]) < before["width"]
    page.keyboard.press("ArrowUp")
    assert page.evaluate(FOCUSED) == ids[1]
    page.keyboard.press("End")
    assert page.evaluate(FOCUSED) == ids[-1]
    assert shown_at(page, len(ids) - 1)
    expect(page.locator(".cell").nth(len(ids) + 10)).to_be_attached()  # the end loads more
    assert page.locator(".cell a[tabindex='0']").count() == 1


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_the_large_image(open_window: Opener, galleries: Galleries, by: str) -> None:
    window = open_window("?q=a+red+circle+-+a+star")
    page = window.page
    ids = window.ids()
    if by == "mouse":
        page.locator(".cell .picture").first.click()
    else:
        page.locator(".cell .picture").first.focus()
        page.keyboard.press("Enter")
    viewer = page.locator(".viewer[open]")
    expect(viewer.locator(".full")).to_be_visible()
    assert parameter(page, "id") == str(ids[0])
    item = next(one for one in zs.open_gallery(galleries.shapes).items if one.id == ids[0])
    facts = viewer.locator(".facts")
    for text in (
        item.path,
        item.label,
        f"{item.width} \N{MULTIPLICATION SIGN} {item.height} px",
        "2024",
        f"ID{item.id}",
    ):
        expect(facts).to_contain_text(str(text))
    expect(facts).to_contain_text(page.locator(".cell .score").first.inner_text())
    expect(viewer).to_contain_text("Score of each term")
    expect(viewer.get_by_role("heading", name="Nearest classes")).to_be_visible()
    expect(viewer.locator(".neighbours a")).to_have_count(12)
    expect(viewer).to_contain_text("1 of 200")
    # Next and previous.
    for step, index in (("Next", 1), ("Next", 2), ("Previous", 1)):
        if by == "mouse":
            viewer.get_by_role("button", name=f"{step} image").click()
        else:
            page.keyboard.press("ArrowRight" if step == "Next" else "ArrowLeft")
        expect(viewer).to_contain_text(f"{index + 1} of 200")
        assert parameter(page, "id") == str(ids[index])
    # Closing is one step back, wherever one went, and the focus is where one was.
    if by == "mouse":
        viewer.get_by_role("button", name="Close").click()
    else:
        page.keyboard.press("Escape")
    expect(page.locator(".viewer[open]")).to_have_count(0)
    assert parameter(page, "id") is None
    assert page.evaluate(FOCUSED) == ids[1]
    page.go_forward()
    expect(page.locator(".viewer[open]")).to_be_visible()
    page.go_back()
    expect(page.locator(".viewer[open]")).to_have_count(0)


def test_keys_go_on_after_a_button_of_the_large_image(open_window: Opener) -> None:
    page = open_window("?id=3").page
    viewer = page.locator(".viewer[open]")
    viewer.get_by_role("button", name="Select").click()
    for index in (5, 6):
        page.keyboard.press("ArrowRight")
        expect(viewer).to_contain_text(f"{index} of 200")
        expect(viewer.locator(".neighbours a").first).to_be_visible()
    expect(viewer.get_by_role("button", name="Select")).to_be_focused()
    # The button that led to a neighbour is gone.
    viewer.locator(".neighbours a").first.press("Enter")
    expect(viewer.get_by_role("heading", level=2)).to_be_focused()


def test_neighbours_lead_on_and_back(open_window: Opener) -> None:
    window = open_window("?id=3")
    page = window.page
    viewer = page.locator(".viewer[open]")
    viewer.locator(".neighbours a").first.click()
    expect(page).not_to_have_url(re.compile("id=3$"))
    neighbour = parameter(page, "id")
    expect(viewer.locator(".facts")).to_contain_text(f"ID{neighbour}")
    page.go_back()
    expect(viewer.locator(".facts")).to_contain_text("ID3")
    page.keyboard.press("Escape")
    expect(page.locator(".viewer[open]")).to_have_count(0)
    assert parameter(page, "id") is None


@pytest.mark.parametrize("place", ["grid", "large image"])
@pytest.mark.parametrize(
    ("key", "name", "query"),
    [("m", "More like this", "more=5"), ("l", "Less like this", "less=5"), ("s", "Search with this", "q=id%3A5")],
)
def test_searching_on_from_an_image(open_window: Opener, place: str, key: str, name: str, query: str) -> None:
    window = open_window("?id=5" if place == "large image" else "")
    page = window.page
    # By mouse first.
    if place == "grid":
        page.locator(".cell").nth(5).hover()
        page.locator(".cell").nth(5).get_by_title(name).click()
    else:
        page.get_by_role("button", name=name).click()
    expect(page).to_have_url(re.compile(query))
    expect(page.locator(".viewer[open]")).to_have_count(0)
    expect(page.locator(".status")).to_contain_text("exact")
    ids = window.ids()
    # Then by keyboard.
    page.go_back()
    expect(page).not_to_have_url(re.compile(query))
    if place == "grid":
        expect(page.locator(".status")).not_to_contain_text("exact")
        page.locator(".cell .picture").nth(5).focus()
    else:
        expect(page.locator(".viewer[open]")).to_be_visible()
    page.keyboard.press(key)
    expect(page).to_have_url(re.compile(query))
    expect(page.locator(".status")).to_contain_text("exact")
    assert window.ids()[:40] == ids[:40] != []
    assert page.evaluate("document.activeElement.matches('.cell a')")


def test_selecting(open_window: Opener) -> None:
    window = open_window()
    page = window.page
    ids = window.ids()
    bar = page.get_by_role("region", name="Selection")
    cells = page.locator(".cell")
    # By mouse: a box, and a range with Shift.
    cells.nth(1).hover()
    cells.nth(1).locator(".check").click()
    expect(bar).to_contain_text("1 image selected")
    cells.nth(4).locator(".check").click(modifiers=["Shift"])
    expect(bar).to_contain_text("4 images selected")
    cells.nth(2).locator(".check").click()
    expect(bar).to_contain_text("3 images selected")
    chosen = [ids[1], ids[3], ids[4]]
    assert page.locator(".cell.selected").count() == 3
    # By keyboard: x, and Shift while moving.
    cells.nth(8).locator(".picture").focus()
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(bar).to_contain_text("6 images selected")
    page.keyboard.press("x")
    page.keyboard.press("ArrowLeft")
    expect(bar).to_contain_text("5 images selected")
    chosen += [ids[8], ids[9]]
    # The selection is in the link, and outlives a search and the large image.
    page.keyboard.press("Enter")
    expect(page.locator(".viewer[open]")).to_be_visible()
    page.keyboard.press("x")
    expect(page.locator(".viewer").get_by_role("button", name="Select")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("x")
    page.keyboard.press("Escape")
    expect(page.locator(".viewer[open]")).to_have_count(0)
    expect(page).not_to_have_url(re.compile(r"\bid="))
    page.reload()
    window.ready()
    expect(bar).to_contain_text("5 images selected")
    marked = page.eval_on_selector_all(
        ".cell.selected .picture", "all => all.map(one => Number(new URL(one.href).searchParams.get('id')))"
    )
    assert sorted(marked) == sorted(chosen)
    page.keyboard.press("Escape")
    expect(bar).to_have_count(0)
    assert parameter(page, "sel") is None


def test_a_selection_that_no_address_has_room_for_stays(open_window: Opener) -> None:
    window = open_window(f"?sel={','.join(map(str, range(1001, 2001, 2)))}")
    page = window.page
    bar = page.get_by_role("region", name="Selection")
    page.locator(".cell .picture").first.press("x")
    expect(bar).to_contain_text("501 images selected")
    assert parameter(page, "sel") is None
    page.keyboard.press("Enter")
    expect(page.locator(".viewer[open]")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".viewer[open]")).to_have_count(0)
    expect(bar).to_contain_text("501 images selected")


def test_the_focus_is_in_the_grid_when_the_selection_is_cleared(open_window: Opener) -> None:
    page = open_window("?sel=1-3").page
    page.get_by_role("button", name="Clear the selection").press("Enter")
    expect(page.locator(".selection")).to_have_count(0)
    expect(page.locator(".cell a").first).to_be_focused()


def test_an_image_that_fails_late_leaves_the_next_alone(open_window: Opener) -> None:
    window = open_window("?id=3")
    window.expected = "500 .*/image"
    page = window.page
    held: list[Route] = []
    page.route("**/items/4/image", lambda route: held.append(route))
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer .facts")).to_contain_text("ID4")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer .facts")).to_contain_text("ID5")
    expect(page.locator(".viewer .full")).to_have_js_property("complete", True)
    held[0].fulfill(status=500)
    page.wait_for_timeout(100)
    expect(page.locator(".viewer .full")).to_be_visible()


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_taking_the_selection_along(open_window: Opener, galleries: Galleries, by: str) -> None:
    window = open_window("?sel=2-4,70", permissions=["clipboard-read", "clipboard-write"])
    page = window.page
    press = (
        (lambda name: page.get_by_role("button", name=name).click())
        if by == "mouse"
        else (lambda name: page.get_by_role("button", name=name).press("Enter"))
    )
    gallery = zs.open_gallery(galleries.shapes)
    items = {item.id: item for item in gallery.items}
    chosen = [items[number] for number in (2, 3, 4, 70)]
    press("Copy paths")
    expect(page.get_by_text("Copied 4 paths.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "\n".join(map(gallery.path_of, chosen))
    with page.expect_download() as download:
        press("Download CSV")
    assert download.value.suggested_filename == "images.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert [(int(row["id"]), row["path"], row["label"], int(row["bytes"])) for row in rows] == [
        (item.id, gallery.path_of(item), item.label, item.bytes) for item in chosen
    ]
    press("Export labels …")
    page.get_by_label("One label for all").fill("mine")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    assert download.value.suggested_filename == "coco.json"
    content = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert [one["name"] for one in content["categories"]] == ["mine"]
    assert [one["file_name"] for one in content["images"]] == [item.path for item in chosen]


def test_files_that_are_missing_or_damaged(open_window: Opener) -> None:
    window = open_window("?g=worn")
    window.expected = r"4\d\d .*/items/2/"
    page = window.page
    cells = page.locator(".cell")
    expect(cells.nth(1)).to_contain_text("File missing")
    expect(cells.nth(2)).to_have_class(re.compile("broken"))
    expect(cells.nth(2)).to_contain_text("Cannot be read")
    cells.nth(1).locator(".picture").click()
    expect(page.locator(".viewer")).to_contain_text("The file is missing")
    expect(page.locator(".viewer .facts")).to_contain_text("missing.jpg")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer")).to_contain_text("This image cannot be shown")
    page.keyboard.press("Escape")


def test_an_image_that_is_not_there(open_window: Opener) -> None:
    window = open_window("?id=99999")
    window.expected = r"404 .*/items/99999"
    expect(window.page.locator(".viewer .stage")).to_contain_text("99999")
    window.page.keyboard.press("Escape")
    expect(window.page.locator(".viewer[open]")).to_have_count(0)
