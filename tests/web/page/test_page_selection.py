"""The page: what one does with selected images, and saved searches."""

from __future__ import annotations

import pytest
from kits.browser import Opener, findings
from kits.shapes import Galleries, Studio
from playwright.sync_api import Page, expect

import zsretrieve as zs
from zsretrieve.domain.ports import Encoder

DRAFTS = "?g=drafts"


def choose(page: Page, name: str, by: str) -> None:
    button = page.get_by_role("button", name=name)
    if by == "mouse":
        button.click()
    else:
        button.press("Enter")


def send(page: Page, name: str, by: str) -> None:
    """Send the form of the dialog, with its button or with Enter in the field that has the focus."""
    if by == "mouse":
        page.get_by_role("dialog").get_by_role("button", name=name).click()
    else:
        page.keyboard.press("Enter")


def labels(studio: Studio, *ids: int) -> list[str | None]:
    items = {item.id: item.label for item in zs.open_gallery(studio.drafts).items}
    return [items[number] for number in ids]


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_images_are_labelled(open_studio: Opener, studio: Studio, by: str) -> None:
    window = open_studio(f"{DRAFTS}&sel=1-3,30")
    page = window.page
    before = labels(studio, 4, 29)
    bar = page.get_by_role("region", name="Selection")
    choose(page, "Label …", by)
    expect(page.get_by_role("combobox", name="Label", exact=True)).to_be_focused()
    page.keyboard.type(f"  odd {by}  ")
    send(page, "Set label", by)
    expect(bar).to_contain_text(f"Labelled 4 images “odd {by}”.")
    expect(bar).to_contain_text("4 images selected")
    expect(page.locator(".cell a").nth(1)).to_have_attribute("aria-label", f"odd {by}, 1.png")
    assert labels(studio, 1, 2, 3, 30) == [f"odd {by}"] * 4
    assert labels(studio, 4, 29) == before
    # The keyboard goes on with the image after them.
    expect(page.locator(".cell a").nth(31)).to_be_focused()
    page.keyboard.press("f")
    expect(page.get_by_role("group", name="Label").last).to_contain_text(f"odd {by}")
    page.keyboard.press("Escape")
    choose(page, "Label …", by)
    page.get_by_role("dialog").get_by_role("button", name="Remove labels").press("Enter")
    expect(bar).to_contain_text("Removed the labels of 4 images.")
    assert labels(studio, 1, 2, 3, 30) == [None] * 4


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_gallery_of_the_selection(open_studio: Opener, by: str) -> None:
    window = open_studio(f"{DRAFTS}&sel=7,9-11")
    window.expected = "409 .*/subset"
    page = window.page
    choose(page, "New gallery …", by)
    page.keyboard.type(f"some by {by}")
    send(page, "Make the gallery", by)
    expect(page.get_by_role("region", name="Selection")).to_contain_text(f"Made the gallery “some by {by}”.")
    assert [item.id for item in zs.open_gallery(f"@some by {by}").items] == [7, 9, 10, 11]
    # What is wrong is said where the name is, which stays.
    choose(page, "New gallery …", by)
    page.keyboard.type(f"some by {by}")
    send(page, "Make the gallery", by)
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("already something of that name")
    expect(page.get_by_label("Name")).to_have_value(f"some by {by}")
    page.keyboard.press("Escape")
    page.get_by_label("Gallery", exact=True).select_option(f"some by {by}")
    expect(page.locator(".status")).to_contain_text("4 images")


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_prototypes_of_the_selection(open_studio: Opener, studio: Studio, by: str) -> None:
    window = open_studio("?sel=3,12,20-22")
    page = window.page
    wanted = {item.label for item in zs.open_gallery(studio.stars).items if item.id in (3, 12, 20, 21, 22)}
    bar = page.get_by_role("region", name="Selection")
    choose(page, "New prototypes …", by)
    page.get_by_label("Name", exact=True).fill(f"classes by {by}")
    expect(page.get_by_label(f"A class for each of {len(wanted)} labels")).to_be_checked()
    send(page, "Make the prototypes", by)
    expect(bar).to_contain_text(f"Made the prototypes “classes by {by}” with {len(wanted)} classes.")
    assert set(zs.open_prototypes(f"@classes by {by}").prompts.class_names) == wanted
    choose(page, "New prototypes …", by)
    page.get_by_label("Name", exact=True).fill(f"one by {by}")
    page.get_by_label("One class of all").check()
    page.get_by_label("Name", exact=True).focus()
    send(page, "Make the prototypes", by)
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("The class has no name.")
    page.keyboard.type("mixed")
    send(page, "Make the prototypes", by)
    expect(bar).to_contain_text("with 1 class.")
    assert list(zs.open_prototypes(f"@one by {by}").prompts.class_names) == ["mixed"]
    # They can be evaluated at once.
    page.get_by_role("link", name="Evaluation").click()
    expect(page.get_by_label("Prototypes")).to_contain_text(f"one by {by} (1 class)")


def test_a_server_that_may_not_be_written_to_says_so(open_window: Opener) -> None:
    page = open_window("?sel=1-3").page
    for name in ("Label …", "New gallery …", "New prototypes …"):
        button = page.get_by_role("button", name=name)
        expect(button).to_have_attribute("aria-disabled", "true")
        button.press("Enter")
        expect(page.locator(".selection [role=status]")).to_contain_text("This server is read-only")
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Saved").click()
    expect(page.get_by_role("dialog")).to_contain_text("This server is read-only")
    expect(page.get_by_role("dialog").get_by_role("textbox")).to_have_count(0)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_all_hits_are_selected(open_window: Opener, galleries: Galleries, demo_encoder: Encoder, by: str) -> None:
    window = open_window("?where=label+like+%27red%25%27&order=date", viewport={"width": 700, "height": 400})
    page = window.page
    bar = page.get_by_role("region", name="Selection")
    n = len(zs.search(galleries.shapes, wanted=zs.Wanted(k=200, where="label like 'red%'")))
    choose(page, f"Select all {n}", by)
    expect(bar).to_contain_text(f"{n} images selected")
    page.keyboard.press("Escape")
    expect(bar).to_have_count(0)
    # Of a search, those above the threshold.
    window.box.fill("a red circle")
    window.box.press("Enter")
    expect(page.locator(".status strong")).to_contain_text("above the threshold")
    n = int(page.locator(".status strong").inner_text().split()[0])
    choose(page, f"Select all {n} above the threshold", by)
    expect(bar).to_contain_text(f"{n} image")
    wanted = zs.Wanted(k=n, where="label like 'red%'")
    expected = {hit.id for hit in zs.search(galleries.shapes, "a red circle", demo_encoder, wanted=wanted)}
    script = "async () => (await import('/js/state.js')).read(location.search).sel"
    assert set(page.evaluate(script)) == expected


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_searches_are_saved_and_run_again(open_studio: Opener, studio: Studio, by: str) -> None:
    query = "?q=a+red+star+-+0.5%3Agreen&more=4&where=id+%3C+30&dedup=1&near=0.97&order=date"
    window = open_studio(query)
    page = window.page
    found = window.ids()
    choose(page, "Saved", by)
    dialog = page.get_by_role("dialog", name="Saved searches")
    expect(dialog).to_contain_text("No search is saved.")
    expect(dialog.get_by_role("textbox")).to_be_focused()
    page.keyboard.type("red / stars")
    send(page, "Save", by)
    expect(dialog).to_have_count(0)
    (kept,) = zs.saved_searches(studio.stars)
    assert (kept.name, kept.wanted.more, kept.wanted.near) == ("red / stars", (4,), 0.97)
    window.open("?q=green")
    choose(page, "Saved", by)
    link = dialog.get_by_role("link", name="red / stars")
    if by == "mouse":
        link.click()
    else:
        link.press("Enter")
    expect(window.box).to_have_value("a red star - 0.5:green")
    window.ready()
    assert window.ids() == found != []
    choose(page, "Saved", by)
    choose(page, "Delete red / stars", by)
    expect(dialog).to_contain_text("No search is saved.")
    assert zs.saved_searches(studio.stars) == []


def test_a_search_that_the_library_saved(open_studio: Opener, studio: Studio, demo_encoder: Encoder) -> None:
    wanted = zs.Wanted(k=48, minus=("a star + 2:id:4",), less=(7,))
    zs.save_search(studio.stars, "by hand", "'a - b' + 2:yellow", wanted)
    try:
        page = open_studio().page
        choose(page, "Saved", "mouse")
        page.get_by_role("link", name="by hand").click()
        expect(page.locator(".chip")).to_have_count(5)
        expect(page.locator(".status")).to_contain_text("48 images")
        script = """async () => {
          const { body, read } = await import('/js/state.js');
          const { ask } = await import('/js/api.js');
          const answer = await ask('galleries/stars/search', { body: { ...body(read(location.search)), k: 48 } });
          return answer.hits.map(({ id }) => id);
        }"""
        expected = zs.search(studio.stars, "'a - b' + 2:yellow", demo_encoder, wanted=wanted)
        assert page.evaluate(script) == [hit.id for hit in expected]
    finally:
        zs.delete_search(studio.stars, "by hand")


def test_the_dialogs_fit_and_are_accessible(open_studio: Opener) -> None:
    page = open_studio("?q=a+star&sel=1-3", viewport={"width": 320, "height": 640}).page
    for scheme, name in (
        ("light", "Label …"),
        ("dark", "New gallery …"),
        ("light", "New prototypes …"),
        ("dark", "Saved"),
    ):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        choose(page, name, "mouse")
        expect(page.get_by_role("dialog")).to_be_visible()
        assert findings(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
