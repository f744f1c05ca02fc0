"""Maps over HTTP are those of the library, and follow the gallery and its map."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.web import client_of, service_for
from starlette.testclient import TestClient

import zsretrieve as zs

SHAPES = "/api/v1/galleries/shapes"


@pytest.fixture
def folder(tmp_path: Path, scene_folder: Path, hashing_encoder: HashingEncoder) -> Path:
    """A gallery of three classes without a map, which a test may change."""
    for name in ("red star", "blue star", "red circle"):
        shutil.copytree(scene_folder / name, tmp_path / "scenes" / name)
    zs.build_gallery(tmp_path / "scenes", tmp_path / "shapes", hashing_encoder)
    return tmp_path / "shapes"


@pytest.fixture
def client(folder: Path, hashing_encoder: HashingEncoder) -> Iterator[TestClient]:
    with client_of(service_for(hashing_encoder, [folder])) as asking:
        yield asking


def test_a_map_is_that_of_the_library(client: TestClient, folder: Path) -> None:
    made = zs.make_map(folder)
    assert client.get(SHAPES).json()["has_map"]
    xy = client.get(f"{SHAPES}/map")
    assert xy.headers["content-type"] == "application/octet-stream"
    np.testing.assert_array_equal(np.frombuffer(xy.content, "<f4").reshape(-1, 2), made.xy)
    ids = client.get(f"{SHAPES}/map/ids")
    np.testing.assert_array_equal(np.frombuffer(ids.content, "<i8"), made.ids)
    about = client.get(f"{SHAPES}/map/about").json()
    assert about["captions"] == [vars(caption) for caption in made.captions]
    assert (about["n"], about["missing"], about["method"]) == (len(made.ids), 0, made.method)
    assert about["revision"] == xy.headers["x-revision"] == client.get(SHAPES).json()["revision"]
    places = np.frombuffer(client.get(f"{SHAPES}/map/labels").content, "<i4")
    assert [about["captions"][place]["label"] for place in places] == list(made.labels)


def test_a_map_is_sent_again_only_if_it_or_the_gallery_changed(client: TestClient, folder: Path) -> None:
    zs.make_map(folder)
    first = client.get(f"{SHAPES}/map")
    known = {"If-None-Match": first.headers["etag"]}
    for part in ("", "/ids", "/labels"):
        again = client.get(f"{SHAPES}/map{part}", headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["x-revision"] == first.headers["x-revision"]
    zs.make_map(folder, fresh=True, seed=3)
    other = client.get(f"{SHAPES}/map", headers=known)
    assert (other.status_code, other.headers["etag"] == first.headers["etag"]) == (200, False)


def test_a_gallery_that_changed_shares_with_its_map_what_both_have(
    folder: Path, hashing_encoder: HashingEncoder
) -> None:
    zs.make_map(folder)
    service = service_for(hashing_encoder, [folder])
    with client_of(service) as client:
        known = {"If-None-Match": client.get(f"{SHAPES}/map").headers["etag"]}
        zs.remove(folder, where="id = 2")
        service.shelf.refresh()
        assert client.get(f"{SHAPES}/map", headers=known).status_code == 200
        ids = np.frombuffer(client.get(f"{SHAPES}/map/ids").content, "<i8").tolist()
        assert ids == [number for number in range(len(ids) + 1) if number != 2]


def test_there_may_be_no_map_or_none_that_can_be_used(client: TestClient, folder: Path) -> None:
    assert not client.get(SHAPES).json()["has_map"]
    for part in ("", "/ids", "/labels", "/about"):
        answer = client.get(f"{SHAPES}/map{part}")
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "kind": "UsageError",
            "message": "the gallery 'shapes' has no map",
            "hint": "Make one: zsretrieve index map GALLERY",
        }
    zs.make_map(folder)
    (folder / "map.parquet").write_bytes(b"no map")
    answer = client.get(f"{SHAPES}/map")
    assert (answer.status_code, "cannot be used" in answer.text, str(folder) in answer.text) == (404, True, False)
    assert client.get(f"{SHAPES}/map/else").status_code == 422
    assert client.get("/api/v1/galleries/none/map").status_code == 404


def test_images_by_their_ids(client: TestClient, folder: Path) -> None:
    gallery = zs.open_gallery(folder)
    hits = client.post(f"{SHAPES}/items", json={"ids": [5, 999, 0]}).json()["hits"]
    assert [(hit["id"], hit["label"]) for hit in hits] == [(n, gallery.items[n].label) for n in (5, 0)]
    assert client.post(f"{SHAPES}/items", json={"ids": [0] * 1001}).status_code == 422


def test_as_many_images_of_a_class_are_listed_as_are_asked_for(client: TestClient) -> None:
    body = {"labels": ["star", "circle"]}
    every = client.post(f"{SHAPES}/classify", json=body).json()["classes"]
    some = client.post(f"{SHAPES}/classify", json={**body, "listed": 2}).json()["classes"]
    assert [one["ids"] for one in some] == [one["ids"][:2] for one in every]
    assert [one["n"] for one in some] == [len(one["ids"]) for one in every]
