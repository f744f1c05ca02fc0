"""What needs ``--write``: adding, syncing and saved searches."""

from __future__ import annotations

import gc
import json
import os
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kits.hashing_encoder import HashingEncoder
from kits.waiting import PATIENCE_S
from kits.web import client_of, service_for
from PIL import Image
from starlette.testclient import TestClient

import zsretrieve as zs
from zsretrieve.store.folder import repairing
from zsretrieve.web.fetching import Fetcher
from zsretrieve.web.galleries import Shelf
from zsretrieve.web.settings import Limits, Settings

API = "/api/v1"
GALLERY = f"{API}/galleries/index"


@pytest.fixture
def place(tmp_path: Path, hashing_encoder: HashingEncoder) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.new("RGB", (20, 20), (60 * number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
    zs.build_gallery(tmp_path / "photos", tmp_path / "index", hashing_encoder)
    return tmp_path


@pytest.fixture
def client(place: Path, hashing_encoder: HashingEncoder) -> Iterator[TestClient]:
    with client_of(service_for(hashing_encoder, [place / "index"], settings=Settings(write=True))) as asking:
        yield asking


def events(client: TestClient, job: str) -> list[dict]:
    with client.stream("GET", f"{API}/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: ")]


def test_images_are_added_and_found_at_once(client: TestClient, place: Path) -> None:
    (place / "more").mkdir()
    Image.new("RGB", (20, 20), "blue").save(place / "more" / "blue.png")
    answer = client.post(f"{GALLERY}/add", json={"source": str(place / "more")})
    assert answer.status_code == 202
    job = answer.json()["job"]
    steps = events(client, job)
    assert steps[-1]["state"] == "done"
    assert steps[-1]["message"].startswith("1 added, 0 changed")
    assert client.get(f"{API}/jobs/{job}").json() == steps[-1]
    assert client.get(GALLERY).json()["n_images"] == 5


def test_a_gallery_follows_its_folder(client: TestClient, place: Path) -> None:
    (place / "photos" / "0.png").unlink()
    Image.new("RGB", (20, 20), "blue").save(place / "photos" / "9.png")
    steps = events(client, client.post(f"{GALLERY}/sync").json()["job"])
    assert steps[-1]["message"].startswith("1 added, 0 changed, 0 moved, 1 removed, 3 unchanged")
    assert [hit["id"] for hit in client.get(f"{GALLERY}/items").json()["hits"]] == [1, 2, 3, 4]


def test_pages_of_duplicates_fit_while_the_gallery_changes(client: TestClient, place: Path) -> None:
    copies = [place / "photos" / f"{number} copy.png" for number in (0, 1)]
    for copy in copies:
        shutil.copy(copy.with_name(copy.name.replace(" copy", "")), copy)
    events(client, client.post(f"{GALLERY}/sync").json()["job"])

    def page(**parameters: str | int) -> dict:
        answer = client.get(f"{GALLERY}/duplicates", params={"near": 1, "k": 1, **parameters})
        assert answer.status_code == 200
        return answer.json()

    both = client.get(f"{GALLERY}/duplicates", params={"near": 1}).json()["groups"]
    first = page()
    copies[0].unlink()
    events(client, client.post(f"{GALLERY}/sync").json()["job"])
    rest = page(offset=first["next"], revision=first["revision"])
    assert rest["revision"] == first["revision"] != page()["revision"]
    assert [group["items"][0]["id"] for group in first["groups"] + rest["groups"]] == [
        group["items"][0]["id"] for group in both
    ]
    assert (rest["next"], page()["total"]) == (None, 1)


def test_a_job_that_fails(client: TestClient, place: Path) -> None:
    steps = events(client, client.post(f"{GALLERY}/add", json={"source": str(place / "none")}).json()["job"])
    assert steps[-1]["state"] == "failed"
    assert "none" in steps[-1]["message"]
    shutil.rmtree(place / "index")
    steps = events(client, client.post(f"{GALLERY}/sync").json()["job"])
    assert steps[-1]["state"] == "failed"
    assert client.get(f"{GALLERY}/search", params={"q": "red"}).status_code == 200


@pytest.mark.parametrize("source", ["photos", "-", "@/etc/passwd", "http://127.0.0.1/a.tar", "hf:cifar10", "s3://x/y"])
def test_other_sources_are_refused(client: TestClient, source: str) -> None:
    answer = client.post(f"{GALLERY}/add", json={"source": source})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "the source is not an absolute path")


@pytest.mark.parametrize(
    "body",
    [
        {"query": "red - 0.5:blue", "k": 3},
        {"terms": [{"id": 2, "weight": 2.0, "box": [0, 0, 0.5, 1]}, {"text": "a - b"}], "where": "width > 1"},
        {"query": "red", "minus": ["blue"], "more": [1], "less": [2], "order": "date", "min_score": -0.5},
        {"more": [3]},
    ],
)
def test_a_search_that_is_saved_finds_the_same(client: TestClient, place: Path, body: dict) -> None:
    saved = client.post(f"{GALLERY}/searches", json={"name": "the red / ones", "search": body})
    assert saved.status_code == 200, saved.text
    (listed,) = client.get(f"{GALLERY}/searches").json()["searches"]
    assert listed == saved.json()
    again = client.post(f"{GALLERY}/search", json=listed["search"]).json()
    first = client.post(f"{GALLERY}/search", json=body).json()
    assert [(hit["id"], hit["score"]) for hit in again["hits"]] == [(hit["id"], hit["score"]) for hit in first["hits"]]
    kept = zs.saved_search(place / "index", "the red / ones")
    assert [hit.id for hit in zs.search(place / "index", kept.query, HashingEncoder(), wanted=kept.wanted)] == [
        hit["id"] for hit in first["hits"]
    ]
    assert client.delete(f"{GALLERY}/searches/the red %2F ones").json() == {"searches": []}
    assert client.delete(f"{GALLERY}/searches/the red %2F ones").status_code == 404


def test_what_the_command_line_saved_shows_no_path(client: TestClient, place: Path) -> None:
    outside = place / "outside.png"
    Image.new("RGB", (20, 20), "blue").save(outside)
    zs.save_search(
        place / "index", "inside", [zs.Term(place / "photos" / "2.png", 2.0), zs.Term("red")], zs.Wanted(k=5000)
    )
    zs.save_search(place / "index", "outside", outside)
    listed = client.get(f"{GALLERY}/searches")
    assert str(place) not in listed.text
    (inside,) = listed.json()["searches"]
    assert inside["search"] == {"terms": [{"id": 2, "weight": 2.0}, {"text": "red", "weight": 1.0}], "k": 1000}
    assert client.post(f"{GALLERY}/search", json=inside["search"]).status_code == 200


def test_a_gallery_that_is_being_written_is_busy(client: TestClient, place: Path) -> None:
    with repairing(place / "index"):
        for address, body in (("labels", {"ids": [1], "label": "x"}), ("searches", {"name": "x", "search": {}})):
            answer = client.post(f"{GALLERY}/{address}", json=body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert str(place) not in answer.text


def test_closed_revisions_are_let_go(place: Path, hashing_encoder: HashingEncoder) -> None:
    settings = Settings(write=True, limits=Limits(revisions=1, check_s=0.05))
    service = service_for(hashing_encoder, [place / "index"], settings=settings)
    with client_of(service) as client:
        for body in ({"query": "red", "where": "width > 1"}, {"query": "red"}):
            assert client.post(f"{GALLERY}/search", json=body).status_code == 200
        assert client.get(f"{GALLERY}/duplicates").status_code == 200
        first = weakref.ref(service.shelf.gallery("index").current)
        assert first() is not None
        assert client.post(f"{GALLERY}/labels", json={"ids": [1], "label": "x"}).json() == {"changed": 1}
        until = time.monotonic() + PATIENCE_S
        while first() is not None and time.monotonic() < until:
            time.sleep(0.05)
            gc.collect()
        assert first() is None


def test_galleries_that_are_made_at_once_are_all_served(place: Path) -> None:
    shelf = Shelf([], [], "cpu", 1)
    with ThreadPoolExecutor(8) as pool:
        names = {served.name for served in pool.map(shelf.add_gallery, [place / "index"] * 16)}
    assert len(names) == 16
    assert names == set(shelf.galleries)


def test_an_image_that_was_sent_is_not_saved(client: TestClient) -> None:
    body = {"name": "x", "search": {"terms": [{"upload": "0" * 32}]}}
    assert client.post(f"{GALLERY}/searches", json=body).status_code == 400


def test_an_image_at_a_url_is_not_saved_nor_fetched(
    place: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fetcher, "fetch", lambda *_: pytest.fail("it is fetched"))
    settings = Settings(write=True, fetch=True)
    with client_of(service_for(hashing_encoder, [place / "index"], settings=settings)) as client:
        body = {"name": "x", "search": {"query": "red + http://images.example/a.png"}}
        answer = client.post(f"{GALLERY}/searches", json=body)
        assert (answer.status_code, answer.json()["error"]["hint"]) == (400, "Use one of the gallery.")
        assert client.get(f"{GALLERY}/searches").json() == {"searches": []}


@pytest.mark.parametrize("kind", ["gallery", "prototypes"])
def test_an_index_that_could_not_be_opened_is_tried_again(
    place: Path, hashing_encoder: HashingEncoder, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    folder = place / "index"
    if kind == "prototypes":
        folder = place / "classes"
        zs.build_prototypes(folder, ["red", "blue"], hashing_encoder)
    shelf = Shelf([str(folder)] * (kind == "gallery"), [str(folder)] * (kind == "prototypes"), "cpu", 1)
    served = (shelf.galleries | shelf.prototypes)[folder.name]
    before, manifest = served.current, folder / "manifest.json"
    (vectors,) = folder.rglob("vectors.npy")
    away = vectors.rename(place / "away")
    os.utime(manifest, ns=(1, 1))
    shelf.refresh()
    assert served.current is before
    monkeypatch.setattr("zsretrieve.web.galleries._AGAIN_S", 0.0)
    shelf.refresh()
    assert (served.current, len(caplog.records)) == (before, 1)
    away.rename(vectors)
    shelf.refresh()
    now = served.current
    assert now is not before
    shelf.refresh()
    assert served.current is now


def test_an_index_is_followed_after_an_error_of_any_kind(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(place / "index", place / "other")
    shelf = Shelf([str(place / "index"), str(place / "other")], [], "cpu", 1)
    index, other = (shelf.gallery(name) for name in ("index", "other"))
    before, of_other = index.current, other.current
    monkeypatch.setattr(index, "_open", lambda: {}["column"])
    for folder in (index.folder, other.folder):
        os.utime(folder / "manifest.json", ns=(1, 1))
    shelf.refresh()
    assert index.current is before
    assert other.current is not of_other
    assert "'index' changed and cannot be opened, so the old state is served: 'column'" in caplog.messages
    monkeypatch.undo()
    monkeypatch.setattr("zsretrieve.web.galleries._AGAIN_S", 0.0)
    shelf.refresh()
    assert index.current is not before


def test_looking_for_changes_goes_on_after_an_error(
    place: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = service_for(hashing_encoder, [place / "index"], settings=Settings(limits=Limits(check_s=0.01)))
    looks = iter([ValueError("a bad look")])
    looked = threading.Event()

    def refresh() -> None:
        for error in looks:
            raise error
        looked.set()

    monkeypatch.setattr(service.shelf, "refresh", refresh)
    with client_of(service):
        assert looked.wait(10)
    assert "looking for changes failed" in caplog.messages


def test_nothing_is_written_without_leave(place: Path, hashing_encoder: HashingEncoder) -> None:
    before = {path: path.read_bytes() for path in (place / "index").rglob("*") if path.is_file()}
    with client_of(service_for(hashing_encoder, [place / "index"])) as client:
        for method, address, body in (
            ("POST", f"{GALLERY}/add", {"source": str(place / "photos")}),
            ("POST", f"{GALLERY}/sync", None),
            ("POST", f"{GALLERY}/searches", {"name": "x", "search": {}}),
            ("DELETE", f"{GALLERY}/searches/x", None),
            ("POST", f"{GALLERY}/labels", {"ids": [1], "label": "x"}),
            ("POST", f"{GALLERY}/subset", {"ids": [1], "name": "x"}),
            ("POST", f"{GALLERY}/prototypes", {"name": "x", "classes": {"a": [1]}}),
        ):
            answer = client.request(method, address, json=body)
            assert (answer.status_code, answer.json()["error"]["message"]) == (403, "the server is read-only")
    assert before == {path: path.read_bytes() for path in (place / "index").rglob("*") if path.is_file()}


def test_images_are_labelled(client: TestClient, place: Path) -> None:
    before = zs.open_gallery(place / "index")
    assert client.post(f"{GALLERY}/labels", json={"ids": [1, 3], "label": "a cat"}).json() == {"changed": 2}
    after = zs.open_gallery(place / "index")
    assert [item.label for item in after.items] == [None, "a cat", None, "a cat"]
    assert (after.vectors == before.vectors).all()
    assert client.get(GALLERY).json()["labels"] == [{"label": "a cat", "n": 2}]
    assert client.post(f"{GALLERY}/labels", json={"ids": [1], "label": None}).json() == {"changed": 1}
    assert client.post(f"{GALLERY}/labels", json={"ids": [0, 99], "label": "x"}).status_code == 400
    assert [item.label for item in zs.open_gallery(place / "index").items] == [None, None, None, "a cat"]
    assert zs.verify(place / "index") == []
    assert zs.sync(place / "index", HashingEncoder()).unchanged == 4
    assert zs.open_gallery(place / "index").items[3].label == "a cat"


def test_a_gallery_of_some_images(
    client: TestClient, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSRETRIEVE_DATA", str(tmp_path / "data"))
    whole = zs.open_gallery(place / "index")
    assert client.post(f"{GALLERY}/subset", json={"ids": [3, 1, 3], "name": "some"}).json() == {"name": "some"}
    some = zs.open_gallery("@some")
    assert [item.id for item in some.items] == [1, 3]
    assert (some.vectors == whole.vectors[[1, 3]]).all()
    assert zs.verify("@some") == []
    assert [hit["id"] for hit in client.get(f"{API}/galleries/some/items").json()["hits"]] == [1, 3]
    assert client.get(f"{API}/galleries/some/items/3/thumbnail").status_code == 200
    assert client.post(f"{GALLERY}/subset", json={"ids": [1], "name": "some"}).status_code == 409


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "@x", "a\0b"])
def test_names_that_are_paths_are_refused(client: TestClient, name: str) -> None:
    assert client.post(f"{GALLERY}/subset", json={"ids": [1], "name": name}).status_code == 422


def test_prototypes_of_images(client: TestClient, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSRETRIEVE_DATA", str(tmp_path / "data"))
    body = {"name": "reds", "classes": {"dark": [0, 1], "bright": [3]}}
    assert client.post(f"{GALLERY}/prototypes", json=body).json() == {"name": "reds"}
    made = zs.open_prototypes("@reds")
    assert sorted(made.prompts.class_names) == ["bright", "dark"]
    answer = client.post(f"{GALLERY}/classify", json={"prototypes": "reds", "ids": [3]}).json()
    assert answer["predictions"][0]["class_name"] == "bright"
    twice = {"name": "more", "classes": {"dark": [0], "bright": [0]}}
    assert "in two classes" in client.post(f"{GALLERY}/prototypes", json=twice).text
    missing = {"name": "more", "classes": {"dark": [99]}}
    assert client.post(f"{GALLERY}/prototypes", json=missing).status_code == 404
