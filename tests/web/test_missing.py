"""What the server and its page say where a part of a gallery cannot be compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits.calibrated import calibrated
from kits.hashing_encoder import HashingEncoder
from kits.shards import ShardsHere, sharded_here
from kits.vector_gallery import vector_gallery
from kits.web import client_of, service_for
from starlette.testclient import TestClient

import zsretrieve as zs
from zsretrieve.client import records
from zsretrieve.domain.errors import ClusterError
from zsretrieve.domain.queries import Query
from zsretrieve.encoders.loading import Model
from zsretrieve.web import galleries
from zsretrieve.web.errors import as_http
from zsretrieve.web.service import Service
from zsretrieve.web.settings import Settings

SEARCH = "/api/v1/galleries/large/search"


@pytest.fixture(params=[True, False], ids=["part", "whole"])
def lossy(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[TestClient, ShardsHere]:
    out = vector_gallery(tmp_path / "large", calibrated(400, 32, 5).images)
    gallery, holders = sharded_here(out, 4, partial=request.param)
    monkeypatch.setattr(galleries, "open_gallery", lambda folder, **how: gallery)
    with client_of(service_for(HashingEncoder(), [out])) as client:
        yield client, holders


def test_an_answer_states_what_is_missing_or_there_is_none(lossy: tuple[TestClient, ShardsHere]) -> None:
    client, holders = lossy
    whole = client.post(SEARCH, json={"query": "a cat", "k": 400}).json()
    assert (whole["n_missing"], whole["exact"], whole["total"]) == (0, True, 400)
    holders.gone = {2}
    answer = client.post(SEARCH, json={"query": "a cat", "k": 400})
    knn = client.post("/knn-service", json={"text": "a cat", "indice_name": "large", "num_images": 3})
    if holders.partial:
        body = answer.json()
        assert (body["n_missing"], body["exact"], body["total"], body["matching"]) == (100, False, 300, None)
        assert [hit["id"] for hit in body["hits"]] == [h["id"] for h in whole["hits"] if not 200 <= h["id"] < 300]
        assert records.hits_of(body, Query("a cat", ())).n_missing == 100
    else:
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.json()["error"]["message"] == (
            "100 of 400 images cannot be compared: shard 3 of 4 did not answer in time"
        )
    # Its answers are lists, which hold no such statement.
    assert knn.status_code == 503
    neighbours = client.get("/api/v1/galleries/large/items/3")
    assert neighbours.status_code == 503
    holders.gone = set()
    assert client.post(SEARCH, json={"query": "a cat", "k": 400}).json()["hits"] == whole["hits"]
    assert (
        client.post("/knn-service", json={"text": "a cat", "indice_name": "large", "num_images": 3}).status_code == 200
    )


@pytest.mark.parametrize(("shards", "threads"), [(None, 2), (zs.Shards(), 2), (zs.Shards(replicas=3), 6)])
def test_replicas_answer_more_searches_at_once(shards: zs.Shards | None, threads: int) -> None:
    shelf = galleries.Shelf([], [], "cpu", 1, shards)
    assert Service(shelf, Model.of(HashingEncoder()), Settings()).batches._free == threads


def test_a_state_that_its_machines_have_lost_asks_for_another_search() -> None:
    error = as_http(ClusterError("the gallery '/srv/photos' has changed since it was opened", hint="Open it again."))
    assert (error.status, error.hint, error.kind) == (
        503,
        "Search again; if that does not help, the operator starts the server again.",
        ClusterError,
    )
    assert "/srv" not in error.message
