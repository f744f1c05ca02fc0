from __future__ import annotations

from pathlib import Path

import numpy as np
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend, FaissFlatIndex
from zsretrieve.store import indexes


def test_an_index_over_segments_in_order_holds_no_copy_of_them(tmp_path: Path) -> None:
    photos, more = pictures(tmp_path / "photos", 60), pictures(tmp_path / "more", 6, first=60)
    out = tmp_path / "gallery"
    zs.build_gallery(photos, out, HashingEncoder())
    zs.add(out, more, HashingEncoder())
    live = indexes.read_live(out, zs.open_gallery(out).manifest).vectors
    parts = live.in_order()
    assert parts is not None
    assert len(parts) == 2
    made = indexes.index_of(live, live.dim, FaissBackend("cpu"))
    assert isinstance(made, FaissFlatIndex)
    for mine, part in zip(made._aligned(), parts, strict=True):
        assert np.shares_memory(mine, part)
    np.testing.assert_array_equal(made.stored(np.arange(66)), live.whole())
