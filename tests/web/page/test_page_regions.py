"""The page: the part of an image that fits a search is marked in the grid and in the large image."""

from __future__ import annotations

import re

import pytest
from kits.browser import Opener
from playwright.sync_api import Locator, Route, expect

BOX = (0.25, 0.0, 0.75, 0.5)


def with_boxes(route: Route) -> None:
    """The answer of the server, as if the first hit were a region and the second a whole image."""
    response = route.fetch()
    answer = response.json()
    answer["hits"][0]["box"] = BOX
    route.fulfill(response=response, json=answer)


def shares(region: Locator, frame: Locator) -> list[float]:
    """Where a rectangle is in its frame: left, top, right and bottom."""
    inner, outer = region.bounding_box(), frame.bounding_box()
    assert inner is not None
    assert outer is not None
    left, top = (inner["x"] - outer["x"]) / outer["width"], (inner["y"] - outer["y"]) / outer["height"]
    return [left, top, left + inner["width"] / outer["width"], top + inner["height"] / outer["height"]]


def test_regions_are_marked(open_window: Opener) -> None:
    window = open_window()
    page = window.page
    page.route("**/search", with_boxes)
    window.box.fill("a red circle")
    page.keyboard.press("Enter")
    first = page.locator(".cell").first
    expect(first.locator(".region")).to_be_visible()
    assert shares(first.locator(".region"), first.locator(".picture")) == pytest.approx(BOX, abs=0.03)
    expect(page.locator(".region")).to_have_count(1)
    expect(first.locator("a")).to_have_attribute("aria-label", re.compile("found 25.75 % from the left, 0.50 % from"))
    first.locator("a").press("Enter")
    frame = page.locator(".viewer[open] .frame")
    expect(frame.locator(".region")).to_be_visible()
    assert shares(frame.locator(".region"), frame) == pytest.approx(BOX, abs=0.02)
    expect(page.locator(".facts")).to_contain_text(re.compile("25.75 % from the left, 0.50 % from the top"))
    # It is out of the way of a part that is chosen.
    page.keyboard.press("c")
    expect(frame.locator(".region")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(frame.locator(".region")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer[open] .place, .viewer[open] .what .soft")).to_contain_text("2 of")
    expect(frame.locator(".region")).to_have_count(0)
