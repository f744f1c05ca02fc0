"""A real browser on the page of a real server, which reports whatever goes wrong in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from kits.waiting import PATIENCE_S

# The browser without its windows does the same in three quarters of the time.
_CHROMIUMS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
CHROMIUM = next(filter(Path.exists, _CHROMIUMS), _CHROMIUMS[0])
NO_CHROMIUM = f"{CHROMIUM} is missing; scripts/test installs it with apt-get where it may"
# What a browser does by itself, such as looking for updates, is not a request of the page.
_SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-default-apps", "--disable-sync", "--no-first-run"]  # fmt: skip
# Only what never comes is waited for so long.
_WAIT_MS = 120_000
expect.set_options(timeout=_WAIT_MS)
_LISTEN = """
addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
  console.error('violates', violatedDirective, blockedURI);
});
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) shifts.push(entry.value);
}).observe({ type: 'layout-shift', buffered: true });
"""


@contextlib.contextmanager
def serving(*args: str | Path) -> Iterator[str]:
    """The address of ``zsretrieve serve`` with these arguments, on a free port, in a process of its own."""
    command = [sys.executable, "-m", "zsretrieve", "serve", *map(str, args), "--no-open", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"http://\S+/", line):
                break
        else:
            raise AssertionError(f"the server ended: {said}")
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
        process.stdout.close()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_SWITCHES)
        yield browser
        browser.close()


@dataclass
class Window:
    """A page of a browser.

    ``problems`` are errors in the console, exceptions, violations of the security policy, and requests that failed or
    would have left the server; a test that provokes some names them in ``expected``.
    """

    page: Page
    address: str
    problems: list[str] = field(default_factory=list)
    expected: str = "(?!)"

    def open(self, query: str = "") -> Page:
        """Go to a state of the page, and wait for its images."""
        self.page.goto(self.address + query)
        self.ready()
        return self.page

    def ready(self) -> None:
        """Wait until nothing is on its way."""
        # Playwright's own waiting for an expression needs eval, which the policy of the page forbids.
        idle = "html:not([data-busy]):not(:has(.map-stage:not([hidden]) zs-map[data-drawing])) #page"
        shown = ", ".join(f"{idle} {one}" for one in (".cell", ".notice", ".figures", ".histogram button"))
        expect(self.page.locator(shown).first).to_be_attached()

    @property
    def box(self) -> Locator:
        """What the query is typed in."""
        return self.page.get_by_role("combobox", name="Query")

    def ids(self) -> list[int]:
        """The IDs of the images in the grid, in order."""
        found: list[int] = self.page.eval_on_selector_all(
            ".cell .picture", "links => links.map(link => Number(new URL(link.href).searchParams.get('id')))"
        )
        return found

    def shift(self) -> float:
        """How much the layout moved by itself, as Chromium adds it up."""
        moved: float = self.page.evaluate("shifts.reduce((a, b) => a + b, 0)")
        return moved

    def unexpected(self) -> list[str]:
        return [problem for problem in self.problems if not re.search(self.expected, problem)]


def context(browser: Browser, address: str, **looks: Any) -> BrowserContext:
    """Windows that share what is cached and stored; ``looks`` are the options of Playwright's contexts.

    They reach the server at the address, and nothing else.
    """
    made = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **looks})
    made.set_default_timeout(_WAIT_MS)
    made.add_init_script(_LISTEN)
    made.route(lambda url: not url.startswith((address, "blob:", "data:")), lambda route: route.abort())
    return made


@contextlib.contextmanager
def window(context: BrowserContext, address: str) -> Iterator[Window]:
    """A window on the page at an address."""
    page = context.new_page()
    shown = Window(page, address)
    page.on(
        "console",
        lambda message: (
            shown.problems.append(f"{message.text} {message.location.get('url')}")
            if message.type in ("error", "warning") and not _is_of_the_renderer(message.text)
            else None
        ),
    )
    page.on("pageerror", lambda error: shown.problems.append(f"raised {error}"))
    page.on("requestfailed", lambda request: _failed(shown, request.url, request.failure or ""))
    try:
        yield shown
    finally:
        page.close()


def _is_of_the_renderer(text: str) -> bool:
    # Without a GPU, Chromium itself reads WebGL's pixels back, and says that this is slow.
    return "GL Driver Message" in text and "ReadPixels" in text


def _failed(shown: Window, url: str, reason: str) -> None:
    # A page that is left no longer waits for its images.
    if "ERR_ABORTED" not in reason or not url.startswith(shown.address):
        shown.problems.append(f"failed {url}: {reason}")


@cache
def _axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def findings(page: Page, *rules: str) -> list[str]:
    """What axe finds wrong with the accessibility of a page, from serious on; by all rules unless some are named."""
    # As a value to evaluate, since the policy of the page admits no foreign script element.
    page.evaluate(_axe())
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    # One cell is as another, and there may be hundreds.
    result = page.evaluate("options => axe.run({ exclude: ['.cell:nth-child(n+8)'] }, options)", options)
    return [
        json.dumps([one["id"], one["help"], [node["target"] for node in one["nodes"]][:5]])
        for one in result["violations"]
        if one["impact"] in ("serious", "critical")
    ]


Opener = Callable[..., Window]
