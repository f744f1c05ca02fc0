"""Regions in the API and the client: the hits of the library, with their boxes."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits.hashing_encoder import HashingEncoder
from kits.web import client_of, service_for

import zsretrieve as zs
from zsretrieve.client.records import hits_of
from zsretrieve.domain.queries import Query


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory, odd_photos: Path, hashing_encoder: HashingEncoder) -> Path:
    out = tmp_path_factory.mktemp("regions") / "tiles"
    zs.build_gallery(odd_photos, out, hashing_encoder, regions="pyramid:2")
    return out


def test_the_api_has_the_boxes_of_the_library(regions: Path, hashing_encoder: HashingEncoder) -> None:
    with client_of(service_for(hashing_encoder, [regions], [])) as client:
        for whole in (False, True):
            hits = zs.search(regions, "a red star", hashing_encoder, zs.Wanted(k=12, whole=whole))
            posted = client.post(
                "/api/v1/galleries/tiles/search", json={"query": "a red star", "k": 12, "whole": whole}
            ).json()
            linked = client.get(f"/api/v1/galleries/tiles/search?q=a+red+star&k=12&whole={str(whole).lower()}").json()
            for answer in (posted, linked):
                boxes = [None if hit.box is None else list(hit.box) for hit in hits]
                assert [hit["box"] for hit in answer["hits"]] == boxes
                assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in hits]
            assert any(hit.box for hit in hits) is not whole
            read = hits_of(posted, Query("a red star", ()))
            assert [(hit.id, hit.score, hit.box) for hit in read] == [(hit.id, hit.score, hit.box) for hit in hits]
