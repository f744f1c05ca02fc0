"""Units of a listing, and batches that end with them."""

from __future__ import annotations

from pathlib import Path

from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures

from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_batches
from zsretrieve.encoding.units import unit_files, units_of
from zsretrieve.images import sources
from zsretrieve.images.sources import SourceFile


def test_a_unit_is_whole_batches() -> None:
    assert [unit_files(size) for size in (1, 32, 100, 256, 300)] == [256, 256, 300, 256, 300]


def test_what_is_left_of_a_listing_falls_into_the_same_units() -> None:
    files = [SourceFile(str(place), id=place) for place in range(600)]
    whole = [[file.id for file in unit] for unit in units_of(files, 32)]
    assert [len(unit) for unit in whole] == [256, 256, 88]
    left = [file for place, file in enumerate(files) if place % 7]
    assert [[file.id for file in unit] for unit in units_of(left, 32)] == [
        [id_ for id_ in unit if id_ is not None and id_ % 7] for unit in whole
    ]


def test_files_without_an_id_are_counted() -> None:
    files = [SourceFile(str(place), id=None if place else 7000) for place in range(300)]
    assert [len(unit) for unit in units_of(files, 32)] == [256, 44]
    assert not list(units_of([], 32))


def test_no_batch_reaches_over_the_end_of_a_unit(tmp_path: Path) -> None:
    source = sources.folder(pictures(tmp_path, 270))
    files = [SourceFile(file.path, id=place) for place, file in enumerate(source.files)]
    (tmp_path / files[255].path).write_bytes(b"broken")
    (tmp_path / files[3].path).write_bytes((tmp_path / files[2].path).read_bytes())
    encoder = HashingEncoder()
    batches = list(encode_batches(source, files, Model.of(encoder), Reading(), lambda _: None))
    ends = [batch.done for batch in batches]
    assert 256 in ends
    assert sum(len(batch.seen) for batch in batches if batch.done <= 256) == 255
    assert [one.path for batch in batches if batch.done <= 256 for one in batch.skipped] == [files[255].path]
