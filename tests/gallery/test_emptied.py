"""Every verb on a gallery that all pictures were taken out of."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.images import picture

import zsretrieve as zs
from zsretrieve.domain.errors import FilterError, SourceError


@pytest.fixture
def emptied(tmp_path: Path) -> Path:
    picture(tmp_path / "photos" / "red" / "a.png")
    zs.build_gallery(tmp_path / "photos", tmp_path / "g", HashingEncoder())
    zs.remove(tmp_path / "g", ["*"])
    return tmp_path / "g"


@pytest.mark.parametrize("where", [None, "width > 3"])
def test_what_asks_for_pictures_says_that_there_are_none(
    emptied: Path, where: str | None, hashing_encoder: HashingEncoder
) -> None:
    gallery = zs.open_gallery(emptied, device="cpu")
    prototypes = zs.make_prototypes("scenes", hashing_encoder, device="cpu").prototypes
    for ask in (
        lambda: zs.search(gallery, "a red circle", hashing_encoder, where=where),
        lambda: zs.search(gallery, "a red circle", hashing_encoder, where=where, k=3),
        lambda: zs.classify(gallery, prototypes, where=where),
        lambda: zs.evaluate(gallery, prototypes, where=where),
    ):
        with pytest.raises(SourceError, match="g' is empty") as raised:
            ask()
        assert raised.value.hint == "Add images to it with: zsretrieve index add"


def test_there_are_no_duplicates(emptied: Path) -> None:
    gallery = zs.open_gallery(emptied, device="cpu")
    assert zs.find_duplicates(gallery) == ()
    assert zs.find_duplicates(gallery, near=None) == ()
    with pytest.raises(FilterError, match="no image of 0"):
        zs.find_duplicates(gallery, where="width > 3")


@pytest.mark.parametrize("form", ["clip-retrieval", "npy", "parquet"])
def test_an_export_holds_nothing(emptied: Path, form: str) -> None:
    out = emptied.with_name("out")
    assert zs.export_index(emptied, out, form) == 0
    if form == "parquet":
        assert pq.read_table(out).num_rows == 0
    with pytest.raises(SourceError, match=r"no vector of .* can be used"):
        zs.import_gallery(out, out.with_name("again"), HashingEncoder())
