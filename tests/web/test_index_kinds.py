"""The server says where a ranking is approximate, and clients may ask for an exact one."""

from __future__ import annotations

from pathlib import Path

from kits.calibrated import calibrated
from kits.hashing_encoder import HashingEncoder
from kits.vector_gallery import vector_gallery
from kits.web import client_of, service_for

import zsretrieve as zs
from zsretrieve.client import records, terms
from zsretrieve.domain.kinds import QueryKind
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


def test_rankings_say_how_much_they_find(tmp_path: Path) -> None:
    data = calibrated(2000, 32, 300)
    out = vector_gallery(tmp_path / "large", data.images)
    zs.set_index_kind(out, "IVF16,SQ8")
    place = f"{API}/large/search"
    with client_of(service_for(HashingEncoder(), [out], [])) as client:
        assert client.post(place, json={"query": "a cat"}).json()["expected"] is None
        refused = client.post(place, json={"query": "a cat", "recall": 0.9})
        assert refused.status_code == 400
        assert "none is stored" in refused.json()["error"]["message"]
    tuning = zs.tune_index(out, 0.9, texts=data.texts).tuning
    with client_of(service_for(HashingEncoder(), [out], [])) as client:
        for asked, kind in (({"query": "a cat"}, QueryKind.TEXTS), ({"query": "id:5"}, QueryKind.IMAGES)):
            for recall in (0.8, 0.98):
                answer = client.post(place, json={**asked, "recall": recall, "k": 10}).json()
                effort = tuning.reaching(recall, kind)
                assert effort is not None
                setting = tuning.setting(effort)
                assert setting is not None
                expected = zs.Expected(kind, 10, setting.of(kind))
                assert answer["expected"] == expected.to_dict()
                assert records.hits_of(answer, Query("", ())).expected == expected
        answer = client.get(place, params={"q": "a cat", "recall": 1}).json()
        assert (answer["exact"], answer["expected"]) == (True, None)
        assert client.get(place, params={"q": "a cat", "recall": 2}).status_code == 422
        assert client.post(place, json={"query": "a", "recall": 0.9, "exact": True}).status_code == 400
    assert terms.body_of(Query("", ()), zs.Wanted(recall=0.9), None, str)["recall"] == 0.9
