"""The page: the map."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from kits.browser import Opener, Window, findings
from kits.shapes import Galleries
from playwright.sync_api import Locator, Page, expect

import zsretrieve as zs
from zsretrieve.domain.ports import Encoder

NO_WEBGL = """
const give = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) { return kind === 'webgl2' ? null : give.call(this, kind, ...more); };
"""  # noqa: E501
PAINTED = """(canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
  return new Promise((done) => requestAnimationFrame(() => {
    document.querySelector('zs-map').draw();
    requestAnimationFrame(() => {
      copy.drawImage(canvas, 0, 0);
      const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
      done(data.filter((part, i) => i % 4 === 3 && part > 60).length);
    });
  }));
}"""


def rested(page: Page) -> Locator:
    """The map, once all that is in view is drawn and listed."""
    expect(page.locator("html:not([data-busy]) zs-map:not([data-drawing]) .points")).to_be_attached()
    expect(page.locator(".map-side .cell, .map-side button:disabled").first).to_be_attached()
    return page.locator("canvas.map")


def screen(page: Page, xy: tuple[float, float]) -> tuple[float, float]:
    """Where a point of the map is in the window."""
    left, top = page.evaluate(
        """(xy) => {
          const map = document.querySelector('zs-map'), box = map.getBoundingClientRect();
          const [left, top] = map.camera.toScreen(...xy);
          return [left + box.left, top + box.top];
        }""",
        xy,
    )
    return left, top


def places(galleries: Galleries) -> dict[int, tuple[float, float]]:
    made = zs.open_map(galleries.shapes)
    return {int(number): (x, y) for number, (x, y) in zip(made.ids, made.xy.tolist(), strict=True)}


def selected(page: Page) -> list[int]:
    expect(page.locator(".selection")).to_be_visible()
    return sorted(page.evaluate("document.querySelector('zs-map').selected.map((place) => document.querySelector('zs-map').data.points.ids[place])"))  # fmt: skip  # noqa: E501


def test_the_map_shows_all_images_and_lists_them(open_window: Opener, galleries: Galleries) -> None:
    page = open_window("?view=map").page
    rested(page)
    assert page.locator(".points").evaluate(PAINTED) > 500
    expect(page.locator(".map-side")).to_contain_text("200 images.")
    expect(page.locator(".map-side")).to_contain_text("32 more labels")
    assert page.title() == "Map · shapes · zsretrieve"
    assert re.search(r"\?view=map$", page.url)  # a look at all of it needs nothing more
    shown = page.evaluate(
        "(() => { const { ids, xy } = document.querySelector('zs-map').data.points; return [...ids].map((id, i) => [id, xy[2 * i], xy[2 * i + 1]]); })()"  # noqa: E501
    )
    assert {number: (x, y) for number, x, y in shown} == places(galleries)


def test_a_point_is_hovered_and_clicked(open_window: Opener, galleries: Galleries) -> None:
    page = open_window("?view=map").page
    rested(page)
    page.mouse.move(*screen(page, places(galleries)[7]))
    tip = page.locator(".tip")
    expect(tip).to_be_visible()
    expect(tip.locator("img")).to_have_js_property("complete", True)
    name = tip.locator(".soft").inner_text()
    page.mouse.click(*screen(page, places(galleries)[7]))
    expect(page.locator(".viewer[open] .facts")).to_contain_text(name)
    expect(page).to_have_url(re.compile(r"view=map&id=\d+$"))
    page.keyboard.press("Escape")
    expect(page.locator(".viewer[open]")).to_have_count(0)
    expect(page.locator("canvas.map")).to_be_focused()
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()


@pytest.mark.parametrize("by", ["mouse", "keyboard", "buttons"])
def test_moving_and_zooming_are_kept_in_the_link(open_window: Opener, by: str) -> None:
    window = open_window("?view=map")
    page = window.page
    canvas = rested(page)
    box = canvas.bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    if by == "mouse":
        page.mouse.move(*middle)
        page.mouse.wheel(0, -400)
        page.mouse.down()
        page.mouse.move(middle[0] + 120, middle[1] + 40, steps=4)
        page.mouse.up()
    elif by == "keyboard":
        canvas.focus()
        for key in ("+", "+", "ArrowLeft", "ArrowUp"):
            page.keyboard.press(key)
    else:
        page.get_by_role("button", name="Closer").click()
        page.get_by_role("button", name="Closer").click()
    expect(page).to_have_url(re.compile(r"at="))
    rested(page)
    expect(page.locator(".map-side .soft").first).not_to_contain_text("200 images")
    at = page.evaluate("document.querySelector('zs-map').camera.at")
    assert at["zoom"] > 1.5
    ids = window.ids()
    page.reload()
    rested(page)
    assert page.evaluate("document.querySelector('zs-map').camera.at") == pytest.approx(at, rel=1e-3)
    assert window.ids()[:10] == ids[:10]
    if by == "keyboard":
        page.locator("canvas.map").press("0")
    else:
        page.get_by_role("button", name="Whole map").click()
    expect(page).to_have_url(re.compile(r"\?view=map$"))
    expect(page.locator(".map-side")).to_contain_text("200 images.")


def test_two_fingers_zoom(open_window: Opener) -> None:
    page = open_window("?view=map", viewport={"width": 390, "height": 800}, has_touch=True).page
    rested(page)
    client = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 20), ("touchMove", 40), ("touchMove", 80), ("touchEnd", 0)):
        points = [{"x": 195 + sign * apart, "y": 400, "id": i} for i, sign in enumerate((-1, 1))] if apart else []
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page).to_have_url(re.compile(r"at="))
    assert page.evaluate("document.querySelector('zs-map').camera.at.zoom") == pytest.approx(4, rel=0.2)


def test_what_a_query_finds_is_lit(open_window: Opener, galleries: Galleries, demo_encoder: Encoder) -> None:
    window = open_window("?view=map")
    page = window.page
    rested(page)
    window.box.fill("a red circle")
    page.keyboard.press("Enter")
    expect(page.locator(".status")).to_contain_text("above the threshold")
    rested(page)
    hits = zs.search(galleries.shapes, "a red circle", demo_encoder, k=200)
    assert hits.matching is not None
    wanted = [hit.id for hit in hits if hit.score is not None and hit.score >= hits.matching.threshold]
    lit = page.evaluate("(() => { const { lit, data } = document.querySelector('zs-map'); return lit.map((place) => data.points.ids[place]); })()")  # fmt: skip  # noqa: E501
    assert lit == wanted != []
    expect(page.locator(".map-side")).to_contain_text(f"{len(wanted)} of them lit")
    assert window.ids()[: len(wanted[:20])] == wanted[:20]
    page.go_back()
    expect(page.locator(".map-side")).to_contain_text("200 images.")
    window.open("?view=map&q=a+purple+crescent+on+brick")
    expect(page.locator(".map-side")).to_contain_text("Nothing seems to match; the nearest 50 are lit.")
    window.open("?view=map&where=label+like+%27red%25%27")
    expect(page.locator(".map-side")).to_contain_text("50 of them lit")


def test_errors_of_a_query_are_at_the_box(open_window: Opener) -> None:
    window = open_window("?view=map&q=id%3A99999")
    window.expected = "40[04] .*/(search|items/99999/)"
    expect(window.page.locator("#query-error")).to_contain_text("99999")
    rested(window.page)


def test_a_link_opens_an_image(open_window: Opener) -> None:
    page = open_window("?view=map&id=7").page
    expect(page.locator(".viewer[open] .facts")).to_contain_text("ID7")
    page.keyboard.press("Escape")
    expect(page.locator(".viewer[open]")).to_have_count(0)
    rested(page)


def test_a_query_that_fails_can_be_sent_again(open_window: Opener) -> None:
    window = open_window("?view=map")
    window.expected = "500 .*/search"
    page = window.page
    rested(page)
    page.route("**/search", lambda route: route.fulfill(status=500, json={"error": {"message": "It broke"}}))
    window.box.fill("a star")
    page.keyboard.press("Enter")
    expect(page.locator(".map-side .notice")).to_contain_text("It broke")
    page.wait_for_timeout(400)  # the map rests again meanwhile
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".status")).to_contain_text("above the threshold")
    expect(page.locator(".map-side .notice")).to_have_count(0)


def test_a_map_that_is_left_gives_its_context_back(open_window: Opener) -> None:
    page = open_window("?view=map").page
    rested(page)
    page.evaluate("window.context = document.querySelector('.points').getContext('webgl2')")
    page.get_by_role("link", name="Search").click()
    expect(page.locator(".cell").first).to_be_visible()
    assert page.evaluate("context.isContextLost()")


def test_a_lasso_selects(open_window: Opener, galleries: Galleries) -> None:
    page = open_window("?view=map").page
    rested(page)
    known = places(galleries)
    left = {number for number, (x, _) in known.items() if x < 0.5}
    bottom, top = (pick(y for _, y in known.values()) for pick in (min, max))
    around = ((-0.02, bottom - 0.02), (0.5, bottom - 0.02), (0.5, top + 0.02), (-0.02, top + 0.02))
    corners = [screen(page, place) for place in around]
    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in [*corners[1:], corners[0]]:
        page.mouse.move(*corner, steps=3)
    page.mouse.up()
    assert selected(page) == sorted(left) != []
    expect(page.get_by_role("button", name="Lasso")).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".selection")).to_contain_text(f"{len(left)} images selected")
    expect(page).to_have_url(re.compile("sel="))
    assert "at=" not in page.url  # the lasso has not moved the map


def test_the_keyboard_selects_and_opens(open_window: Opener, galleries: Galleries) -> None:
    page = open_window("?view=map&at=0.5,0.5,3").page
    canvas = rested(page)
    in_view = page.evaluate("document.querySelector('zs-map').overlay.inView.length")
    assert 0 < in_view < 200
    page.keyboard.press("v")
    assert len(selected(page)) == in_view
    page.keyboard.press("Escape")
    expect(page.locator(".selection")).to_have_count(0)
    number = min(places(galleries), key=lambda one: abs(places(galleries)[one][0] - 0.4))
    x, y = places(galleries)[number]
    Window(page, galleries.address).page.goto(f"{galleries.address}?view=map&at={x},{y},8")
    rested(page)
    canvas.focus()
    page.keyboard.press("x")
    assert selected(page) == [number]
    page.keyboard.press("Enter")
    expect(page.locator(".viewer[open] .facts")).to_contain_text(f"ID{number}")
    page.keyboard.press("m")
    expect(page).to_have_url(re.compile(rf"view=map.*more={number}"))
    expect(page.locator(".viewer[open]")).to_have_count(0)
    rested(page)
    page.locator(".map-side .cell a").first.press("Enter")
    expect(page.locator(".viewer[open]")).to_be_visible()


def test_there_is_no_map_yet(open_window: Opener, galleries: Galleries) -> None:
    window = open_window("?view=map&g=worn")
    window.expected = r"4\d\d .*/items/[12]/"  # whose files are missing and damaged
    page = window.page
    expect(page.locator(".notice")).to_contain_text("The gallery “worn” has no map yet.")
    zs.make_map(galleries.folder / "worn")
    try:
        page.get_by_role("button", name="Look again").press("Enter")
        expect(page.locator(".map-side")).to_contain_text("3 images.")
        rested(page)
    finally:
        (galleries.folder / "worn" / "map.parquet").unlink()


@pytest.mark.parametrize("has_webgl", [True, False])
def test_many_points(open_window: Opener, has_webgl: bool) -> None:
    n = 200_000
    rng = np.random.default_rng(5)
    parts = {
        "map": rng.random((n, 2), dtype=np.float32).astype("<f4").tobytes(),
        "map/ids": np.arange(n, dtype="<i8").tobytes(),
        "map/labels": np.full(n, -1, dtype="<i4").tobytes(),
    }
    window = open_window()
    page = window.page
    window.expected = "404 .*/items/"  # most of these images are made up
    if not has_webgl:
        page.add_init_script(NO_WEBGL)

    def answer(name: str) -> None:
        page.route(re.compile(f"/galleries/shapes/{name}$"), lambda route: route.fulfill(
            body=parts[name], content_type="application/octet-stream", headers={"ETag": '"made"'}))  # fmt: skip

    for name in parts:
        answer(name)
    about = {"n": n, "missing": 3, "method": "made up", "captions": [], "revision": "1"}
    page.route("**/map/about", lambda route: route.fulfill(body=json.dumps(about), content_type="application/json"))
    page.goto(f"{window.address}?view=map")
    canvas = rested(page)
    expect(page.locator(".map-side")).to_contain_text("200,000 images. The first 5,000 are listed.")
    expect(page.locator(".map-side")).to_contain_text("3 images of the gallery are not on the map yet")
    sample = page.locator(".map-side").get_by_text("This browser has no WebGL2, so only 50,000 points")
    expect(sample).to_have_count(0 if has_webgl else 1)
    assert page.locator(".points").evaluate(PAINTED) > (100_000 if has_webgl else 30_000)
    page.evaluate("window.frames = []; (function next(t) { frames.push(t); requestAnimationFrame(next); })(0)")
    canvas.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    rested(page)
    assert page.locator(".points").evaluate(PAINTED) > (50_000 if has_webgl else 15_000)
    assert page.evaluate("frames.length") > 6  # it never stood still
    assert findings(page) == []
