"""One ranking, wherever it is asked for: the page, the API, the client, an assistant, the shell and Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import Run
from kits import browser as kit
from kits.assistant import asked
from kits.small import Served, Small, serving
from kits.waiting import PATIENCE_S
from playwright.sync_api import Response

import zsretrieve as zs
from zsretrieve.client import Client

QUERIES = ("a red circle", "a blue star - 0.5:red + id:3", "photo at night")
ALL = 25
Ranking = list[tuple[int, bytes]]


def count_of(query: str) -> int:
    """How many images a query ranks: all but its own."""
    return ALL - query.count("id:")


def ranking(hits: Iterable[Mapping[str, Any]]) -> Ranking:
    """The IDs, and the bits of the scores as float32."""
    return [(hit["id"], np.float32(hit["score"]).tobytes()) for hit in hits]


def by_python(served: Served, query: str) -> Ranking:
    return ranking(vars(hit) for hit in zs.search(served.shapes, query, k=ALL, cached=False))


def by_api(served: Served, query: str) -> list[Ranking]:
    address = f"{served.address}/api/v1/galleries/shapes/search"
    posted = httpx.post(address, json={"query": query, "k": ALL}, timeout=PATIENCE_S)
    linked = httpx.get(address, params={"q": query, "k": str(ALL)}, timeout=PATIENCE_S)
    return [ranking(answer.json()["hits"]) for answer in (posted, linked)]


def by_client(served: Served, query: str) -> Ranking:
    with Client(served.address) as client:
        return ranking(vars(hit) for hit in client.search("shapes", query, zs.Wanted(k=ALL)))


def by_assistant(served: Served) -> list[Ranking]:
    _, results = asked([served.shapes], [("search", {"query": query, "k": ALL}) for query in QUERIES])
    return [ranking((result.structured_content or {})["hits"]) for result in results]


def by_shell(run_cli: Run, served: Served, query: str) -> Ranking:
    done = run_cli("search", served.shapes, "-q", query, "-k", str(ALL), "--no-query-cache", "--format", "json")
    assert done.returncode == 0, done.stderr
    return ranking(json.loads(done.stdout))


def by_page(served: Served) -> list[Ranking]:
    """What the page was answered, which is also what its grid shows."""
    rankings = []
    with kit.chromium() as browser, kit.window(browser, f"{served.address}/") as shown:
        shown.open()
        for query in QUERIES:
            answers: list[Response] = []

            def keep(answer: Response, kept: list[Response] = answers) -> None:
                if answer.url.partition("?")[0].endswith("/search"):
                    kept.append(answer)

            shown.page.on("response", keep)
            shown.box.fill(query)
            shown.box.press("Enter")
            kit.expect(shown.page.locator(".cell")).to_have_count(count_of(query))
            kit.expect(shown.page).to_have_title(f"{query} · shapes · zsretrieve")
            shown.ready()
            rankings.append(ranking(hit for answer in answers for hit in answer.json()["hits"]))
            assert shown.ids() == [number for number, _ in rankings[-1]]
            shown.page.remove_listener("response", keep)
        assert shown.unexpected() == []
    return rankings


def test_all_faces_give_the_same_ranking(tmp_path_factory: pytest.TempPathFactory, run_cli: Run) -> None:
    if not kit.CHROMIUM.exists():
        pytest.skip(kit.NO_CHROMIUM)
    with serving(Small.made(tmp_path_factory.mktemp("faces"))) as served:
        expected = [by_python(served, query) for query in QUERIES]
        assert [len(one) for one in expected] == list(map(count_of, QUERIES))
        for query, known in zip(QUERIES, expected, strict=True):
            assert by_api(served, query) == [known, known]
            assert by_client(served, query) == known
            assert by_shell(run_cli, served, query) == known
        assert by_assistant(served) == expected
        # In a thread of its own: the loop of other tests' browser may run in this one.
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(by_page, served).result() == expected
