"""Indexes that version 0.1 built open, verify, search and grow unchanged.

They are of twelve scenes on the demo model: a gallery of two folders with a file that could not be read and an image
that was removed, prototypes of four classes, and a probe trained on the gallery.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import zsretrieve as zs
from zsretrieve.demo import scenes
from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.records import Changes, Skipped
from zsretrieve.store import manifest as manifests

STORED = Path(__file__).parents[1] / "data" / "indexes-0.1"
CLASSES = ("red circle", "blue star", "green square", "yellow triangle")
# ID, path, and the first digits of the file's sha256.
ITEMS = [
    (1, "blue star/1.png", "f924c0e6586ea39e"),
    (2, "green square/0.png", "caa2c32f2ad3960e"),
    (3, "green square/1.png", "d7b933a0806de3ca"),
    (4, "red circle/0.png", "712be1633fe698aa"),
    (5, "red circle/1.png", "14702e8c5e2bfd3c"),
    (7, "yellow triangle/0.png", "ebaa554285621906"),
    (8, "yellow triangle/1.png", "2db7d10ab2dfae08"),
    (9, "/photos/more/blue star/2.png", "596be2fb1deb5bb8"),
    (10, "/photos/more/green square/2.png", "b8e5b752921ed332"),
    (11, "/photos/more/red circle/2.png", "f4ec08c66cf533bc"),
    (12, "/photos/more/yellow triangle/2.png", "0206a67b9494bebd"),
]


@pytest.fixture
def indexes(tmp_path: Path) -> Path:
    """A copy, since verifying notes its time."""
    return Path(shutil.copytree(STORED, tmp_path / "indexes"))


def sha256(vectors: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", ["gallery", "prototypes", "probe"])
def test_it_is_sound_and_its_manifest_is_written_as_it_was(indexes: Path, name: str) -> None:
    manifest = zs.read_manifest(indexes / name)
    assert manifests.to_bytes(manifest) == (indexes / name / "manifest.json").read_bytes()
    assert zs.verify(indexes / name) == []
    assert zs.read_manifest(indexes / name).verified > manifest.verified


def test_the_gallery_is_what_it_was(indexes: Path) -> None:
    gallery = zs.open_gallery(indexes / "gallery", device="cpu")
    assert [(item.id, item.path, item.digest[:16]) for item in gallery.items] == ITEMS
    assert [item.label for item in gallery.items] == [Path(path).parent.name for _, path, _ in ITEMS]
    assert {(item.width, item.height) for item in gallery.items} == {(128, 128)}
    assert gallery.path_of(gallery.items[0]) == "/photos/scenes/blue star/1.png"
    assert gallery.manifest.skipped == (Skipped("red circle/broken.png", "not a readable image"),)
    assert (gallery.manifest.next_id, gallery.manifest.generation, len(gallery.manifest.segments)) == (13, 4, 2)
    assert sha256(gallery.vectors) == "97655dc1e882b329"


def test_the_prototypes_are_what_they_were(indexes: Path) -> None:
    prototypes, probe = (zs.open_prototypes(indexes / name, device="cpu") for name in ("prototypes", "probe"))
    assert prototypes.prompts.class_names == CLASSES
    assert prototypes.prompts.prompts[0] == ("a drawing of a red circle.",)
    assert sha256(prototypes.vectors) == "f694fa1ed54a1d4e"
    assert probe.prompts.class_names == tuple(sorted(CLASSES))
    assert (sha256(probe.vectors), probe.vectors.shape, probe.manifest.lifted) == ("cfd3f47edda2cb30", (4, 130), True)
    gallery = zs.open_gallery(indexes / "gallery", device="cpu")
    assert sorted(bytes(row).hex() for row in probe.drawn) == sorted(item.digest for item in gallery.items)


def test_it_is_searched(indexes: Path, demo_encoder: Encoder) -> None:
    hits = zs.search(indexes / "gallery", "a red circle", demo_encoder, k=4)
    assert [hit.id for hit in hits] == [4, 5, 11, 3]
    assert [hit.score for hit in hits] == pytest.approx([0.7375907, 0.7170976, 0.7027156, 0.398706], abs=1e-5)
    filtered = zs.search(indexes / "gallery", "a red circle", demo_encoder, where="label = 'blue star'")
    assert [hit.id for hit in filtered] == [1, 9]


def test_it_is_evaluated_and_compared(indexes: Path) -> None:
    report = zs.evaluate(indexes / "gallery", indexes / "prototypes")
    assert (report.n_correct, report.n_scored, len(report.skipped)) == (11, 11, 1)
    assert len(zs.classify(indexes / "gallery", indexes / "probe").results) == 11
    assert zs.find_duplicates(indexes / "gallery") == ()


def test_it_grows(indexes: Path, tmp_path: Path, demo_encoder: Encoder) -> None:
    (tmp_path / "new").mkdir()
    scenes.draw(scenes.single("red circle", random.Random(5))).save(tmp_path / "new" / "a.png")
    assert zs.add(indexes / "gallery", tmp_path / "new", demo_encoder) == Changes(added=1, encoded=1)
    assert zs.remove(indexes / "gallery", where="id = 1").removed == 1
    zs.compact(indexes / "gallery")
    gallery = zs.open_gallery(indexes / "gallery", device="cpu")
    assert [item.id for item in gallery.items] == [*range(2, 6), *range(7, 14)]
    assert zs.verify(indexes / "gallery") == []
