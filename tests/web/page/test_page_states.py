"""The page: filters, links, what it shows when something is wrong, and how it looks to whom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from kits.browser import Opener, findings
from kits.shapes import Galleries
from playwright.sync_api import Page, Route, expect

import zsretrieve as zs
from zsretrieve import web
from zsretrieve.domain.ports import Encoder

# Every state that the address knows, and what must be in sight.
STATES = {
    "": ".cell",
    "?q=a+red+circle": ".cell .score",
    "?q=a+red+circle+-+0.5%3Aa+star&order=date": ".chip.minus",
    "?q=red&more=3%2C7&less=9": ".chip >> text=less like",
    "?q=a+star&where=label+like+%27red%25%27&dedup=1": ".badge >> text=2",
    "?where=label+%3D+%27nothing%27": ".notice >> text=No image passes",
    "?q=red&min=0.4": ".status >> text=of 200 images",
    "?t=1%3Aid%3A5%400.2%2C0.2%2C0.7%2C0.7": ".chip >> text=part",
    "?q=red+%2B+blue&id=12": ".viewer[open] .neighbours",
    "?sel=1-3": ".selection >> text=3 images",
    "?view=map": ".map-side .cell",
    "?view=map&q=a+red+circle&at=0.5%2C0.5%2C2&sel=1-3": ".status >> text=above the threshold",
    "?view=map&g=worn": ".notice >> text=has no map yet",
    "?view=map&g=none": ".notice >> text=empty",
    "?view=classify": ".histogram button",
    "?view=classify&c=a+red+thing&c=a+blue+thing&bar=a+red+thing": ".of-class .cell",
    "?view=classify&g=worn": ".histogram button",
    "?view=classify&c=red&where=label+%3D+%27nothing%27": ".notice >> text=No image passes",
    "?g=worn": ".cell.gone",
    "?g=none": ".notice >> text=empty",
    "?g=elsewhere": ".notice >> text=no gallery named",
}
HARMLESS = r"4\d\d .*/items/2/"  # of the damaged file


def open_filters(page: Page, by: str) -> None:
    if by == "mouse":
        page.get_by_role("button", name="Filters").click()
    else:
        page.keyboard.press("f")
    expect(page.locator("#filters")).to_be_visible()


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_filters_are_clicked_together_and_show_their_sql(open_window: Opener, galleries: Galleries, by: str) -> None:
    window = open_window()
    page = window.page
    open_filters(page, by)
    sql = page.get_by_label("SQL condition")
    labels = page.get_by_role("group", name="Label").last
    if by == "mouse":
        labels.get_by_label("red circle").check()
        page.get_by_label("Find a label").fill("blue s")
        labels.get_by_label("blue star").check()
    else:
        labels.get_by_label("red circle").press("Space")
        expect(sql).to_have_value("label = 'red circle'")
        page.get_by_label("Find a label").fill("blue s")
        labels.get_by_label("blue star").press("Space")
    expect(sql).to_have_value("label in ('red circle', 'blue star')")
    page.get_by_label("From", exact=True).fill("2024-02-01")
    page.get_by_label("To", exact=True).fill("2024-06-30")
    page.get_by_label("Minimum side (px)").fill("500")
    page.get_by_label("Maximum file size (MB)").fill("1.5")
    page.get_by_label("Maximum file size (MB)").press("Tab")
    condition = (
        "label in ('red circle', 'blue star') and mtime >= '2024-02-01' and mtime < '2024-07-01' "
        "and greatest(width, height) >= 500 and bytes <= 1500000"
    )
    expect(sql).to_have_value(condition)
    window.ready()
    expected = zs.search(galleries.shapes, wanted=zs.Wanted(k=200, where=condition))
    expect(page.locator(".status")).to_contain_text(f"{len(expected)} of 200 images")
    assert window.ids() == [hit.id for hit in expected] != []
    # The link opens with the same fields.
    page.reload()
    window.ready()
    open_filters(page, by)
    expect(page.get_by_label("red circle").first).to_be_checked()
    expect(page.get_by_label("To", exact=True)).to_have_value("2024-06-30")
    page.get_by_role("button", name="Clear filters").press("Enter")
    expect(page.locator(".status")).to_have_text(re.compile("^200 images"))


def test_a_score_that_cannot_be_is_not_asked_for(open_window: Opener) -> None:
    page = open_window("?q=a+red+circle").page
    open_filters(page, "mouse")
    score = page.get_by_label("Minimum score")
    score.fill("2")
    score.press("Tab")
    assert score.evaluate("(one) => one.matches(':invalid')")
    expect(page).not_to_have_url(re.compile("min="))
    score.fill("0.99")
    score.press("Tab")
    expect(page.locator(".notice")).to_contain_text("No image scores at least 0.99.")
    expect(page.locator(".status")).to_have_text(re.compile("^0 of 200 images"))
    expect(page.get_by_role("button", name="Select all")).to_have_count(0)


def test_sql_by_hand(open_window: Opener) -> None:
    window = open_window()
    window.expected = "400 .*/search"
    page = window.page
    open_filters(page, "mouse")
    sql = page.get_by_label("SQL condition")
    sql.fill("label like 'red%' and id % 2 = 0")
    sql.press("Enter")
    expect(page.locator(".status")).to_contain_text("of 200 images")
    expect(page.get_by_text("Written by hand")).to_be_visible()
    sql.fill("lable = 3")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#filter-error")).to_contain_text("lable")
    expect(sql).to_have_attribute("aria-invalid", "true")
    sql.fill("")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#filter-error")).to_be_empty()
    expect(page.locator(".cell").first).to_be_visible()


def test_conditions_are_read_back_as_they_are_written(open_window: Opener) -> None:
    page = open_window().page
    filters: list[dict[str, Any]] = [
        {},
        {"labels": ["a"]},
        {"labels": ["it's", "a, b", "x' or 'y"], "folders": ["", "a/b"]},
        {"from": "2024-02-29", "to": "2023-12-31", "pixels": 3, "least": 0, "most": 10},
    ]
    nothing = {"labels": [], "folders": [], "from": "", "to": "", "pixels": None, "least": None, "most": None}
    script = """async (all) => {
      const { read, write } = await import('/js/sql.js');
      return all.map(write).map((sql) => [sql, read(sql)]);
    }"""
    whole = [nothing | one for one in filters]
    for wanted, (sql, back) in zip(whole, page.evaluate(script, whole), strict=True):
        assert back == wanted, sql
    by_hand = ["label = 'a' or 1 = 1", "mtime >= '2024-01-01' and", "label in ()", "width > 3", " label = 'a'"]
    read = "async (all) => { const { read } = await import('/js/sql.js'); return all.map((sql) => read(sql)); }"
    assert page.evaluate(read, by_hand) == [None] * len(by_hand)


def test_orders(open_window: Opener, galleries: Galleries, demo_encoder: Encoder) -> None:
    window = open_window()
    page = window.page
    page.get_by_label("Order").select_option("Newest first")
    expect(page).to_have_url(re.compile("order=date"))
    window.ready()
    expected = zs.search(galleries.shapes, wanted=zs.Wanted(k=40, order="date"))
    expect(page.locator(".cell a").first).to_have_attribute("href", re.compile(f"id={expected[0].id}$"))
    assert window.ids()[:40] == [hit.id for hit in expected]


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_a_link_and_accessible(open_window: Opener, state: str) -> None:
    window = open_window(state)
    window.expected = HARMLESS
    page = window.page
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    expect(page.locator(STATES[state]).first).to_be_visible()
    assert findings(page) == []
    page.emulate_media(color_scheme="dark")
    assert findings(page, "color-contrast") == []  # all else is the same in the dark
    ids = window.ids()
    page.reload()
    window.ready()
    expect(page.locator(STATES[state]).first).to_be_visible()
    assert window.ids()[:20] == ids[:20]
    # Only now: in a narrower window, other images of a map are in view.
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.reload()
    window.ready()
    expect(page.locator(STATES[state]).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("width", [320, 1280])
def test_what_opens_over_the_page_fits_and_is_accessible(open_window: Opener, width: int) -> None:
    window = open_window("?q=red+%2B+id%3A5", viewport={"width": width, "height": 700})
    page = window.page

    scheme = "light" if width > 320 else "dark"

    def check() -> None:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    open_filters(page, "mouse")
    check()
    page.keyboard.press("Escape")
    expect(page.locator("#filters")).to_be_hidden()
    page.get_by_role("button", name="Keys").click()
    check()
    page.keyboard.press("Escape")
    page.locator(".chip .body").last.click()
    check()
    page.get_by_role("button", name="Use a part of it").click()
    expect(page.get_by_role("dialog", name="Choose a part of the image")).to_be_visible()
    check()
    page.keyboard.press("Escape")
    window.box.fill("")
    window.box.press_sequentially("red ")
    expect(page.locator("#completions")).to_be_visible()
    check()


def test_all_modules_of_the_search_are_asked_for_at_once() -> None:
    static = Path(web.__file__).parent / "static"
    asked = re.findall(
        r'(?:modulepreload"|module"(?: async)?) (?:href|src)="([^"]+)"', (static / "index.html").read_text()
    )
    needed: set[Path] = set()
    left = [static / "js/main.js", static / "js/views/search.js"]
    while left:
        module = left.pop()
        if module not in needed:
            needed.add(module)
            imports = re.findall(r'^import (?:[^"]* from )?"([^"]+)"', module.read_text(encoding="utf-8"), re.MULTILINE)
            left += [(module.parent / one).resolve() for one in imports]
    assert sorted(asked) == sorted(path.relative_to(static).as_posix() for path in needed)


def test_the_first_image_is_four_requests_deep(open_window: Opener) -> None:
    """The document; the modules and the galleries; the search; the image. Requests are let go level by level."""
    window = open_window("?g=none")
    page = window.page
    held: list[Route] = []
    levels: list[list[str]] = []
    page.route("**/*", lambda route: held.append(route))
    page.evaluate("setTimeout(() => location.assign('?q=a+red+circle'))")
    while not levels or not any("/thumbnail" in one for one in levels[-1]):
        now = 0
        while not held or len(held) > now:  # until nothing more comes
            now = len(held)
            page.wait_for_timeout(300)
        levels.append([route.request.url.removeprefix(window.address) for route in held])
        for route in held[:]:
            held.remove(route)
            route.continue_()
        assert len(levels) < 8
    page.unroute("**/*")
    assert [level.count("api/v1/galleries/shapes/search") for level in levels] == [0, 0, 1, 0], levels


def test_keys_are_listed(open_window: Opener) -> None:
    page = open_window().page
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("More like this")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("f")
    page.get_by_label("SQL condition").press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Escape")
    page.locator(".cell a").first.press("Enter")
    page.locator(".viewer[open] h2").press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".viewer[open]")).to_be_visible()


def test_keys_do_nothing_below_a_dialog(open_window: Opener) -> None:
    page = open_window("?q=id%3A5+%2B+red").page
    page.locator(".chip .body").first.click()
    page.get_by_role("button", name="Use a part of it").click()
    dialog = page.get_by_role("dialog", name="Choose a part of the image")
    expect(dialog).to_be_visible()
    page.keyboard.press("f")
    page.keyboard.press("?")
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)
    dialog.get_by_role("button", name="Close").press("Enter")
    expect(dialog).to_have_count(0)
    assert "t=" not in page.url


def test_what_is_typed_stays_while_images_are_selected(open_window: Opener) -> None:
    window = open_window("?q=red")
    window.box.fill("red star")
    window.page.locator(".cell").first.hover()
    window.page.locator(".cell .check").first.click()
    expect(window.page.locator(".selection")).to_be_visible()
    expect(window.box).to_have_value("red star")


def test_another_gallery_can_be_chosen_where_the_address_names_none(open_window: Opener) -> None:
    page = open_window("?g=elsewhere").page
    page.get_by_label("Gallery").select_option("shapes (200)")
    expect(page.locator(".cell").first).to_be_visible()
    page.go_back()
    expect(page.locator(".notice")).to_contain_text("no gallery named")
    page.get_by_role("link", name="zsretrieve: all images").click()
    expect(page.locator(".cell").first).to_be_visible()
    page.go_back()
    page.locator(".notice").get_by_role("link", name="shapes").click()
    expect(page.locator(".cell").first).to_be_visible()


def test_a_view_that_does_not_exist_is_the_search(open_window: Opener) -> None:
    page = open_window("?view=nonsense").page
    expect(page.locator(".cell").first).to_be_visible()
    expect(page.locator("#views [aria-current]")).to_have_text("Search")


def test_tabs_take_the_query_along(open_window: Opener) -> None:
    window = open_window()
    window.box.fill("a star")
    window.page.keyboard.press("Enter")
    expect(window.page).to_have_url(re.compile("q=a"))
    expect(window.page.get_by_role("link", name="Map")).to_have_attribute("href", "?view=map&q=a+star")


def test_a_view_that_cannot_be_loaded(open_window: Opener) -> None:
    window = open_window()
    window.expected = "500 .*/views/map.js"
    page = window.page
    page.route("**/views/map.js", lambda route: route.fulfill(status=500))
    page.get_by_role("link", name="Map").click()
    expect(page.locator(".notice")).to_contain_text("The view cannot be loaded.")
    page.unroute("**/views/map.js")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("canvas.map")).to_be_visible()


def test_the_theme_follows_the_system_until_it_is_chosen(open_window: Opener) -> None:
    page = open_window(color_scheme="dark").page
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == light
    assert page.evaluate("localStorage.theme") == "light"


def test_reduced_motion_is_respected(open_window: Opener) -> None:
    running = (
        "[...document.querySelectorAll('button, .cell img, .cell .acts')]"
        ".filter((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0).length"
    )
    assert open_window(reduced_motion="reduce").page.evaluate(running) == 0
    assert open_window(reduced_motion="no-preference").page.evaluate(running) > 0


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_galleries_are_switched(open_window: Opener, by: str) -> None:
    window = open_window("?q=a+star&where=label+%3D+%27red+star%27")
    window.expected = HARMLESS
    page = window.page
    switcher = page.get_by_label("Gallery")
    if by == "mouse":
        switcher.select_option("worn (3)")
    else:
        switcher.focus()
        page.keyboard.press("ArrowDown")
    expect(page).to_have_url(re.compile(r"g=worn"))
    expect(page.locator(".status")).to_contain_text("3 images")
    if by == "keyboard":
        expect(switcher).to_be_focused()
    expect(window.box).to_have_value("a star")
    assert "where" not in page.url
    page.go_back()
    expect(switcher).to_have_value("shapes")
    expect(page.locator(".status")).to_contain_text("of 200 images")


def test_an_overloaded_server_is_asked_again(open_window: Opener) -> None:
    window = open_window()
    window.expected = "503 .*/search"
    page = window.page
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        refused.append(route.request.url)
        if len(refused) > 1:
            route.fallback()
        else:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": {"message": "busy", "hint": None}})

    page.route("**/search", refuse_once)
    window.box.fill("red")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("The server is busy.")
    expect(page.locator(".notice")).to_contain_text("Trying again in 1 second")
    expect(page.locator(".cell .score").first).to_be_visible()
    assert len(refused) == 2


def test_a_server_that_does_not_answer(open_window: Opener) -> None:
    window = open_window()
    window.expected = "ERR_INTERNET_DISCONNECTED"
    page = window.page
    page.context.set_offline(True)
    window.box.fill("red")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("The server does not answer.")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".cell .score").first).to_be_visible()


def test_more_images_can_be_asked_for_again(open_window: Opener) -> None:
    window = open_window(viewport={"width": 1280, "height": 300})
    window.expected = "500 .*/search"
    page = window.page
    page.route(
        "**/search", lambda route: route.fulfill(status=500, json={"error": {"message": "It broke", "hint": ""}})
    )
    page.mouse.move(600, 250)
    page.mouse.wheel(0, 20_000)
    expect(page.locator(".end .notice")).to_contain_text("It broke")
    n = len(window.ids())
    page.unroute("**/search")
    page.locator(".end").get_by_role("button", name="Try again").click()
    expect(page.locator(".cell").nth(n + 20)).to_be_attached()
    expect(page.locator(".end .notice")).to_have_count(0)
