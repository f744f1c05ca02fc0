"""The code of clip-retrieval's own server beside ours: the same fields, the same order, the same tail."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits import peer
from kits.hashing_encoder import HashingEncoder
from kits.web import BASE, client_of, service_for
from PIL import Image
from starlette.testclient import TestClient

import zsretrieve as zs

pytestmark = pytest.mark.peer

COUNT = 60
ASKED: dict[str, Any] = {"indice_name": "pets", "modality": "image", "num_images": 8, "num_result_ids": 3000}
# What has an effect only where a server has further models.
CHOICES = {"use_mclip": False, "use_safety_model": True, "use_violence_detector": True}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, every fourth and fifth made from the one before, so that some groups are chains."""
    root = tmp_path_factory.mktemp("peer")
    rng = np.random.default_rng(3)
    image = Image.new("RGB", (120, 90))
    for number in range(COUNT):
        (root / f"folder {number % 3}").mkdir(exist_ok=True)
        new = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(image.size)
        image = new if number % 5 < 3 else Image.blend(image, new, 0.15)
        image.save(root / f"folder {number % 3}" / f"{number:02} ä.jpg", quality=95)
    return root


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, images: Path, hashing_encoder: HashingEncoder) -> Path:
    out = tmp_path_factory.mktemp("indexes") / "pets"
    zs.build_gallery(images, out, hashing_encoder)
    return out


@pytest.fixture(scope="module")
def ours(index: Path, hashing_encoder: HashingEncoder) -> Iterator[TestClient]:
    with client_of(service_for(hashing_encoder, [index])) as client:
        yield client


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, index: Path, hashing_encoder: HashingEncoder) -> peer.Peer:
    gallery = zs.open_gallery(index)
    described = [
        peer.Described(f"{BASE}/api/v1/galleries/pets/items/{item.id}/image", gallery.path_of(item), item.label or "")
        for item in gallery.items
    ]
    wheel = peer.unpacked(tmp_path_factory.mktemp("wheel"))
    return peer.Peer(wheel, tmp_path_factory.mktemp("theirs") / "pets", hashing_encoder, gallery.vectors, described)


def post(client: TestClient, place: str, body: dict[str, Any]) -> Any:
    answer = client.post(f"{BASE}{place}", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    return answer.json()


def check_pictures(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Both are the same picture as JPEG, and are taken out; theirs has been compressed once more than the file."""
    pair = [Image.open(io.BytesIO(base64.b64decode(hit.pop("image")))) for hit in (one, other)]
    assert [image.format for image in pair] == ["JPEG", "JPEG"]
    assert pair[0].size == pair[1].size
    assert np.abs(np.subtract(*(np.asarray(image, dtype=np.float32) for image in pair))).mean() < 4


def picture(number: int, images: Path) -> str:
    """An image in base64, as the front end sends it."""
    return base64.b64encode(sorted(images.rglob("*.jpg"))[number].read_bytes()).decode()


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize(
    "asked",
    [
        {"text": "a cat"},
        {"text": "a cat", "num_images": 40, "num_result_ids": 40},
        {"text": "a cat", "num_images": 100, "num_result_ids": 10},
        {"text": "a cat", "num_images": 0},
        {"text": "ein Kätzchen", "indice_name": None},
        {"text": "", "embedding": 7},
        {"embedding": 7},
        {"text": "a dog", "embedding": 7},
        {"picture": 20},
        {"picture": 11, "embedding": 7},
        {"text": "a cat", **CHOICES, "aesthetic_score": "9", "aesthetic_weight": "0.5"},
        {"text": "a cat", **CHOICES, "aesthetic_score": 9, "aesthetic_weight": 0.5},
    ],
)  # fmt: skip
def test_what_is_found(
    ours: TestClient, theirs: peer.Peer, images: Path, index: Path, asked: dict[str, Any], deduplicate: bool
) -> None:
    body = {**ASKED, "deduplicate": deduplicate, **asked}
    if "embedding" in body:
        body["embedding_input"] = (3 * zs.open_gallery(index).vectors[body.pop("embedding")]).tolist()
    if "picture" in body:
        body["image"] = picture(body.pop("picture"), images)
    wanted, found = theirs.post("/knn-service", body), post(ours, "/knn-service", body)
    assert 3 < len(wanted) <= body["num_result_ids"]
    assert [hit["id"] for hit in found] == [hit["id"] for hit in wanted]
    assert [hit.pop("similarity") for hit in found] == pytest.approx(
        [hit.pop("similarity") for hit in wanted], abs=2e-6
    )
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        if "image" in other:
            check_pictures(one, other)
        assert one == other
    if deduplicate and body["num_result_ids"] > COUNT:
        assert len(found) < COUNT


@pytest.mark.parametrize("ids", [[], [3], [5, 1, 5, 59, 0]])
def test_metadata(ours: TestClient, theirs: peer.Peer, ids: list[int]) -> None:
    body = {"ids": ids, "indice_name": "pets"}
    wanted, found = theirs.post("/metadata", body), post(ours, "/metadata", body)
    for one, other in zip(found, wanted, strict=True):
        check_pictures(one["metadata"], other["metadata"])
    assert found == wanted
