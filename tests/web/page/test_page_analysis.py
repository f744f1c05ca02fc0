"""The page: evaluations, their images and comparisons, and duplicates."""

from __future__ import annotations

import re

import pytest
from kits.browser import Opener, Window, findings
from kits.shapes import Studio
from playwright.sync_api import Locator, Route, expect

import zsretrieve as zs
from zsretrieve.domain.results import EvalReport
from zsretrieve.domain.settings import DUPLICATE_SCORE

ODD = r"400 .*/evaluation"  # of prototypes that have other classes

STATES = {
    "?view=evaluation": ".matrix a",
    "?view=evaluation&with=starred": ".comparison .cell",
    "?view=evaluation&sort=class&sel=1-3": ".selection >> text=3 images",
    "?view=evaluation&true=red+cross&predicted=red+cross": ".cell",
    "?view=evaluation&true=red+cross&predicted=red+cross&id={cross}": ".viewer[open] .facts",
    "?view=evaluation&p=odd": ".notice",
    "?view=evaluation&p=plain&with=odd": ".notice",
    "?view=duplicates": ".cut >> text=same content",
    "?view=duplicates&alike=0.9": ".cut >> text=look alike",
    "?view=duplicates&alike=1&id=25": ".viewer[open] .facts",
}


@pytest.fixture(scope="module")
def report(studio: Studio) -> EvalReport:
    return zs.evaluate(studio.stars, studio.prototypes("plain"))


def go_on(link: Locator, by: str) -> None:
    if by == "mouse":
        link.click()
    else:
        link.press("Enter")


def points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def images_of(studio: Studio, report: EvalReport, true: str, predicted: str) -> list[int]:
    """The IDs of the images of one class that were classified as another, of the run itself."""
    run = report.run
    found = {
        path
        for path, truth, ranked in zip(run.paths, run.truth.tolist(), run.ranked[:, 0].tolist(), strict=True)
        if (run.class_names[truth], run.class_names[ranked]) == (true, predicted)
    }
    gallery = zs.open_gallery(studio.stars)
    return [item.id for item in gallery.items if gallery.path_of(item) in found]


def test_figures_are_those_of_the_library(open_studio: Opener, report: EvalReport) -> None:
    page = open_studio("?view=evaluation").page
    figures = page.get_by_label("Figures")
    interval = report.prec_interval[1]
    expect(figures).to_contain_text(f"{100 * report.prec_at[1]:.1f} %")
    expect(figures).to_contain_text(f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %")
    expect(figures).to_contain_text(f"{report.n_correct} of {report.n_scored} images right")
    expect(figures).to_contain_text(f"{100 * report.mean_per_class_recall:.1f} %")
    shown = page.locator(".classes tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.children].slice(0, 3).map(cell => cell.textContent))"
    )
    rows = sorted(report.per_class, key=lambda one: (one.recall, -one.n_scored))
    assert shown == [[one.class_name, str(one.n_scored), str(one.n_correct)] for one in rows]
    pairs = page.locator(".pairs li").evaluate_all(
        "rows => rows.map(row => [row.querySelector('a').textContent, row.querySelector('.number').textContent])"
    )
    assert sorted(pairs) == sorted(
        [f"{one.true_class} taken for {one.predicted_class}", str(one.count)] for one in report.confusions
    )
    numbers = [int(text) for text in page.locator(".matrix td a").all_text_contents()]
    assert sum(numbers) == report.n_scored
    assert sum(int(text) for text in page.locator(".matrix td.right a").all_text_contents()) == report.n_correct


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_classes_are_sorted(open_studio: Opener, report: EvalReport, by: str) -> None:
    page = open_studio("?view=evaluation").page
    go_on(page.locator(".classes").get_by_role("button", name="Class"), by)
    names = sorted(one.class_name for one in report.per_class)
    expect(page.locator(".classes tbody th")).to_have_text(names)
    expect(page.locator(".classes thead th").first).to_have_attribute("aria-sort", "ascending")
    page.reload()
    expect(page.locator(".classes tbody th")).to_have_text(names)
    go_on(page.locator(".classes").get_by_role("button", name="Recall"), by)
    worst = min(report.per_class, key=lambda one: (one.recall, -one.n_scored))
    expect(page.locator(".classes tbody th").first).to_have_text(worst.class_name)


@pytest.mark.parametrize(("where", "by"), [(".pairs a", "keyboard"), (".matrix td.wrong a", "mouse")])
def test_a_cell_shows_its_images(open_studio: Opener, studio: Studio, report: EvalReport, where: str, by: str) -> None:
    window = open_studio("?view=evaluation")
    page = window.page
    go_on(page.locator(where).first, by)
    expect(page.locator("h2.of")).to_be_visible()
    true, predicted = re.split(" taken for ", page.locator("h2.of").inner_text())
    predicted = re.sub(r" · \d+ images?$", "", predicted)
    expected = images_of(studio, report, true, predicted)
    expect(page.locator(".cell")).to_have_count(len(expected))
    assert window.ids() == expected != []
    page.reload()
    expect(page.locator(".cell")).to_have_count(len(expected))
    # An image of it, and back to all figures.
    go_on(page.locator(".cell a").first, by)
    expect(page.locator(".viewer .facts")).to_contain_text(true)
    page.keyboard.press("Escape")
    expect(page.locator(".viewer")).to_be_hidden()
    expect(page.locator(".cell a").first).to_be_focused()
    go_on(page.get_by_role("link", name="All figures"), by)
    expect(page.locator(".matrix")).to_be_visible()
    assert "predicted" not in page.url


def test_arrow_keys_move_in_the_matrix(open_studio: Opener) -> None:
    page = open_studio("?view=evaluation").page
    place = "[document.activeElement.closest('tr').sectionRowIndex, document.activeElement.closest('td').cellIndex]"
    rows, columns = page.locator(".matrix tbody tr").count(), page.locator(".matrix thead th").count()
    cells = page.locator(".matrix tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.children].map(one => !!one.querySelector('a')))"
    )
    page.locator(".matrix a[tabindex='0']").focus()
    for row in range(1, rows):
        page.keyboard.press("ArrowDown")
        assert page.evaluate(place)[0] == row
    filled = [column for column in range(1, columns + 1) if cells[rows - 1][column]]
    for column in (*filled[::-1], filled[0]):
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(place)[1] <= column
    for column in filled:
        assert page.evaluate(place) == [rows - 1, column]
        page.keyboard.press("ArrowRight")
    expect(page.locator(".matrix a[tabindex='0']")).to_be_focused()
    page.keyboard.press("ArrowUp")
    assert page.evaluate(place)[0] == rows - 2


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_comparison_shows_which_images_differ(open_studio: Opener, studio: Studio, by: str) -> None:
    window = open_studio("?view=evaluation")
    page = window.page
    choice = page.get_by_label("Compare with")
    if by == "mouse":
        choice.select_option("starred")
    else:
        choice.focus()
        page.keyboard.type("starred")
    compared = page.locator(".comparison")
    expect(compared).to_be_visible()
    if by == "keyboard":
        expect(choice).to_be_focused()
    wanted = zs.compare(studio.prototypes("plain"), studio.prototypes("starred"), on=studio.stars)
    paired = wanted.difference
    expect(compared).to_contain_text(f"{points(paired.difference)} points")
    expect(compared).to_contain_text(f"{points(paired.interval.low)} to {points(paired.interval.high)}")
    expect(compared).to_contain_text(f"p = {paired.p_value:.3f}")
    expect(compared).to_contain_text(f"{wanted.both_right} Both right")
    expect(compared.locator(".cell")).to_have_count(len(wanted.flips))
    gallery = zs.open_gallery(studio.stars)
    id_of = {gallery.path_of(item): item.id for item in gallery.items}
    flips = sorted(wanted.flips, key=lambda flip: not flip.won)
    assert window.ids() == [id_of[flip.path] for flip in flips]
    assert {flip.won for flip in flips} == {True, False}
    expect(compared.locator(".cell .more")).to_have_text([f"{one.first_class} → {one.second_class}" for one in flips])
    # The large image goes on within those of one kind.
    n_won = sum(flip.won for flip in flips)
    go_on(compared.locator(".cell a").first, by)
    expect(page.locator(".viewer .what")).to_contain_text(f"1 of {n_won}")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer .what")).to_contain_text(f"2 of {n_won}")
    page.keyboard.press("Escape")
    page.go_back()
    expect(compared).to_have_count(0)


def test_other_prototypes(open_studio: Opener, studio: Studio) -> None:
    window = open_studio("?view=evaluation")
    window.expected = ODD
    page = window.page
    page.get_by_label("Prototypes").select_option("starred")
    right = zs.evaluate(studio.stars, studio.prototypes("starred")).n_correct
    expect(page.locator(".figures").first).to_contain_text(f"{right} of 48 images right")
    page.get_by_label("Prototypes").select_option("odd")
    expect(page.locator(".notice.bad")).to_be_visible()
    page.get_by_label("Prototypes").select_option("plain")
    expect(page.locator(".matrix")).to_be_visible()
    page.get_by_label("Compare with").select_option("odd")
    expect(page.locator(".notice.bad")).to_be_visible()
    expect(page.locator(".matrix")).to_be_visible()


def test_what_an_evaluation_lacks(open_window: Opener) -> None:
    window = open_window("?view=evaluation&g=worn")
    expect(window.page.locator(".notice")).to_contain_text("No image of this gallery has a label")
    window.open("?view=duplicates&g=worn&alike=1")
    expect(window.page.locator(".notice")).to_contain_text("No duplicates")


def kept(window: Window) -> list[int]:
    return [number for number, badge in zip(window.ids(), badges(window), strict=True) if badge]


def badges(window: Window) -> list[bool]:
    found: list[bool] = window.page.locator(".cell").evaluate_all(
        "all => all.map(one => one.innerText.includes('Keep'))"
    )
    return found


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_duplicates_side_by_side(open_studio: Opener, studio: Studio, by: str) -> None:
    window = open_studio()
    page = window.page
    go_on(page.get_by_role("link", name="Duplicates"), by)
    expect(page.locator(".cut").first).to_be_visible()
    groups = zs.find_duplicates(studio.stars)
    expect(page.locator(".status")).to_contain_text(f"{len(groups)} groups")
    assert window.ids() == [one.id for group in groups for one in group.items]
    assert kept(window) == [group.items[0].id for group in groups]
    expect(page.locator(".cell .score")).to_have_text([f"{one.score:.3f}" for group in groups for one in group.items])
    expect(page.get_by_label("Lowest similarity")).to_have_value(str(DUPLICATE_SCORE))
    # A lower threshold finds more, and the link keeps it.
    near = page.get_by_label("Lowest similarity")
    near.fill("0.9")
    near.press("Enter")
    more = zs.find_duplicates(studio.stars, near=0.9)
    expect(page.locator(".status")).to_contain_text(f"{len(more)} groups")
    page.reload()
    expect(page.locator(".cut")).to_have_count(len(more))
    assert window.ids() == [one.id for group in more for one in group.items]
    # All but the best of one group, then of all.
    go_on(page.locator(".cut button").first, by)
    others = [one.id for one in more[0].items[1:]]
    expect(page.get_by_role("region", name="Selection")).to_contain_text(f"{len(others)} image")
    go_on(page.get_by_role("button", name="Select all but the best"), by)
    n = sum(len(group.items) - 1 for group in more)
    expect(page.get_by_role("region", name="Selection")).to_contain_text(f"{n} images")
    # The image itself, and the search for its like.
    go_on(page.locator(".cell a").nth(1), by)
    expect(page.locator(".viewer .facts")).to_be_visible()
    page.keyboard.press("m")
    expect(page.locator(".chip")).to_contain_text("more like")
    page.go_back()
    page.go_back()
    expect(page.locator(".viewer")).to_be_hidden()
    expect(page.locator(".cut")).to_have_count(len(more))


def test_a_threshold_that_is_none(open_studio: Opener) -> None:
    page = open_studio("?view=duplicates&alike=2").page
    expect(page.get_by_role("alert")).to_contain_text("The similarity is a number above 0")
    expect(page.get_by_label("Lowest similarity")).to_have_value(str(DUPLICATE_SCORE))
    page.get_by_label("Lowest similarity").fill("0.9")
    page.get_by_label("Lowest similarity").press("Enter")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_label("Lowest similarity").fill("3")
    page.get_by_label("Lowest similarity").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The similarity is a number above 0")
    expect(page.locator(".cell").first).to_be_visible()


def test_duplicates_are_loaded_page_by_page(open_studio: Opener, studio: Studio) -> None:
    window = open_studio(viewport={"width": 1200, "height": 500})
    page = window.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/duplicates" in request.url else None)
    script = """async (near) => {
      const { listOf } = await import('/js/results.js');
      const read = (one) => ({ ...one, hits: one.groups.flatMap(({ items }) => items) });
      const list = listOf('stars', 'duplicates', { near }, { page: 1, read });
      while (!list.complete) await list.load();
      return list.hits.map(({ id }) => id);
    }"""
    groups = zs.find_duplicates(studio.stars, near=0.9)
    assert page.evaluate(script, 0.9) == [one.id for group in groups for one in group.items]
    assert len(asked) == len(groups) > 1
    assert ["revision=" in one for one in asked] == [False] + [True] * (len(groups) - 1)


def test_a_list_begins_again_when_its_gallery_has_changed(open_studio: Opener, studio: Studio) -> None:
    window = open_studio()
    window.expected = "409 .*/duplicates"
    page = window.page
    groups = zs.find_duplicates(studio.stars, near=0.9)

    def cut(route: Route) -> None:
        """The first group alone, and no other since its revision is gone."""
        if "revision=" in route.request.url:
            route.fulfill(status=409, json={"error": {"message": "it has changed", "hint": ""}})
        else:
            answer = route.fetch()
            route.fulfill(json={**answer.json(), "groups": answer.json()["groups"][:1], "next": 1})

    page.route("**/duplicates?*", cut)
    page.goto(f"{window.address}?view=duplicates&alike=0.9")
    expect(page.locator(".end .notice")).to_contain_text("it has changed")
    expect(page.locator(".cut")).to_have_count(1)
    page.unroute("**/duplicates?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".cut")).to_have_count(len(groups))
    assert window.ids() == [one.id for group in groups for one in group.items]


def test_a_list_that_fails_can_be_asked_for_again(open_studio: Opener) -> None:
    window = open_studio("?view=duplicates")
    window.expected = "500 .*/duplicates"
    page = window.page
    page.route("**/duplicates?*", lambda route: route.fulfill(status=500, json={"error": {"message": "It broke"}}))
    page.get_by_label("Lowest similarity").fill("0.9")
    page.get_by_label("Lowest similarity").press("Enter")
    expect(page.locator(".end .notice")).to_contain_text("It broke")
    page.unroute("**/duplicates?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".cell").first).to_be_visible()


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_a_link_and_accessible(open_studio: Opener, studio: Studio, state: str) -> None:
    cross = next(item.id for item in zs.open_gallery(studio.stars).items if item.label == "red cross")
    window = open_studio(state.format(cross=cross))
    window.expected = ODD
    page = window.page
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    expect(page.locator(STATES[state]).first).to_be_visible()
    assert findings(page) == []
    page.emulate_media(color_scheme="dark")
    assert findings(page, "color-contrast") == []  # all else is the same in the dark
    ids = window.ids()
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.reload()
    expect(page.locator(STATES[state]).first).to_be_visible()
    expect(page.locator(".cell")).to_have_count(len(ids))
    assert window.ids() == ids
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
