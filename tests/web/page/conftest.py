"""One server and one browser for all tests of the page, and a server that may be written to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kits import browser as kit
from kits import shapes
from playwright.sync_api import Browser, BrowserContext

from zsretrieve.domain.ports import Encoder


@pytest.fixture(scope="session")
def galleries(tmp_path_factory: pytest.TempPathFactory, demo_encoder: Encoder) -> Iterator[shapes.Galleries]:
    with shapes.galleries(tmp_path_factory.mktemp("served"), demo_encoder) as served:
        yield served


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory, demo_encoder: Encoder) -> Iterator[shapes.Studio]:
    with shapes.studio(tmp_path_factory.mktemp("studio"), demo_encoder) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the whole session: while Playwright runs, no test of the same process can call asyncio.run.
    if not kit.CHROMIUM.exists():
        pytest.skip(kit.NO_CHROMIUM)
    with kit.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def shared(browser: Browser, galleries: shapes.Galleries) -> BrowserContext:
    """Windows that look as most do; a fresh context for each would load everything again."""
    return kit.context(browser, galleries.address)


@contextlib.contextmanager
def _opener(
    browser: Browser, address: str, *, shared: BrowserContext | None = None, token: str = ""
) -> Iterator[kit.Opener]:
    """Open windows on the page; afterwards nothing may have gone wrong in them."""
    with ExitStack() as stack:
        opened: list[kit.Window] = []

        def open_one(query: str = "", **looks: Any) -> kit.Window:
            context = shared
            if looks or context is None:
                context = kit.context(browser, address, **looks)
                stack.callback(context.close)
            opened.append(stack.enter_context(kit.window(context, address)))
            if token:
                opened[-1].page.request.get(f"{address}?token={token}")
            opened[-1].open(query)
            return opened[-1]

        yield open_one
        if shared:
            shared.set_offline(False)
        assert [one.unexpected() for one in opened] == [[] for _ in opened]


@pytest.fixture
def open_window(browser: Browser, galleries: shapes.Galleries, shared: BrowserContext) -> Iterator[kit.Opener]:
    """Windows on the galleries of shapes."""
    with _opener(browser, galleries.address, shared=shared) as open_one:
        yield open_one


@pytest.fixture
def open_studio(browser: Browser, studio: shapes.Studio) -> Iterator[kit.Opener]:
    """Windows on what may be written to."""
    with _opener(browser, studio.address, token=studio.token) as open_one:
        yield open_one
