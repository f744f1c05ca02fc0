"""The protocol of clip-retrieval 2.45: what its client and its front end send, and what they need of the answers."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.web import BASE
from PIL import Image
from starlette.testclient import TestClient

import zsretrieve as zs

# As the Python client sends it.
CLIENT = {
    "text": None, "image": None, "image_url": None, "embedding_input": None, "deduplicate": True,
    "use_safety_model": True, "use_violence_detector": True, "indice_name": "photos", "use_mclip": False,
    "aesthetic_score": 9, "aesthetic_weight": 0.5, "modality": "image", "num_images": 10, "num_result_ids": 10,
}  # fmt: skip
# As the front end does.
FRONT = {
    **CLIENT, "deduplicate": False, "use_mclip": False, "aesthetic_score": "9", "aesthetic_weight": "0.5",
    "num_images": 5, "num_result_ids": 3000,
}  # fmt: skip


def ask(client: TestClient, body: dict[str, Any], place: str = "/knn-service", kind: str | None = None) -> Any:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = client.post(f"{BASE}{place}", content=json.dumps(body), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("kind", [None, "text/plain;charset=UTF-8", "application/json"])
@pytest.mark.parametrize("place", ["/knn-service", "//knn-service"])
def test_a_text(
    client: TestClient, gallery: Path, hashing_encoder: HashingEncoder, kind: str | None, place: str
) -> None:
    found = ask(client, {**FRONT, "text": "a - b"}, place, kind)
    wanted = zs.search(zs.open_gallery(gallery), "a - b", hashing_encoder, k=46, literal=True)
    assert [(hit["id"], hit["similarity"]) for hit in found] == [(hit.id, round(hit.score, 7)) for hit in wanted]
    assert all({"url", "caption", "image", "image_path"} < set(hit) for hit in found[:5])
    assert all(set(hit) == {"id", "similarity"} for hit in found[5:])
    assert found[0]["url"] == f"{BASE}/api/v1/galleries/photos/items/{found[0]['id']}/image"
    assert Image.open(io.BytesIO(base64.b64decode(found[0]["image"]))).format == "JPEG"
    assert Image.open(io.BytesIO(client.get(found[0]["url"]).content)).size


def test_what_the_client_asserts(client: TestClient) -> None:
    first = ask(client, {**CLIENT, "text": "cat"})[0]
    assert {"url", "caption", "similarity", "id"} < set(first)


def test_an_image_in_the_body_and_by_our_own_url(client: TestClient, photos: Path, gallery: Path) -> None:
    file = photos / "photo-00-RGB.jpg"
    number = next(item.id for item in zs.open_gallery(gallery).items if item.path == file.name)
    sent = ask(client, {**FRONT, "image": base64.b64encode(file.read_bytes()).decode()})
    assert sent[0]["id"] == number
    assert sent[0]["similarity"] == pytest.approx(1, abs=1e-6)
    for form in ("image", "thumbnail?size=256"):
        linked = ask(client, {**FRONT, "image_url": f"{BASE}/api/v1/galleries/photos/items/{number}/{form}"})
        assert [hit["id"] for hit in linked] == [hit["id"] for hit in sent]


def test_a_vector_is_not_normalised(client: TestClient, gallery: Path) -> None:
    opened = zs.open_gallery(gallery)
    vector = 3 * opened.vectors[7].astype(np.float64)
    found = ask(client, {**FRONT, "embedding_input": vector.tolist()})
    assert found[0]["id"] == 7
    scores = opened.vectors.astype(np.float64) @ vector
    assert [hit["similarity"] for hit in found] == pytest.approx([scores[hit["id"]] for hit in found], abs=1e-5)


def test_text_wins_over_other_inputs(client: TestClient, gallery: Path) -> None:
    vector = zs.open_gallery(gallery).vectors[7].tolist()
    both = ask(client, {**FRONT, "text": "cat", "embedding_input": vector})
    assert both == ask(client, {**FRONT, "text": "cat"})
    assert ask(client, {**FRONT, "text": "", "embedding_input": vector})[0]["id"] == 7


def test_near_duplicates_are_left_out_as_upstream_does(client: TestClient, gallery: Path) -> None:
    every = [hit["id"] for hit in ask(client, {**FRONT, "text": "cat"})]
    kept = [hit["id"] for hit in ask(client, {**FRONT, "text": "cat", "deduplicate": True})]
    vectors = zs.open_gallery(gallery).vectors[every]
    near = vectors @ vectors.T > np.float32(0.94)
    group = np.arange(len(every))
    for _ in every:  # the lowest place that a chain reaches
        group = np.array([group[row].min() for row in near])
    assert kept == [every[place] for place in np.unique(group)]
    assert len(kept) < len(every)


def test_metadata(client: TestClient) -> None:
    found = ask(client, {"ids": [3, 1, 3], "indice_name": "photos"}, "/metadata")
    assert [one["id"] for one in found] == [3, 1, 3]
    assert {"url", "caption", "image"} < set(found[0]["metadata"])
    assert ask(client, {"ids": [], "indice_name": "photos"}, "/metadata") == []


def test_lists_and_configuration(client: TestClient) -> None:
    for slashes in ("/", "//"):
        assert client.get(f"{BASE}{slashes}indices-list").json() == ["photos"]
        assert client.get(f"{BASE}{slashes}config.json").json() == {
            "defaultBackend": BASE, "defaultIndex": "", "urlColumn": "url"
        }  # fmt: skip


def test_the_first_index_is_the_default(client: TestClient) -> None:
    body = {"text": "cat", "modality": "image", "num_images": 3}
    assert len(ask(client, {**body, "indice_name": None})) == len(ask(client, body)) == 3


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "one of text, image"),
        ({"text": "cat", "modality": "text"}, 400, "no captions"),
        ({"text": "cat", "indice_name": "laion"}, 404, "there is no gallery 'laion'"),
        ({"text": 3}, 400, "text is not a text"),
        ({"text": "cat", "num_images": -1}, 400, "num_images"),
        ({"image_url": "http://example.org/a.jpg"}, 403, "does not fetch URLs"),
        ({"image": "x"}, 400, "not base64"),
        ({"text": "cat", "num_images": 10**400}, 400, "num_images"),
        ({"embedding_input": [10**400]}, 400, "embedding_input"),
    ],
)
def test_errors_have_a_message(client: TestClient, body: dict[str, Any], status: int, message: str) -> None:
    answer = client.post("/knn-service", content=json.dumps(body))
    assert answer.status_code == status
    assert set(answer.json()) == {"message"}
    assert message in answer.json()["message"]
