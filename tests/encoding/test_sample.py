"""Samples of a source: from all over it, read as the command reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.settings import Reading
from zsretrieve.encoding.sample import sample


class Whole(HashingEncoder):
    """Keeps pictures as they are, so that a test can tell them apart."""

    def prepare(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image)


def grey(folder: Path, count: int) -> Path:
    """Pictures whose grey tells their place."""
    folder.mkdir()
    for number in range(count):
        Image.new("L", (2, 2), number).save(folder / f"{number:03}.png")
    return folder


def places(folder: Path, count: int) -> list[int]:
    return [int(one.flat[0]) for one in sample(zs.open_source([folder]), Whole(), Reading(), count)]


def test_a_sample_reaches_from_the_first_to_the_last_at_even_distances(tmp_path: Path) -> None:
    folder = grey(tmp_path / "grey", 79)
    found = places(folder, 40)
    assert (found[0], found[-1]) == (0, 78)
    assert set(np.diff(found)) == {2}
    assert set(np.diff(places(folder, 50))) == {1, 2}
    assert places(folder, 79) == places(folder, 500) == list(range(79))
    assert places(folder, 1) == [0]


def test_others_stand_in_for_what_cannot_be_read(tmp_path: Path) -> None:
    folder = grey(tmp_path / "grey", 21)
    for number in (0, 10):
        (folder / f"{number:03}.png").write_bytes(b"no picture")
    found = places(folder, 11)
    assert found == [2, 4, 6, 8, 12, 14, 16, 18, 20, 1, 3]
    assert len(places(folder, 400)) == 19


@pytest.mark.parametrize(
    ("reading", "shape"),
    [
        (Reading(), (1200, 900, 3)),
        (Reading(exif=False), (900, 1200, 3)),
        (Reading(fast=True), (150, 113, 3)),
    ],
)
def test_a_sample_is_read_as_the_command_reads(tmp_path: Path, reading: Reading, shape: tuple[int, ...]) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    (tmp_path / "photos").mkdir()
    for name, size in (("a", (1200, 900)), ("b", (4000, 10))):
        Image.new("RGB", size, "teal").save(tmp_path / "photos" / f"{name}.jpg", exif=turned)
    source = zs.open_source([tmp_path / "photos"])
    (kept,) = sample(source, Whole(), Reading(reading.exif, max_pixels=1_100_000, fast=reading.fast), 9)[:1]
    assert kept.shape == shape
    limited = sample(source, Whole(), Reading(reading.exif, max_pixels=100_000, fast=reading.fast), 9)
    assert len(limited) == 1, "only the small one is within the limit"
