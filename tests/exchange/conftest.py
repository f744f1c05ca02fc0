"""Galleries to be exported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kits.foreign import opened
from kits.hashing_encoder import HashingEncoder
from kits.pictures import Counting, picture, pictures

import zsretrieve as zs

ODD_NAMES = ('it\'s "so".png', "two\nlines.png", os.fsdecode(b"caf\xe9.png"), " blank .png", "-v.png", "ünï.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = pictures(tmp_path / "photos", 40)
    for number, name in enumerate(ODD_NAMES):
        picture(root / "class 1" / name, 500 + number)
    picture(root / os.fsdecode(b"cl\xe4ss") / "x.png", 600)
    picture(root / "without a label.png", 601)
    return root


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    """A gallery with gaps in its ids, also after the last, and a skipped file."""
    (photos / "broken.png").write_bytes(b"")
    zs.build_gallery(photos, tmp_path / "gallery", HashingEncoder(), reading=zs.Reading(exif=False))
    for gone in ("class 2/0005.png", "class 0/0012.png", "without a label.png"):
        (photos / gone).unlink()
    zs.sync(tmp_path / "gallery", Counting(0))
    assert opened(tmp_path / "gallery").manifest.next_id > opened(tmp_path / "gallery").items[-1].id + 1
    return tmp_path / "gallery"


@pytest.fixture
def plain_gallery(tmp_path: Path) -> Path:
    """A gallery whose names fit into a list with one a line."""
    zs.build_gallery(pictures(tmp_path / "plain photos", 40), tmp_path / "plain", HashingEncoder())
    (tmp_path / "plain photos" / "class 0" / "0003.png").unlink()
    zs.sync(tmp_path / "plain", Counting(0))
    return tmp_path / "plain"
