"""The published client and front end of clip-retrieval with a real server, unchanged."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from kits import browser as kit
from kits import peer, shapes
from playwright.sync_api import Browser, Locator, Route, expect

import zsretrieve as zs

pytestmark = pytest.mark.peer

# What its page does under any strict policy: inline styles; and a script that it lacks, which it gets as JSON.
ITS_OWN = r"style-src|webcomponents-loader\.js|adapter\.js|'lit-element' module entrypoint is deprecated"
QUERY = "a red circle"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peer.unpacked(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def images(galleries: shapes.Galleries) -> list[Path]:
    """The files of the gallery, by ID."""
    gallery = zs.open_gallery(galleries.shapes)
    return [Path(gallery.path_of(item)) for item in gallery.items]


def test_the_client(galleries: shapes.Galleries, wheel: Path, images: list[Path]) -> None:
    module = peer.client_module(wheel)
    client = module.ClipClient(url=f"{galleries.address}knn-service", indice_name="shapes", deduplicate=False)
    found = client.query(text=QUERY)
    wanted = zs.search(zs.open_gallery(galleries.shapes), QUERY, "demo", k=40)
    assert [hit["id"] for hit in found] == [hit.id for hit in wanted]
    assert len(found) == 40
    assert all({"url", "caption", "similarity", "id", "image"} <= hit.keys() for hit in found)
    assert client.query(image=str(images[17]))[0]["id"] == 17
    linked = client.query(image=found[3]["url"])
    assert linked[0]["id"] == found[3]["id"]
    assert len(linked) == 40
    vector = zs.open_gallery(galleries.shapes).vectors[9].tolist()
    assert client.query(embedding_input=vector)[0]["id"] == 9
    # As it asks by default.
    client = module.ClipClient(url=f"{galleries.address}knn-service", indice_name="shapes")
    kept = [hit["id"] for hit in client.query(text=QUERY)]
    assert set(kept) < {hit["id"] for hit in found}
    assert kept[0] == found[0]["id"]


class Front:
    """The front end in a window."""

    def __init__(self, window: kit.Window, wheel: Path) -> None:
        self.window, self.page = window, window.page
        self._files = wheel / "front" / "build"
        self._policy = httpx.get(window.address).headers["Content-Security-Policy"]
        self.page.route(f"{window.address}**", self._file)

    def _file(self, route: Route) -> None:
        """Its files come from the address of the server, as through a proxy, and under the same policy."""
        name = urlsplit(route.request.url).path.lstrip("/") or "index.html"
        if name == "config.json" or not (self._files / name).is_file():
            route.fallback()
        else:
            route.fulfill(path=self._files / name, headers={"Content-Security-Policy": self._policy})

    def searched(self, act: Callable[[], object], **wanted: Any) -> list[dict[str, Any]]:
        """What is found after doing something, if it asks as ``wanted`` and as the front end does by default."""
        with self.page.expect_response("**/knn-service") as answer:
            act()
        asked = json.loads(answer.value.request.post_data or "")
        default = {"indice_name": "shapes", "num_images": 40, "num_result_ids": 3000, "deduplicate": True}
        assert asked == asked | default | wanted
        found: list[dict[str, Any]] = answer.value.json()
        assert [len(hit) > 2 for hit in found] == [True] * 40 + [False] * (len(found) - 40)
        expect(self.shown.nth(39)).to_be_visible()
        return found

    @property
    def shown(self) -> Locator:
        """The images, which are there or being loaded."""
        return self.page.locator("#products figure")


@pytest.fixture
def front(browser: Browser, galleries: shapes.Galleries, wheel: Path) -> Iterator[Front]:
    with kit.window(browser, galleries.address) as window:
        window.expected = ITS_OWN
        yield Front(window, wheel)
        assert window.unexpected() == []


def test_the_front_end(front: Front) -> None:
    page, bar = front.page, front.page.locator("#searchBar")
    page.goto(front.window.address)
    bar.fill(QUERY)
    found = front.searched(lambda: bar.press("Enter"), text=QUERY, image=None, image_url=None)
    assert len(found) > 120
    # It looks up 40 more when its end is reached, unless it still waits for the last.
    for _ in range(100):
        if front.shown.count() == len(found):
            break
        page.mouse.wheel(0, -200)
        page.mouse.wheel(0, 10_000)
        page.wait_for_timeout(100)
    expect(front.shown).to_have_count(len(found))
    sources = front.shown.locator(".pic").evaluate_all("images => images.map(image => image.src)")
    assert [int(source.split("/")[-2]) for source in sources] == [hit["id"] for hit in found]
    page.mouse.wheel(0, -100_000)
    for place in range(40):
        expect(front.shown.nth(place).locator(".pic")).to_have_js_property("complete", True)
        expect(front.shown.nth(place).locator(".pic")).not_to_have_js_property("naturalWidth", 0)


def test_search_with_this(front: Front) -> None:
    page, bar = front.page, front.page.locator("#searchBar")
    page.goto(front.window.address)
    bar.fill(QUERY)
    found = front.searched(lambda: bar.press("Enter"))
    front.shown.nth(5).hover()
    again = front.searched(front.shown.nth(5).locator(".subImageSearch").click, image=found[5]["image"], text="")
    assert again[0]["id"] == found[5]["id"]
    front.shown.nth(2).hover()
    words = front.searched(front.shown.nth(2).locator(".subTextSearch").click, text=again[2]["caption"], image=None)
    assert words != again


def test_search_with_a_url_and_a_file(front: Front, images: list[Path]) -> None:
    url = f"{front.window.address}api/v1/galleries/shapes/items/33/image"
    # As it writes its own links.
    state = {"back": front.window.address.rstrip("/"), "index": "shapes", "useMclip": "false", "imageUrl": url}
    link = f"{front.window.address}?{urlencode(state)}"
    found = front.searched(lambda: front.page.goto(link), image_url=url, image=None)
    assert (found[0]["id"], found[0]["similarity"]) == (33, pytest.approx(1, abs=1e-6))
    sent = base64.b64encode(images[44].read_bytes()).decode()
    found = front.searched(lambda: front.page.locator("#filechooser").set_input_files(images[44]), image=sent)
    assert (found[0]["id"], found[0]["similarity"]) == (44, pytest.approx(1, abs=1e-5))
