"""A server of images and texts together: texts are served as what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits.hashing_encoder import HashingEncoder
from kits.web import client_of, service_for

import zsretrieve as zs
from zsretrieve.client import records
from zsretrieve.domain.queries import Query
from zsretrieve.web.settings import Settings

API = "/api/v1/galleries"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("words")
    (root / "captions.csv").write_text(
        f"image,caption\n{root.parent}/elsewhere/1.jpg,a red star\n2.jpg,a cat\n,a dog\n"
    )
    zs.build_gallery(zs.open_texts(root / "captions.csv"), root / "captions", HashingEncoder())
    return root / "captions"


def test_texts_beside_images(gallery: Path, words: Path, hashing_encoder: HashingEncoder) -> None:
    with client_of(service_for(hashing_encoder, [gallery, words])) as client:
        listed = {one["name"]: one for one in client.get(API).json()["galleries"]}
        assert {name: one["holds_texts"] for name, one in listed.items()} == {"photos": False, "captions": True}
        assert records.gallery_of(listed["captions"]).holds_texts
        answer = client.post(f"{API}/captions/search", json={"query": "a cat", "k": 2}).json()
        hits = records.hits_of(answer, Query("a cat", ()))
        ours = zs.search(words, "a cat", hashing_encoder, k=2)
        assert [(hit.id, hit.text, hit.score) for hit in hits] == [(hit.id, hit.text, hit.score) for hit in ours]
        assert [(hit["name"], hit["image"], hit["missing"]) for hit in answer["hits"][:1]] == [
            ("a cat", "2.jpg", False)
        ]
        item = client.get(f"{API}/captions/items/0").json()
        assert (item["text"], item["path"]) == ("a red star", "captions.csv!/2")
        assert item["image"].endswith("elsewhere/1.jpg")
        assert records.described_of(item).item.text == "a red star"
        assert all(one["text"] for one in item["neighbours"])
        photo = client.post(f"{API}/photos/search", json={"query": "a cat", "k": 1}).json()["hits"][0]
        assert (photo["text"], photo["image"]) == (None, None)
        for place in ("image", "thumbnail"):
            refused = client.get(f"{API}/captions/items/0/{place}")
            assert refused.status_code == 404
            assert "is a text" in refused.json()["error"]["message"]


def test_a_server_for_others_hides_where_images_are(words: Path, hashing_encoder: HashingEncoder) -> None:
    settings = Settings("0.0.0.0", token="x" * 20)
    with client_of(service_for(hashing_encoder, [words], settings=settings)) as client:
        client.headers["Authorization"] = f"Bearer {settings.token}"
        assert client.get(f"{API}/captions/items/0").json()["image"] == "1.jpg"


def test_an_image_that_is_sent_finds_texts(odd_photos: Path, words: Path, hashing_encoder: HashingEncoder) -> None:
    path = sorted(odd_photos.iterdir())[0]
    with client_of(service_for(hashing_encoder, [words])) as client:
        upload = client.post("/api/v1/uploads", content=path.read_bytes()).json()["upload"]
        answer = client.post(f"{API}/captions/search", json={"terms": [{"upload": upload}], "k": 3}).json()
    assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in zs.search(words, path, hashing_encoder, k=3)]
