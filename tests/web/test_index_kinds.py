"""The server says where a ranking is approximate, and clients may ask for an exact one."""

from __future__ import annotations

from pathlib import Path

from kits.calibrated import calibrated
from kits.hashing_encoder import HashingEncoder
from kits.vector_gallery import vector_gallery
from kits.web import client_of, service_for

import zsretrieve as zs
from zsretrieve.client import records, terms
from zsretrieve.domain.queries import Query

API = "/api/v1/galleries"


def test_rankings_say_whether_they_are_exact(tmp_path: Path) -> None:
    out = vector_gallery(tmp_path / "large", calibrated(2000, 32, 5).images)
    zs.set_index_kind(out, "IVF16,SQ8")
    with client_of(service_for(HashingEncoder(), [out], [])) as client:
        (listed,) = client.get(API).json()["galleries"]
        assert (listed["index"], listed["exact"]) == ("IVF16,SQ8", False)
        place = f"{API}/large/search"
        answer = client.post(place, json={"query": "a cat"}).json()
        assert answer["exact"] is False
        assert records.hits_of(answer, Query("a cat", ())).is_exact is False
        assert client.post(place, json={"query": "a cat", "exact": True}).json()["exact"] is True
        assert client.get(place, params={"q": "a cat", "exact": True}).json()["exact"] is True
        assert client.post(place, json={"query": "a cat", "where": "label = '3'"}).json()["exact"] is True
        for whole in ({"min_score": 0.1}, {"order": "date"}):
            assert client.post(place, json={"query": "a cat", **whole}).json()["exact"] is True
        assert client.post(place, json={}).json()["exact"] is True
        body = terms.body_of(Query("", ()), zs.Wanted(exact=True), None, str)
        assert body["exact"] is True
