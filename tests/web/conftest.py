"""Galleries to serve, built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kits.hashing_encoder import HashingEncoder
from kits.web import client_of, service_for
from PIL import Image
from starlette.testclient import TestClient

import zsretrieve as zs
from zsretrieve.web.service import Service


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, odd_photos: Path) -> Path:
    """The odd photos, and files of the kinds that need care when they are shown."""
    root = tmp_path_factory.mktemp("served") / "photos"
    (root / "by night").mkdir(parents=True)
    for path in odd_photos.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (90, 30), "red").save(root / "by night" / "turned.jpg", exif=turned)
    Image.new("RGB", (40, 40), "blue").save(root / "by night" / "old.tif")
    Image.new("RGBA", (50, 20), (0, 255, 0, 0)).save(root / "clear.webp")
    Image.new("RGB", (30, 20), "white").save(root / "moving.gif")
    return root


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory, photos: Path, hashing_encoder: HashingEncoder) -> Path:
    """A gallery of them, which tests only read."""
    out = tmp_path_factory.mktemp("indexes") / "photos"
    zs.build_gallery(photos, out, hashing_encoder)
    return out


@pytest.fixture(scope="session")
def prototypes(tmp_path_factory: pytest.TempPathFactory, hashing_encoder: HashingEncoder) -> Path:
    out = tmp_path_factory.mktemp("indexes") / "pets"
    zs.build_prototypes(out, ["cat", "dog", "fish"], hashing_encoder)
    return out


@pytest.fixture
def service(gallery: Path, prototypes: Path, hashing_encoder: HashingEncoder) -> Service:
    return service_for(hashing_encoder, [gallery], [prototypes])


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with client_of(service) as asking:
        yield asking
