"""The page: classes as a histogram, and their images."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from kits.browser import Opener
from kits.shapes import Galleries
from playwright.sync_api import Page, Route, expect

import zsretrieve as zs
from zsretrieve.domain.ports import Encoder

CLASSES = ["a red thing", "a blue thing", "something green", "a yellow, bright thing"]


def bars(page: Page) -> dict[str, int]:
    """The classes of the histogram, in order, with their counts."""
    expect(page.locator("html:not([data-busy]) .histogram button").first).to_be_visible()
    return {
        bar.get_attribute("data-class") or "": int(re.sub(r"\D", "", bar.locator(".number").first.inner_text()))
        for bar in page.locator(".histogram button").all()
    }


def counts(galleries: Galleries, encoder: Encoder) -> dict[str, int]:
    found = zs.classify(zs.open_gallery(galleries.shapes), None, encoder, classes=CLASSES)
    return dict(Counter(one.predictions[0].class_name for one in found.results))


def test_classes_that_the_model_cannot_distinguish(open_window: Opener) -> None:
    page = open_window("?view=classify&c=dog&c=cat").page
    expect(page.get_by_role("note")).to_contain_text("The model cannot distinguish these 2 classes")
    page.goto(page.url.replace("cat", "a+star"))
    expect(page.locator(".histogram button").first).to_be_visible()
    expect(page.get_by_role("note")).to_have_count(0)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_classes_are_typed_and_a_bar_shows_its_images(
    open_window: Opener, galleries: Galleries, demo_encoder: Encoder, by: str
) -> None:
    window = open_window("?view=classify")
    page = window.page
    page.get_by_label("Kind of classes").select_option("Classes that I type")
    text = page.get_by_label("Classes", exact=True)
    expect(text).to_be_focused()
    expect(page.locator(".notice")).to_contain_text("What is in the images?")
    page.keyboard.type("\n".join(CLASSES))
    if by == "mouse":
        page.get_by_role("button", name="Classify").click()
    else:
        page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="200 images in 4 classes")).to_be_visible()
    shown = bars(page)
    assert shown == counts(galleries, demo_encoder)
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    second = list(shown)[1]
    button = page.get_by_role("button", name=second)
    shares = [int(bar.inner_text().removesuffix("%")) for bar in page.locator(".histogram .share").all()]
    assert sum(shares) == 100
    assert abs(shares[1] - shown[second] / 2) < 1
    if by == "mouse":
        button.click()
    else:
        page.locator(".histogram button").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("heading", name=f"{second}: {shown[second]} images")).to_be_visible()
    page.mouse.move(900, 600)
    page.mouse.wheel(0, 4000)
    expect(page.locator(".of-class .cell")).to_have_count(shown[second])
    labels = {page.locator(".of-class .cell a").nth(i).get_attribute("aria-label") or "" for i in range(5)}
    assert all(second.split()[1].strip(",") in label for label in labels)
    assert "c=a+red+thing" in page.url
    # The link shows the same, and so does the way back to it.
    ids = window.ids()
    page.reload()
    expect(page.locator(".of-class .cell").nth(5)).to_be_visible()
    assert window.ids()[:10] == ids[:10]
    page.locator(".of-class .cell a").first.press("Enter")
    expect(page.locator(".viewer[open] .facts")).to_contain_text(f"ID{ids[0]}")
    page.keyboard.press("Escape")
    expect(page.locator(".of-class .cell a").first).to_be_focused()
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile(rf"^[^?]*\?q=id%3A{ids[0]}&"))
    page.go_back()
    assert bars(page) == shown
    page.go_back()
    expect(page.locator(".of-class")).to_be_hidden()


def test_shares_add_up(open_window: Opener) -> None:
    counts = [[1, 1, 1], [67, 67, 66], [29, 29, 29, 28, 28, 28, 29], [996, 4, 1], [99_999, 1], [200], [600, 399, 6]]
    script = "async (all) => { const { percents } = await import('/js/format.js'); return all.map(percents); }"
    thirds, *rest = open_window("?view=classify").page.evaluate(script, counts)
    assert thirds == ["34 %", "33 %", "33 %"]
    assert rest[2:4] == [["99 %", "0.3 %", "<0.1 %"], ["100 %", "<0.1 %"]]
    for some, shares in zip(counts[1:], rest, strict=True):
        values = [0.0 if share.startswith("<") else float(share.removesuffix(" %")) for share in shares]
        assert 99 <= sum(values) <= 100
        assert sum(values) == 100 or min(some) < sum(some) / 100
        assert all(abs(value - 100 * n / sum(some)) < 1 for value, n in zip(values, some, strict=True))


def test_prototypes_and_labels_are_classes(open_window: Opener, galleries: Galleries) -> None:
    page = open_window("?view=classify").page
    known = zs.open_prototypes(galleries.folder / "shapes-and-colours")
    found = zs.classify(zs.open_gallery(galleries.shapes), known)
    assert bars(page) == dict(Counter(one.predictions[0].class_name for one in found.results))
    expect(page.get_by_label("Kind of classes")).to_have_value("shapes-and-colours")
    absent = [name for name in known.prompts.class_names if name not in bars(page)]
    if absent:
        expect(page.get_by_text("Without images:")).to_contain_text(absent[0])
    page.get_by_label("Kind of classes").select_option("")
    page.get_by_role("button", name="Use the gallery's labels").press("Enter")
    expect(page.get_by_label("Classes", exact=True)).to_have_value(re.compile("red circle"))
    assert len(bars(page)) > 20


def test_a_comma_separates_classes_of_one_line(open_window: Opener) -> None:
    page = open_window("?view=classify&c=x").page
    text = page.get_by_label("Classes", exact=True)
    text.fill(" red , blue,, red")
    page.get_by_role("button", name="Classify").click()
    expect(page).to_have_url(re.compile(r"c=red&c=blue$"))
    expect(text).to_have_value("red\nblue")


def test_results_and_filtered_images_are_classified(
    open_window: Opener, galleries: Galleries, demo_encoder: Encoder
) -> None:
    window = open_window("?view=classify&c=red&c=blue")
    page = window.page
    assert sum(bars(page).values()) == 200
    best = page.get_by_label("Images to classify")
    expect(best.locator("option[value='60']")).to_be_disabled()
    window.box.fill("a red circle")
    page.keyboard.press("Enter")
    best.select_option("60")
    expect(page.get_by_role("heading", name="60 images in")).to_be_visible()
    expect(page).to_have_url(re.compile("over=60"))
    page.locator(".histogram button").first.click()
    expect(page.locator(".of-class .cell").first).to_be_visible()
    hits = {hit.id for hit in zs.search(galleries.shapes, "a red circle", demo_encoder, k=60)}
    assert set(window.ids()) <= hits
    window.open("?view=classify&c=red&c=blue&where=label+like+%27red%25%27")
    expect(page.get_by_role("heading", name="50 images in")).to_be_visible()


def test_errors_and_many_classes(open_window: Opener) -> None:
    window = open_window("?view=classify&c=red&where=lable+%3D+3")
    window.expected = "400 .*/(classify|search)"  # the search asks whether the filter is to blame
    page = window.page
    expect(page.locator("#filter-error")).to_contain_text("lable")
    names = "".join(f"&c=a+{colour}+{shape}+{i}" for colour in ("red", "blue", "green", "yellow") for shape in ("circle", "star", "heart") for i in range(20))  # fmt: skip  # noqa: E501
    window.open(f"?view=classify{names}")
    assert len(bars(page)) <= 100
    expect(page.get_by_text("Without images:")).to_be_visible()


def test_images_of_a_class_can_be_asked_for_again(open_window: Opener) -> None:
    window = open_window("?view=classify&c=a+red+thing&c=a+blue+thing")
    window.expected = "500 .*/items"
    page = window.page
    asked: list[str] = []

    def fail(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=500, json={"error": {"message": "It broke"}})

    page.route("**/shapes/items", fail)
    page.locator(".histogram button").first.click()
    expect(page.locator(".of-class .notice")).to_contain_text("It broke")
    page.wait_for_timeout(200)
    assert len(asked) == 1
    page.unroute("**/shapes/items")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".of-class .cell").first).to_be_visible()
