"""Every verb on a gallery that all pictures were taken out of."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kits.images import picture

from zsretrieve import api
from zsretrieve.encoders.hashing import HashingEncoder
from zsretrieve.errors import FilterError, SourceError


@pytest.fixture
def emptied(tmp_path: Path) -> Path:
    picture(tmp_path / "photos" / "red" / "a.png")
    api.build_gallery(tmp_path / "photos", tmp_path / "g", HashingEncoder())
    api.remove(tmp_path / "g", ["*"])
    return tmp_path / "g"


@pytest.mark.parametrize("where", [None, "width > 3"])
def test_what_asks_for_pictures_says_that_there_are_none(
    emptied: Path, where: str | None, hashing_encoder: HashingEncoder
) -> None:
    gallery = api.open_gallery(emptied, device="cpu")
    prototypes = api.make_prototypes("scenes", hashing_encoder, device="cpu").prototypes
    for ask in (
        lambda: api.search(gallery, "a red circle", hashing_encoder, where=where),
        lambda: api.search(gallery, "a red circle", hashing_encoder, where=where, k=3),
        lambda: api.classify(gallery, prototypes, where=where),
        lambda: api.evaluate(gallery, prototypes, where=where),
    ):
        with pytest.raises(SourceError, match="g' is empty") as raised:
            ask()
        assert raised.value.hint == "Put pictures into it with: zsretrieve index add"


def test_there_are_no_duplicates(emptied: Path) -> None:
    gallery = api.open_gallery(emptied, device="cpu")
    assert api.find_duplicates(gallery) == ()
    assert api.find_duplicates(gallery, near=None) == ()
    with pytest.raises(FilterError, match="none of the 0 images"):
        api.find_duplicates(gallery, where="width > 3")


@pytest.mark.parametrize("form", ["clip-retrieval", "npy", "parquet"])
def test_an_export_holds_nothing(emptied: Path, form: str) -> None:
    out = emptied.with_name("out")
    assert api.export_index(emptied, out, form) == 0
    if form == "parquet":
        assert pq.read_table(out).num_rows == 0
    with pytest.raises(SourceError, match="holds no vector that can be used"):
        api.import_gallery(out, out.with_name("again"), HashingEncoder())
