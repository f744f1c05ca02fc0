"""The page: words, terms, images brought from elsewhere, and parts of images."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from kits.browser import Opener
from kits.shapes import Galleries
from playwright.sync_api import Page, Route, expect

import zsretrieve as zs
from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.queries import ItemId, parse_query

QUERIES = [
    "a red circle",
    "a red circle - a star",
    "a red circle + 0.5:a star - 2:blue",
    "- red",
    '"red - blue" + a star',
    "red + '0.5:x'",
    "16:9 wide",
    "10:30 + noon",
    "it's red + a dog's life",
    'say "hi" + x',
    "a  +  b",
    "3:a + 3.:b + .5:c",
    "id:42 - blue",
    "2:id:7 + 'id:7'",
    "id:7",
    '"id:7"',
    "id: 7",
]


def upload_of(page: Page) -> str:
    """The upload in the address of a page."""
    expect(page).to_have_url(re.compile("upload"))
    return page.evaluate("new URL(location.href).searchParams.get('t')")  # type: ignore[no-any-return]


def send(page: Page, event: str, selector: str, file: Path) -> None:
    """Paste or drop a file on an element."""
    page.eval_on_selector(
        selector,
        """(target, [event, text]) => {
          const data = new DataTransfer();
          const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
          data.items.add(new File([bytes], 'one.jpg', { type: 'image/jpeg' }));
          const both = { bubbles: true, cancelable: true };
          if (event === 'paste') target.dispatchEvent(new ClipboardEvent(event, { ...both, clipboardData: data }));
          else for (const name of ['dragenter', 'dragover', 'drop']) {
            target.dispatchEvent(new DragEvent(name, { ...both, dataTransfer: data }));
          }
        }""",
        [event, base64.b64encode(file.read_bytes()).decode()],
    )


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_words_give_the_ranking_of_the_library(
    open_window: Opener, galleries: Galleries, demo_encoder: Encoder, by: str
) -> None:
    window = open_window()
    page = window.page
    if by == "mouse":
        window.box.fill("a red circle - a star")
        page.get_by_role("button", name="Search", exact=True).click()
    else:
        page.keyboard.press("/")
        page.keyboard.type("a red circle - a star")
        page.keyboard.press("Enter")
    expect(page.locator(".status")).to_contain_text("exact")
    window.ready()
    hits = zs.search(galleries.shapes, "a red circle - a star", demo_encoder, k=60)
    assert window.ids()[:40] == [hit.id for hit in hits][:40]
    score = f"{hits[0].score:.3f}"
    assert page.locator(".cell .score").first.text_content() == score
    expect(page.locator(".status")).to_contain_text("200 images")
    expect(page.locator(".status")).to_contain_text("demo")
    assert page.title() == "a red circle - a star · shapes · zsretrieve"
    assert page.url == galleries.address + "?q=a+red+circle+-+a+star"


def test_the_page_reads_queries_as_the_library_does(open_window: Opener) -> None:
    page = open_window().page
    read = page.evaluate(
        "async (queries) => { const { parse, write } = await import('/js/query.js');"
        "return queries.map((query) => [parse(query), parse(write(parse(query)))]); }",
        QUERIES,
    )
    for query, (terms, again) in zip(QUERIES, read, strict=True):
        expected = [
            {"value": term.value, "weight": term.weight, "id": None}
            if isinstance(term.value, str)
            else {"value": f"id:{term.value.id}", "weight": term.weight, "id": term.value.id}
            for term in parse_query(query, lambda _: False).terms
            if isinstance(term.value, str | ItemId)
        ]
        assert terms == expected, query
        assert again == expected, query


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_labels_and_signs_complete_a_query(open_window: Opener, by: str) -> None:
    window = open_window()
    page, box = window.page, window.box
    options = page.locator("#completions [role=option]")
    box.press_sequentially("red ci")
    expect(options.first).to_contain_text("red circle")
    if by == "mouse":
        options.first.click()
    else:
        box.press("ArrowDown")
        expect(options.first).to_have_attribute("aria-selected", "true")
        box.press("Enter")
    expect(box).to_have_value("red circle")
    assert "q=" not in page.url  # nothing is searched before it is asked for
    box.press("Space")
    expect(options.filter(has_text="but not")).to_be_visible()
    if by == "mouse":
        options.filter(has_text="but not").click()
    else:
        box.press("ArrowUp")
        box.press("Enter")
    expect(box).to_have_value("red circle - ")
    box.press_sequentially("sta")
    expect(options.first).to_contain_text("star")
    box.press("Escape")
    expect(options).to_have_count(0)


def test_terms_are_weighed_subtracted_and_removed_by_mouse(open_window: Opener) -> None:
    window = open_window("?q=red+circle+%2B+blue+star")
    page = window.page
    before = window.ids()
    page.get_by_role("button", name="“blue star”", exact=True).click()
    page.get_by_role("button", name="More weight").click()
    expect(window.box).to_have_value("red circle + 1.5:blue star")
    page.get_by_role("button", name="Subtract instead").click()  # the menu is still open
    expect(window.box).to_have_value("red circle - 1.5:blue star")
    window.ready()
    assert window.ids() != before
    page.get_by_role("button", name="Remove “red circle”").click()
    expect(window.box).to_have_value("- blue star")
    page.go_back()
    page.go_back()
    expect(window.box).to_have_value("red circle + 1.5:blue star")


def test_terms_are_weighed_subtracted_and_removed_by_keyboard(open_window: Opener) -> None:
    window = open_window("?q=red+circle+%2B+blue+star")
    page, box = window.page, window.box
    page.locator(".chip .body").nth(1).focus()
    page.keyboard.press("+")
    expect(box).to_have_value("red circle + 1.5:blue star")
    page.keyboard.press("-")
    page.keyboard.press("-")
    expect(box).to_have_value("red circle + 0.75:blue star")
    page.keyboard.press("n")
    expect(box).to_have_value("red circle - 0.75:blue star")
    page.keyboard.press("Delete")
    expect(box).to_have_value("red circle")


@pytest.mark.parametrize("way", ["pick", "drop", "paste"])
def test_an_image_of_ones_own(open_window: Opener, galleries: Galleries, way: str) -> None:
    window = open_window()
    page = window.page
    file = next((galleries.folder / "images").rglob("*.jpg"))
    if way == "pick":
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Search with an image file").press("Enter")
        chooser.value.set_files(file)
    else:
        send(page, way, "body" if way == "paste" else "#main", file)
    upload_of(page)
    expect(page.get_by_role("button", name="your image", exact=True)).to_be_visible()
    window.ready()
    first = page.locator(".cell").first
    expect(first.locator(".score")).to_have_text("1.000")
    expect(first.locator(".name")).to_have_text(file.parent.name)
    # The image and words together, and the same again from the link.
    window.box.fill("a star")
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_count(2)
    window.ready()
    ids = window.ids()
    page.reload()
    window.ready()
    expect(page.locator(".chip")).to_have_count(2)
    assert window.ids()[:40] == ids[:40] != []


def test_something_else_than_an_image_is_refused(open_window: Opener, tmp_path: Path) -> None:
    window = open_window()
    window.expected = r"415 .*/uploads"
    text = tmp_path / "notes.jpg"
    text.write_text("no image")
    with window.page.expect_file_chooser() as chooser:
        window.page.get_by_role("button", name="Search with an image file").click()
    chooser.value.set_files(text)
    expect(window.page.locator("#query-error")).to_contain_text("not a readable image")
    assert len(window.ids()) > 40  # what was there stays


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_part_of_an_image(open_window: Opener, by: str) -> None:
    window = open_window("?id=7")
    page = window.page
    expect(page.locator(".viewer .full")).to_be_visible()
    if by == "mouse":
        box = page.locator(".viewer .frame").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.8)
        page.mouse.up()
        page.get_by_role("button", name="Search with this part").click()
        expected = [0.1, 0.2, 0.6, 0.8]
    else:
        page.keyboard.press("c")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Shift+ArrowDown")
        page.keyboard.press("Enter")
        expected = [0.23, 0.25, 0.73, 0.77]
    expect(page.get_by_role("button", name="part of image 7", exact=True)).to_be_visible()
    term = page.evaluate("new URL(location.href).searchParams.get('t')")
    assert term.startswith("1:id:7@")
    assert [float(side) for side in term.split("@")[1].split(",")] == pytest.approx(expected, abs=0.01)
    expect(page.locator(".viewer[open]")).to_have_count(0)
    window.ready()
    whole = open_window("?q=id%3A7")
    assert window.ids() != whole.ids()


def test_a_part_of_ones_own_image(open_window: Opener, galleries: Galleries) -> None:
    window = open_window()
    page = window.page
    send(page, "paste", "body", next((galleries.folder / "images").rglob("*.jpg")))
    page.get_by_role("button", name="your image", exact=True).click()
    page.get_by_role("button", name="Use a part of it").click()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="part of your image", exact=True)).to_be_visible()
    assert upload_of(page).endswith("@0.25,0.23,0.75,0.73")


def test_feedback(open_window: Opener, galleries: Galleries, demo_encoder: Encoder) -> None:
    window = open_window("?q=a+red+circle")
    page = window.page
    first = window.ids()[0]
    page.locator(".cell .picture").first.focus()
    page.keyboard.press("m")
    expect(page).to_have_url(re.compile(f"more={first}"))
    window.ready()
    assert page.evaluate("document.activeElement.closest('.cell') === document.querySelector('.cell')")
    page.locator(".cell").nth(3).hover()
    page.locator(".cell").nth(3).get_by_title("Less like this").click()
    expect(page).to_have_url(re.compile("less="))
    window.ready()
    expect(page.get_by_role("button", name=f"More like image {first}", exact=True)).to_be_visible()
    less = int(page.evaluate("new URL(location.href).searchParams.get('less')"))
    wanted = zs.Wanted(k=60, more=(first,), less=(less,))
    hits = zs.search(galleries.shapes, "a red circle", demo_encoder, wanted)
    assert window.ids()[:40] == [hit.id for hit in hits][:40]
    page.get_by_role("button", name=f"Remove More like image {first}").click()
    expect(page.locator(".chip")).to_have_count(2)


def test_an_error_in_a_query_is_under_the_box(open_window: Opener) -> None:
    window = open_window("?q=red+-+red")
    window.expected = "400 .*/search"
    expect(window.page.locator("#query-error")).to_contain_text("cancel out")
    window.box.fill("red")
    window.page.keyboard.press("Enter")
    expect(window.page.locator(".cell").first).to_be_visible()
    expect(window.page.locator("#query-error")).to_be_empty()


def answers(page: Page) -> list[dict[str, Any]]:
    """The bodies of the searches that a page sends from now on."""
    sent: list[dict[str, Any]] = []
    page.on(
        "request", lambda one: sent.append(json.loads(one.post_data or "{}")) if one.url.endswith("/search") else None
    )
    return sent


def test_the_query_is_sent_as_it_is_written(open_window: Opener) -> None:
    window = open_window()
    sent = answers(window.page)
    window.box.fill("  red + 2:blue ")
    window.page.keyboard.press("Enter")
    window.ready()
    assert sent[0]["query"] == "red + 2:blue"


def test_where_nothing_matches_the_page_says_so(
    open_window: Opener, galleries: Galleries, demo_encoder: Encoder
) -> None:
    query = "a purple crescent on brick"
    matching = zs.search(galleries.shapes, query, demo_encoder, k=60).matching
    assert matching is not None
    assert matching.nothing
    window = open_window(f"?q={query}")
    line = window.page.locator(".nothing")
    expect(line).to_contain_text("Nothing in this gallery seems to match.")
    expect(line).to_contain_text(f"{matching.threshold:.3f}")
    script = "async (pair) => (await import('/js/format.js')).scoresApart(...pair)"
    assert window.page.evaluate(script, [0.6478, 0.6482]) == ["0.6478", "0.6482"]
    assert window.page.evaluate(script, [-0.1, 0.25]) == ["\u22120.100", "0.250"]
    assert len(window.ids()) > 40  # never a silent cut


def test_a_line_divides_what_matches_from_the_rest(
    open_window: Opener, galleries: Galleries, demo_encoder: Encoder
) -> None:
    hits = zs.search(galleries.shapes, "a red circle", demo_encoder, k=200)
    matching = hits.matching
    assert matching is not None
    above = sum(hit.score >= matching.threshold for hit in hits)
    assert 0 < above < 40
    window = open_window("?q=a+red+circle")
    page = window.page
    expect(page.locator(".status")).to_contain_text(f"{above} above the threshold")
    before = page.evaluate("[...document.querySelectorAll('.grid > li')].findIndex((one) => one.matches('.cut'))")
    assert before == above
    expect(page.locator(".cut")).to_contain_text(f"Below {matching.threshold:.3f}")


def test_images_that_could_not_be_compared_are_stated(open_window: Opener) -> None:
    window = open_window()
    page = window.page

    def lose(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "n_missing": 1200, "exact": False, "matching": None})

    page.route("**/search", lose)
    window.box.fill("a star")
    page.keyboard.press("Enter")
    expect(page.locator(".nothing")).to_contain_text("1,200 images could not be compared.")
    expect(page.locator(".status")).to_contain_text("1,200 not compared")
    expect(page.get_by_title("1,200 images could not be compared")).to_have_text("partial")
    page.unroute("**/search")
    window.box.fill("a circle")
    page.keyboard.press("Enter")
    expect(page.locator(".status")).to_contain_text("exact")
    expect(page.locator(".nothing")).to_have_count(0)
