"""The page of a gallery of texts: texts are shown as texts, and nothing asks for their pixels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kits import browser as kit
from playwright.sync_api import Browser, expect

import zsretrieve as zs
from zsretrieve.domain.ports import Encoder

WORDS = ("a red star", "a blue star", "a red circle", "a green heart", "red", "blue")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, demo_encoder: Encoder) -> Iterator[str]:
    root = tmp_path_factory.mktemp("texts")
    (root / "words.txt").write_text("\n".join(WORDS))
    zs.build_gallery(zs.open_texts(root / "words.txt"), root / "words", demo_encoder)
    zs.make_map(root / "words")
    with kit.serving(root / "words") as served:
        yield served


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_in_the_grid_and_large(browser: Browser, address: str, scheme: str) -> None:
    context = kit.context(browser, address, color_scheme=scheme)
    with kit.window(context, address) as window:
        page = window.page
        window.open("?q=a+red+star+-+red+%2B+blue")
        first = page.locator(".cell").first
        expect(first.locator(".said")).to_have_text("a blue star")
        assert page.locator(".cell img").count() == 0
        assert page.get_by_role("link", name="a blue star").first.get_attribute("aria-label") is not None
        assert kit.findings(page) == []
        first.locator("a").click()
        expect(page.locator(".stage .said")).to_have_text("a blue star")
        expect(page.get_by_role("heading", name="Nearest texts")).to_be_visible()
        expect(page.locator(".neighbours .said").first).to_be_visible()
        assert page.get_by_role("link", name="Original").count() == 0
        assert kit.findings(page) == []
        page.keyboard.press("u")
        window.open("?q=id:1+%2B+red")
        expect(page.locator(".chip").first).to_contain_text("text 1")
        window.open("?view=map")
        expect(page.locator("canvas.map")).to_be_visible()
        page.wait_for_timeout(300)
        assert window.unexpected() == []
    context.close()
