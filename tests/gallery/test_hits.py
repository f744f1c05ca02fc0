"""Hits as a tuple, as one line, and with thumbnails in a notebook."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits.hashing_encoder import HashingEncoder

import zsretrieve as zs


@pytest.fixture
def hits(small_gallery: Path, hashing_encoder: HashingEncoder) -> zs.Hits:
    return zs.search(small_gallery, "a blue star", hashing_encoder, k=22)


def test_hits_are_a_tuple_and_print_as_one_line(hits: zs.Hits) -> None:
    assert isinstance(hits, tuple)
    assert len(hits) == 22
    assert repr(hits).startswith(f"Hits({hits[0].score:.4f} {hits[0].path}, ")
    assert repr(hits).endswith(", and 19 more)")
    assert repr(zs.Hits(hits[:1])) == f"Hits({hits[0].score:.4f} {hits[0].path})"
    frame = hits.to_pandas()
    assert list(frame.columns) == ["rank", "id", "path", "score", "missing", "box"]
    assert list(frame["id"]) == [hit.id for hit in hits]


def test_a_notebook_shows_thumbnails_and_why_one_is_missing(hits: zs.Hits, tmp_path: Path) -> None:
    page = hits._repr_html_()
    assert page.count('<img src="data:image/jpeg;base64,') == 20
    assert "and 2 more" in page
    gone = zs.Hits([zs.Hit(1, 0, str(tmp_path / "<b>.png"), 0.5)])._repr_html_()
    assert "<img" not in gone
    assert "&lt;b&gt;.png" in gone
    assert "<em>no such file or directory</em>" in gone
